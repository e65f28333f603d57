"""Measure training speed: against eager PyTorch, and against the matmul peak.

    pip install -e '.[bench]'
    python scripts/bench/training.py
        Every method at the `paper` and the `quick` sizes, and VEEGAN with small
        networks at batch 256 and 64; one seed, and five spread over the CPU cores:
        about 8 minutes on two free cores. Where the column "JAX / PyTorch" is above
        1, JAX is faster; expect that everywhere, most of all for five seeds. Expect
        fractions of the peak that fall with the size of the matrices.
    python scripts/bench/training.py --methods=veegan --presets=quick --repeats=3
        One case, in less than a minute.
    python scripts/bench/training.py --notorch
        Without PyTorch: the fraction of the peak alone.

The record goes to runs/speed/training.json; `make_tables.py --add=` keeps it.

All numbers come from one run, in which JAX and PyTorch take turns. Before a peer
(torch_training.py) is timed, check_peers.py shows that it computes the JAX step: the
same losses and updates on the same weights, batch and noise. Steps/s are medians over
the repeats and count every seed's steps; PyTorch trains five seeds in turn, so
its steps/s stay those of one. JAX runs a compiled scan of many steps, its compilation
apart.

On CPU PyTorch is timed with all cores, its default, and with one thread, which small
networks often prefer; the table takes the faster and the record holds both. Leave the
cores free: PyTorch's threads spin while they wait for each other, and with other work
on the cores they are ten times slower, which would flatter JAX.

A step's FLOPs are those of its matrix products, read from the program that JAX hands
to XLA. (XLA's own count adds 2 to 15 %: it takes integer operations of the random
numbers for FLOPs.) The peak is the best rate, in either library, of a product of
2048 x 2048 float32 matrices on all cores, at the start or the end of the run.
"""

import functools
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

import early  # noqa: F401
import jax
import jax.numpy as jnp
import numpy as np
import timing
from absl import flags
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from veegan_jax import methods
from veegan_jax.common import errors, records
from veegan_jax.common import flags as common_flags
from veegan_jax.config import Config
from veegan_jax.cost import flops
from veegan_jax.experiments import base
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed, program

NAMES = ("gan", "ali", "unrolled", "veegan", "veegan_plus")
SMALL = {"batch256": 256, "batch64": 64}  # VEEGAN alone, 2-D latent, 2 x 128 networks
PRESETS = ("paper", "quick", *SMALL)
SEEDS = (1, 5)
MATMUL_SIZE = 2048
# FLOPs: about a second of a CPU core. Each call also moves the state between devices,
# leaf by leaf, in some 0.05 to 0.1 s, as it does in training.
WORK_PER_CALL = 6e10

METHODS = flags.DEFINE_list("methods", list(NAMES), "what to measure")
SIZES = flags.DEFINE_list("presets", list(PRESETS), "at which sizes")
REPEATS = common_flags.define_number(
    "repeats", 5, "measurements of each number", within="[1, inf)"
)
MIN_SECONDS = common_flags.define_number(
    "min_seconds", 0.8, "length of a measurement", within="(0, inf)"
)
OUTPUT = common_flags.define_path(
    "output", None, "where the record goes (default: runs/speed/training.json)"
)
TORCH = flags.DEFINE_bool("torch", True, "compare with PyTorch")


def cases(names: Sequence[str], presets: Sequence[str]) -> list[tuple[str, Config]]:
    """Make the configurations to measure, each with its preset's name.

    Raises:
      InputError: for a name that does not exist, or if nothing is left to measure.
    """
    timing.check_names("methods", names, NAMES)
    timing.check_names("presets", presets, PRESETS)
    found = []
    for preset in presets:
        for name in names:
            if preset not in SMALL:
                found.append((preset, resolve.resolve(name, "ring", preset)))
            elif name == "veegan":
                sizes = dict(latent_size=2, discriminator_widths=(128, 128))
                sizes |= dict(batch_size=SMALL[preset])
                found.append((preset, resolve.resolve(name, "ring", "paper", **sizes)))
    if not found:
        raise errors.InputError(
            f"--methods={','.join(names)} --presets={','.join(presets)}: nothing to "
            f"measure; {', '.join(SMALL)} are for veegan"
        )
    return found


def flops_per_step(config: Config) -> int:
    """Count the FLOPs of the matrix products in one step of one seed."""
    init = functools.partial(methods.get(config.method).init, config=config)
    step = functools.partial(
        mixture_experiment.step_on_fresh_data, axis_name=None, config=config
    )
    state = jax.eval_shape(init, jax.random.key(0))
    return flops.of_products(jax.jit(step).lower(state).as_text())


def jax_runner(
    config: Config, seeds: int, num_steps: int
) -> tuple[timing.Runner, float]:
    """Compile num_steps steps of all seeds, placed as in training.

    Returns:
      A runner, which continues where it stopped, and the seconds to compile it.
    """
    step = functools.partial(mixture_experiment.step_on_fresh_data, config=config)
    state = base.init_seeds(range(seeds), config)
    return timing.jax_runner(step, state, num_steps)


def matmul_rate(torch_device: str | None) -> dict[str, float]:
    """Measure FLOP/s of a large float32 product on all devices, by library."""
    devices = jax.devices()
    mesh = jax.sharding.Mesh(np.asarray(devices), ("devices",))
    shape = (len(devices), MATMUL_SIZE, MATMUL_SIZE)
    a_DNN = jax.device_put(jnp.ones(shape), NamedSharding(mesh, P("devices")))
    product = jax.jit(lambda a_DNN: a_DNN @ a_DNN)
    work = 2 * MATMUL_SIZE**3
    runs = {"jax": (lambda: jax.block_until_ready(product(a_DNN)), len(devices))}
    if torch_device:
        import torch_training

        runs["torch"] = (torch_training.matmul(torch_device, MATMUL_SIZE), 1)
    return {
        name: count * work / min(timing.seconds(run) for _ in range(8))
        for name, (run, count) in runs.items()
    }


