"""One point of bench/growth.py, in a process of its own. No flags.

Peak memory is a high-water mark of a process, so every point needs another one.
"""

import functools
import json
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import timing

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed, numerics, parallel, rng

NUM_DIGITS = 1000  # few, so that the data is small beside what grows


class Case(NamedTuple):
    """A training and its places on each axis; it keeps to the first on other axes."""

    method: str
    dataset: str
    preset: str
    steps: int  # of one call at the first place of each axis
    batch: tuple[int, ...]
    width: tuple[float, ...]  # of every layer, as a multiple of the preset's
    seeds: tuple[int, ...]


class Point(NamedTuple):
    """One place on an axis."""

    case: str
    batch: int
    width: float
    seeds: int
    devices: int
    cores: int = 0  # of the CPU that the process keeps to; 0: all


CASES = {
    "ring-veegan": Case(
        *("veegan", "ring", "quick"),
        steps=600,
        batch=(64, 512, 4096),
        width=(1, 3, 9),
        seeds=(1, 8, 64),
    ),
    "quarter-gan": Case(
        *("gan", "stacked_mnist", "quarter"),
        steps=16,
        batch=(32, 128),  # few places: each compiles for half a minute
        width=(1, 2, 4),
        seeds=(1, 4),
    ),
}


def config_of(point: Point) -> Config:
    """Return the configuration of a point."""
    case = CASES[point.case]
    config = resolve.resolve(
        case.method, case.dataset, case.preset, batch_size=point.batch
    )
    names = [f"{part}_widths" for part in ("generator", "reconstructor", "joint")]
    names.append("discriminator_widths")
    wider = {
        name: tuple(max(1, round(point.width * size)) for size in sizes)
        for name in names
        if (sizes := getattr(config.networks, name, ()))
    }
    return config.replace(**wider)


def steps_per_call(point: Point) -> int:
    """Return how many steps one call takes: even, fewer of those with more work."""
    case = CASES[point.case]
    work = point.batch / case.batch[0] * point.seeds * point.width**2 / point.devices
    return max(2, 2 * round(case.steps / work / 2))


def program_mib() -> dict[str, float]:
    """Read XLA's own analysis of the largest program so far: MiB of each device."""
    every = [
        program.get_compiled_memory_stats()
        for program in jax.devices()[0].client.live_executables()
    ]
    found = max(every, key=lambda stats: stats.temp_size_in_bytes)
    arguments, results = found.argument_size_in_bytes, found.output_size_in_bytes
    total = arguments + results - found.alias_size_in_bytes + found.temp_size_in_bytes
    return {
        "program_mib": total / 2**20,
        "temporary_mib": found.temp_size_in_bytes / 2**20,
    }


def measure(point: Point, repeats: int, min_seconds: float) -> dict[str, Any]:
    """Time the steps of one point, and read the memory that they take.

    Args:
      point: what to train.
      repeats: measurements of the time.
      min_seconds: the least length of one.

    Returns:
      The point; milliseconds of a step of all seeds, each measurement and the median;
      MiB of the program on each device; the process's peak before and after.
    """
    config = config_of(point)
    step: Callable[..., Any] = mixture_experiment.step_on_fresh_data
    digits_NHW = None
    if len(config.data.shape) > 1:
        step = stacked_mnist_experiment.step_on_stacks
        shape = NUM_DIGITS, *config.data.shape[:2]
        digits_NHW = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    init = jax.vmap(functools.partial(methods.get(config.method).init, config=config))
    keys_S = jax.vmap(rng.key)(np.arange(point.seeds, dtype=np.uint32))
    options = parallel.compile_options_of_init()  # no record rests on its rounding
    state = jax.jit(init, compiler_options=options)(keys_S)
    before = timing.memory()
    runner, compile_seconds = timing.jax_runner(
        functools.partial(step, config=config),
        state,
        steps_per_call(point),
        digits_NHW,
        devices=jax.devices()[: point.devices],
    )
    rates = timing.rates({"": runner}, repeats, min_seconds)[""]
    of_all = [1000 * point.seeds / rate for rate in rates]
    return {
        **point._asdict(),
        "milliseconds": of_all,
        "median": statistics.median(of_all),
        "compile_seconds": compile_seconds,
        **program_mib(),
        "before_mib": before,
        "peak_memory_mib": timing.memory(),
    }


def main(arguments: str) -> None:
    """Print what `measure` finds, as the last line.

    Args:
      arguments: `measure`'s as JSON, the point as a list.
    """
    point, *others = json.loads(arguments)
    point = Point(*point)
    numerics.pin()
    distributed.use_cpu_cores(point.devices)
    if point.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: point.cores])
    print(json.dumps(measure(point, *others)))


if __name__ == "__main__":
    main(sys.argv[1])
