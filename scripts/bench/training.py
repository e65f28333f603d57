"""Measure training speed: against PyTorch and flax, and against the matmul peak.

    pip install -e '.[bench]'
    python scripts/bench/training.py
        Every method at the `paper` and the `quick` sizes, and VEEGAN with small
        networks at batch 256 and 64; one seed, and five spread over the CPU cores:
        about 15 minutes on two free cores. Where a ratio "JAX / ..." is above 1,
        our scan is faster. Expect fractions of the peak that fall with the size of the
        matrices.
    python scripts/bench/training.py --methods=veegan --presets=quick --repeats=3
        One case, in a minute.
    python scripts/bench/training.py --notorch
        Without PyTorch.
    python scripts/bench/training.py --precision=float32,tf32,bfloat16
        On a GPU: each case in each precision; see precisions.py.
    python scripts/bench/training.py --tiny --methods=gan --repeats=1 --min_seconds=0
        Networks of a few units, to try the program: its numbers mean nothing.

The record goes to runs/speed/training.json; `make_tables.py --add=` keeps it, and
`compare.py` compares two.

All numbers come from one run, in which all take turns: our compiled scan of many steps,
of one seed and of five; PyTorch eager and compiled (torch_variants.py); for the GAN and
VEEGAN also the public JAX way (flax_peers.py) and our own step called from Python a
step at a time. Each peer is first checked to compute our step: the same losses and
updates on the same weights, batch and noise. Steps/s are medians over the repeats and
count every seed's steps. PyTorch and flax train one seed at a time, so their steps/s
for five seeds stay those of one. Compilation is timed apart.

On CPU PyTorch is timed with all cores, its default, and with one thread, which small
networks often prefer; it is compiled for the better of the two. The fastest counts and
the record holds all; one that is clearly slower leaves after two turns. Leave the cores
free: PyTorch's threads spin while they wait for each other, and with other work on the
cores they are ten times slower, which would flatter JAX.

A step's FLOPs are those of its matrix products, read from the program that JAX hands
to XLA. (XLA's own count adds 2 to 15 %: it takes integer operations of the random
numbers for FLOPs.) The peak is the best rate, in either library, of a product of
2048 x 2048 float32 matrices on all cores, at the start or the end of the run.
"""

import functools
import itertools
import os
import time
from collections.abc import Sequence
from typing import Any

import early  # noqa: F401
import flax_peers
import jax
import jax.numpy as jnp
import numpy as np
import precisions
import summaries
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

NAMES = ("gan", "ali", "unrolled", "veegan", "veegan_plus", "rpgan", "wgan_gp")
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
    "min_seconds", 0.5, "length of a measurement", within="[0, inf)"
)
OUTPUT = common_flags.define_path(
    "output",
    None,
    "where the record goes (default: runs/speed/training.json, with --tiny "
    "runs/speed/training_tiny.json)",
)
TORCH = flags.DEFINE_bool("torch", True, "compare with PyTorch")
COMPILE = flags.DEFINE_bool("compile", True, "try torch.compile")
PRECISION = flags.DEFINE_list(
    "precision",
    [],
    "of products: float32, tf32, bfloat16 (default: float32 on CPU, which is all it "
    "has, tf32 elsewhere)",
)
TINY = flags.DEFINE_bool("tiny", False, "tiny networks, to try the program")