def measure(
    preset: str,
    config: Config,
    *,
    repeats: int,
    min_seconds: float,
    torch_device: str | None,
    seeds: Sequence[int] = SEEDS,
    work_per_call: float = WORK_PER_CALL,
) -> list[dict[str, Any]]:
    """Measure one configuration: a row for each number of seeds.

    Args:
      preset: what to call its sizes.
      config: what to train.
      repeats: measurements of each number; JAX and PyTorch take turns.
      min_seconds: the least length of a measurement.
      torch_device: where PyTorch trains; None: not at all.
      seeds: how many at once in JAX, row by row.
      work_per_call: FLOPs in one call of the compiled scan, about.

    Returns:
      Rows of the record; lists hold the single measurements.

    Raises:
      given_noise.Mismatch: if the PyTorch step is not the JAX step.
    """
    per_step = flops_per_step(config)
    theirs, shared = {}, {}
    if torch_device:
        import check_peers
        import torch_training

        shared["relative_error"] = check_peers.check(config, torch_device)
        cores = distributed.cpu_cores() if torch_device == "cpu" else 1
        for threads in sorted({1, cores}):
            theirs[str(threads)] = torch_training.runner(
                config, torch_device, 10, threads
            )
    ours, compile_seconds = {}, {}
    for count in seeds:
        num_steps = max(10, min(2000, int(work_per_call / (per_step * count))))
        ours[count], compile_seconds[count] = jax_runner(config, count, num_steps)
    rates = timing.rates(ours | theirs, repeats, min_seconds)
    return [
        {
            "method": config.method,
            "preset": preset,
            "batch_size": config.batch_size,
            "seeds": count,
            "flops_per_step": per_step,
            "compile_seconds": compile_seconds[count],
            "jax_steps_per_second": rates[count],
            "torch_steps_per_second_by_threads": {n: rates[n] for n in theirs},
            "peak_memory_so_far_mib": timing.memory(),
            **shared,
        }
        for count in seeds
    ]


def summarize(rows: list[dict[str, Any]], peak: float) -> str:
    """Add medians, ratio and fractions to the rows; return them as a table.

    Args:
      rows: what `measure` returned.
      peak: the matmul peak, FLOP/s.
    """
    header = [
        "method",
        "sizes",
        "seeds",
        "MFLOP/step",
        "JAX steps/s",
        "PyTorch steps/s (threads)",
        "JAX / PyTorch",
        "JAX of peak",
        "PyTorch of peak",
        "compile s",
    ]
    lines = []
    for row in rows:
        ours = row["jax_steps_per_second"]
        row["jax_median"] = statistics.median(ours)
        row["jax_of_peak"] = row["jax_median"] * row["flops_per_step"] / peak
        cells = ["", "", ""]
        by_threads = row["torch_steps_per_second_by_threads"]
        if by_threads:
            threads = timing.fastest(by_threads)
            theirs = by_threads[threads]
            row["torch_threads"] = int(threads)
            row["torch_median"] = statistics.median(theirs)
            row["torch_of_peak"] = row["torch_median"] * row["flops_per_step"] / peak
            row |= timing.ratio(ours, theirs)
            cells = [
                f"{row['torch_median']:.4g} ({threads})",
                "{:.2f} ({:.2f} to {:.2f})".format(row["ratio"], *row["ratio_range"]),
                f"{100 * row['torch_of_peak']:.1f} %",
            ]
        lines.append(
            [
                row["method"],
                row["preset"],
                str(row["seeds"]),
                f"{row['flops_per_step'] / 1e6:.4g}",
                f"{row['jax_median']:.4g}",
                *cells[:2],
                f"{100 * row['jax_of_peak']:.1f} %",
                cells[2],
                f"{row['compile_seconds']:.1f}",
            ]
        )
    return records.table(header, lines)


def main() -> None:
    plan = cases(METHODS.value, SIZES.value)
    output = timing.output(OUTPUT.value, "runs/speed/training.json")
    # JAX would take most of a GPU's memory, and PyTorch needs some of it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    distributed.use_cpu_cores(distributed.cpu_cores())
    start = time.perf_counter()
    device, version = timing.set_up_torch() if TORCH.value else (None, None)
    peaks = [matmul_rate(device)]
    rows = []
    for preset, config in plan:
        rows += measure(
            preset,
            config,
            repeats=REPEATS.value,
            min_seconds=MIN_SECONDS.value,
            torch_device=device,
        )
        elapsed = time.perf_counter() - start
        print(f"{elapsed:4.0f} s: {config.method}, {preset}", flush=True)
    peaks.append(matmul_rate(device))
    peak = max(value for rates in peaks for value in rates.values())
    text = summarize(rows, peak)
    record = {
        **timing.provenance(),
        "torch": version,
        "repeats": REPEATS.value,
        "min_seconds": MIN_SECONDS.value,
        "wall_seconds": time.perf_counter() - start,
        "matmul_flops_per_second": peaks,
        "peak_flops_per_second": peak,
        "peak_memory_mib": timing.memory(),
        "rows": rows,
    }
    records.write(output, record)
    print(f"\n{text}\n")
    print(f"{record['device']}; matmul peak {peak / 1e9:.4g} GFLOP/s", end="; ")
    used = [f"{size:.0f} MiB of {kind}" for kind, size in timing.memory().items()]
    print(f"peak memory: {', '.join(used)}\nrecord: {output}")


if __name__ == "__main__":
    program.run(main)
