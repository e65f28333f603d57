"""Count what a training step sends between devices, and estimate 256 chips.

    python scripts/bench/scaling.py
        Seven cases on 1, 2, 4 and 8 fake CPU devices, the batch split by pmap or by
        jit: about half an hour on two free cores, most of it for `dcgan`. Programs
        are compiled and read; nothing is run or timed, and no accelerator is needed.
        Expect one all-reduce a step wherever there is no BatchNorm, and no
        resharding. Expect FLOPs per device that fall with the number of devices (for
        a fixed batch) or stay (for a batch that grows with it).
    python scripts/bench/scaling.py --cases=ring-gan --devices=1,4
        One case, in less than a minute.

The formula and the chips' data are in scaling_estimate.py. The record goes to
runs/speed/scaling.json; `make_tables.py --add=` keeps it.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import early  # noqa: F401
import jax
import jax.numpy as jnp
import numpy as np
import scaling_estimate as estimate
import scaling_table
import timing
from absl import flags

from veegan_jax import methods
from veegan_jax.common import flags as common_flags
from veegan_jax.common import records
from veegan_jax.config import Config, Images
from veegan_jax.cost import flops
from veegan_jax.cost import report as cost_report
from veegan_jax.experiments import base
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.networks.configs import DCGAN
from veegan_jax.presets import resolve
from veegan_jax.runtime import parallel, program

NUM_STEPS = 7  # in the loop; no other loop of a step has as many iterations
PLAIN = {"batch_norm": False, "discriminator_norm": False}


def _stacked(preset: str, method: str, **changes: Any) -> Callable[[], Config]:
    return functools.partial(
        resolve.resolve, method, "stacked_mnist", preset, **changes
    )


CASES = {
    "ring-gan": functools.partial(resolve.resolve, "gan", "ring", "quick"),
    "ring-veegan_plus": functools.partial(
        resolve.resolve, "veegan_plus", "ring", "quick"
    ),
    "quarter-gan": _stacked("quarter", "gan"),
    "quarter-gan-plain": _stacked("quarter", "gan", **PLAIN),
    "quick-veegan_plus": _stacked("quick", "veegan_plus"),
    "dcgan": _stacked("paper", "gan"),
    "dcgan-plain": _stacked("paper", "gan", **PLAIN),
}
MODES = ("pmap", "jit")

WHICH = flags.DEFINE_list("cases", list(CASES), "what to compile; -plain: no BatchNorm")
SPLITS = flags.DEFINE_list("modes", list(MODES), "how the batch is split")
DEVICES = common_flags.define_number(
    "devices", ["1", "2", "4", "8"], "numbers of devices", within="[1, 64]"
)
EFFICIENCY = common_flags.define_number(
    "efficiency", 0.3, "of the peak, in products; assumed", within="(0, 1]"
)
OUTPUT = common_flags.define_path(
    "output", None, "where the record goes (default: runs/speed/scaling.json)"
)


def step_of(config: Config) -> tuple[parallel.Step, Any]:
    """Make a training step with its own batches, and the data that it reads, if any."""
    step, data = mixture_experiment.step_on_fresh_data, None
    if isinstance(config.data, Images):
        height, width, _ = config.data.shape
        step = stacked_mnist_experiment.step_on_stacks
        data = np.zeros((100, height, width), np.uint8)
    return functools.partial(step, config=config), data


def flops_per_example(config: Config) -> float:
    """Count the FLOPs of a step with XLA's own convolutions, per example."""
    init = functools.partial(methods.get(config.method).init, config=config)
    step, data = step_of(config)
    step = step if data is None else functools.partial(step, jnp.asarray(data))
    state = jax.eval_shape(init, jax.random.key(0))
    with mock.patch.object(jax, "default_backend", return_value="any but the CPU"):
        text = jax.jit(lambda state: step(state, None)).lower(state).as_text()
    return flops.of_products(text) / config.batch_size


def lower(config: Config, state: Any, mode: str, num_devices: int) -> Any:
    """Lower the program of NUM_STEPS steps, as training would run it.

    Args:
      config: what to train; the digits of Stacked MNIST are all black here.
      state: of all seeds.
      mode: pmap or jit.
      num_devices: how many of the fake devices share a batch.
    """
    parallel.check(mode, config.batch_size, num_devices * config.objective.pack)
    step, data = step_of(config)
    devices = jax.devices()[:num_devices]
    run = parallel.run_steps(
        step, NUM_STEPS, mode=mode, devices=devices, data=data, lower_only=True
    )
    return run(state)


def count(config: Config, state: Any, mode: str, num_devices: int) -> dict[str, Any]:
    """Compile one program and read it: metrics of a step, per device."""
    made = lower(config, state, mode, num_devices).compile()
    text, memory = made.as_text(), made.memory_analysis()
    found = cost_report.collectives(text)
    return {
        "devices": num_devices,
        "batch_size": config.batch_size,
        "flops": cost_report.products(text, NUM_STEPS),
        "operations": cost_report.per_step(found, NUM_STEPS),
        "outside_the_loop": sum(NUM_STEPS not in one.loops[:1] for one in found),
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
    }


def measure(
    name: str, config: Config, modes: Sequence[str], numbers: Sequence[int]
) -> list[dict[str, Any]]:
    """Make a row for each mode: programs of a fixed batch, and of one that grows."""
    state = base.init_seeds([0], config)
    rows = []
    for mode in modes:
        strong = [count(config, state, mode, n) for n in numbers]
        weak = []
        for n, same in zip(numbers, strong, strict=True):
            grown = config.replace(batch_size=config.batch_size * n)
            weak.append(same if n == 1 else count(grown, state, mode, n))
        networks = config.networks
        normalized_d = isinstance(networks, DCGAN) and networks.discriminator_norm
        rows.append(
            {
                "case": name,
                "mode": mode,
                "batch_size": config.batch_size,
                "batch_norm": networks.batch_norm or normalized_d,
                "flops_per_example": flops_per_example(config),
                "strong": strong,
                "weak": weak,
            }
        )
    return rows


def main() -> None:
    timing.check_names("cases", WHICH.value, list(CASES))
    timing.check_names("modes", SPLITS.value, MODES)
    numbers = sorted(map(int, DEVICES.value))
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", numbers[-1])
    output = timing.output(OUTPUT.value, "runs/speed/scaling.json")
    start, rows = time.perf_counter(), []
    for name in WHICH.value:
        rows += measure(name, CASES[name](), SPLITS.value, numbers)
        print(f"{time.perf_counter() - start:4.0f} s: {name}", flush=True)
    tables = scaling_table.table(rows), estimate.table(rows, EFFICIENCY.value)
    record = {
        **timing.provenance(),
        "num_steps": NUM_STEPS,
        "efficiency": EFFICIENCY.value,
        "chips": {
            name: dataclasses.asdict(chip) for name, chip in estimate.CHIPS.items()
        },
        "wall_seconds": time.perf_counter() - start,
        "rows": rows,
    }
    records.write(output, record)
    print("\nPer training step:\n\n" + tables[0])
    print(f"\nEstimated, products at {EFFICIENCY.value:.0%} of the bfloat16 peak:\n")
    print(f"{estimate.FORMULA}\n{tables[1]}\n")
    print("\n".join(f"{name}: {chip.source}" for name, chip in estimate.CHIPS.items()))
    print(f"record: {output}")


if __name__ == "__main__":
    program.run(main)