def cases(
    names: Sequence[str], presets: Sequence[str], *, tiny: bool = False
) -> list[tuple[str, Config]]:
    """Make the configurations to measure, each with its preset's name.

    Raises:
      InputError: for a name that does not exist, or if nothing is left to measure.
    """
    timing.check_names("methods", names, NAMES)
    timing.check_names("presets", presets, PRESETS)
    found = []
    changes: dict[str, Any] = {}
    if tiny:
        changes = dict(batch_size=20, generator_widths=(5,), discriminator_widths=(4,))
    for preset in presets:
        for name in names:
            if preset not in SMALL:
                config = resolve.resolve(name, "ring", preset, **changes)
                found.append((preset, config))
            elif name == "veegan":
                sizes = dict(latent_size=2, discriminator_widths=(128, 128))
                sizes |= dict(batch_size=SMALL[preset]) | changes
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
        import torch_variants

        runs["torch"] = (torch_variants.matmul(torch_device, MATMUL_SIZE), 1)
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
    compiled: bool = True,
    precision: str = "float32",
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
      compiled: whether to try torch.compile.
      precision: of products.
      seeds: how many at once in JAX, row by row.
      work_per_call: FLOPs in one call of the compiled scan, about.

    Returns:
      Rows of the record; lists hold the single measurements.

    Raises:
      given_noise.Mismatch: if a peer's step is not ours.
    """
    per_step = flops_per_step(config)
    theirs, about = {}, {"method": config.method, "preset": preset}
    about |= {"batch_size": config.batch_size, "precision": precision}
    about["flops_per_step"] = per_step
    if torch_device:
        import torch_variants

        theirs, about["relative_error"], about["torch_compile"] = torch_variants.make(
            config, torch_device, compiled=compiled
        )
        theirs = {
            name: precisions.of_torch(precision, torch_device, runner)
            for name, runner in theirs.items()
        }
    ours, compile_seconds = {}, {}
    with precisions.products(config, precision):
        for count in seeds:
            num_steps = max(10, min(2000, int(work_per_call / (per_step * count))))
            ours[count], compile_seconds[count] = jax_runner(config, count, num_steps)
        if config.method in flax_peers.METHODS[type(config.networks)]:
            ours |= from_python(config)
    ours = {n: precisions.of_jax(config, precision, r) for n, r in ours.items()}
    rates = timing.rates(ours | theirs, repeats, min_seconds, rivals=theirs)
    about["torch_steps_per_second_by_variant"] = {n: rates[n] for n in theirs}
    about["peak_memory_so_far_mib"] = timing.memory()
    rows = summaries.rows(about, rates, list(seeds))
    for row in rows:
        row["compile_seconds"] = compile_seconds[row["seeds"]]
    return rows


def from_python(config: Config, num_steps: int = 20) -> dict[str, timing.Runner]:
    """Make the runners that call a jitted step of one seed from Python.

    Raises:
      given_noise.Mismatch: if flax's step is not ours.
    """
    step = functools.partial(mixture_experiment.step_on_fresh_data, config=config)
    state = jax.tree.map(lambda a: a[0], base.init_seeds([0], config))
    flax_peers.check(config, state)
    return {
        "a step a call": timing.step_runner(step, state, num_steps),
        "flax": flax_peers.runner(config, state, num_steps),
    }


def main() -> None:
    tiny = TINY.value
    plan = cases(METHODS.value, SIZES.value, tiny=tiny)
    default = f"runs/speed/training{'_tiny' if tiny else ''}.json"
    # JAX would take most of a GPU's memory, and PyTorch needs some of it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    distributed.use_cpu_cores(distributed.cpu_cores())
    chosen = precisions.chosen(PRECISION.value, tiny=tiny)
    output = timing.output(OUTPUT.value, default)
    start = time.perf_counter()
    device, version = timing.set_up_torch() if TORCH.value else (None, None)
    times = dict(repeats=REPEATS.value, min_seconds=MIN_SECONDS.value)
    peaks = [matmul_rate(device)]
    rows = []
    for (preset, config), precision in itertools.product(plan, chosen):
        rows += measure(
            preset,
            config,
            torch_device=device,
            compiled=COMPILE.value,
            precision=precision,
            work_per_call=0 if tiny else WORK_PER_CALL,
            **times,
        )
        elapsed = time.perf_counter() - start
        note = rows[-1].get("torch_compile", "")
        note = f"; torch.compile: {note}" if note else ""
        print(f"{elapsed:4.0f} s: {config.method}, {preset}{note}", flush=True)
    peaks.append(matmul_rate(device))
    peak = max(value for rates in peaks for value in rates.values())
    text = summaries.summarize(rows, peak)
    record = {
        **timing.provenance(),
        "torch": version,
        **times,
        "tiny": tiny,
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
