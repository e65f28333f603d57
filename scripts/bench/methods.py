"""Measure what a training step of each method costs, beside the GAN's.

    python scripts/bench/methods.py
        Every method at `quick`, one seed on one CPU core, on the grid and on Stacked
        MNIST: about five minutes. Expect 1.0 for the GAN, 1.5 for ALI, 5 to 10 for
        methods that take several steps in one.
    python scripts/bench/methods.py --datasets=grid --methods=gan,veegan
        Some of it, in half a minute.

All methods of a data set take turns, so other work on the machine hits all of them.
The record goes to runs/speed/methods.json; `make_tables.py --add=` keeps it, for the
leaderboard.
"""

import functools
import statistics
import time
from typing import Any

import early  # noqa: F401
import jax
import numpy as np
import timing
from absl import flags

from veegan_jax.common import flags as common_flags
from veegan_jax.common import records
from veegan_jax.config import Config
from veegan_jax.experiments import base
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed, program

# Data set -> steps of a call.
STEPS = {"grid": 1000, "stacked_mnist": 10}
_NUM_DIGITS = 10_000

METHODS = flags.DEFINE_list("methods", list(resolve.ROWS), "what to measure")
DATASETS = flags.DEFINE_list("datasets", list(STEPS), "on what")
REPEATS = common_flags.define_number(
    "repeats", 3, "measurements of each number", within="[1, inf)"
)
MIN_SECONDS = common_flags.define_number(
    "min_seconds", 0.5, "length of a measurement", within="[0, inf)"
)
CALL = common_flags.define_number(
    "steps", 0, "of a call; 0: about half a second of the GAN's", within="[0, 10**6]"
)
OUTPUT = common_flags.define_path(
    "output", None, "where the record goes (default: runs/speed/methods.json)"
)


def runner(config: Config, num_steps: int) -> timing.Runner:
    """Compile num_steps training steps of one seed."""
    experiment, data = mixture_experiment.step_on_fresh_data, None
    if config.dataset in stacked_mnist_experiment.DIGITS:
        experiment = stacked_mnist_experiment.step_on_stacks
        height, width, _ = config.example_shape()
        random = np.random.default_rng(0)
        data = random.integers(256, size=(_NUM_DIGITS, height, width), dtype=np.uint8)
    state = base.init_seeds([0], config)
    step = functools.partial(experiment, config=config)
    return timing.jax_runner(step, state, num_steps, data=data)[0]


def measure(
    dataset: str, names: list[str], repeats: int, min_seconds: float
) -> list[dict[str, Any]]:
    """Measure the methods on one data set: a row for each, with all measurements."""
    runners = {}
    for name in names:
        config = resolve.resolve(name, dataset, "quick")
        parts = config.batch_size // resolve.resolve("gan", dataset).batch_size
        runners[name] = runner(config, max(1, (CALL.value or STEPS[dataset]) // parts))
    rates = timing.rates(runners, repeats, min_seconds)
    rows = []
    for name, found in rates.items():
        row = {"dataset": dataset, "method": name, "steps_per_second": found}
        row["median"] = statistics.median(found)
        if "gan" in rates:
            row["cost"] = timing.ratio(rates["gan"], found)  # how many steps of a GAN
        rows.append(row)
    return rows


def main() -> None:
    timing.check_names("methods", METHODS.value, resolve.ROWS)
    timing.check_names("datasets", DATASETS.value, list(STEPS))
    output = timing.output(OUTPUT.value, "runs/speed/methods.json")
    distributed.use_cpu_cores(1)
    start = time.perf_counter()
    rows = []
    for dataset in DATASETS.value:
        rows += measure(dataset, METHODS.value, REPEATS.value, MIN_SECONDS.value)
        print(f"{time.perf_counter() - start:4.0f} s: {dataset}", flush=True)
        jax.clear_caches()
    lines = [
        [row["dataset"], row["method"], records.cell(row["median"])]
        + [records.cell(row["cost"]["ratio"]) if "cost" in row else ""]
        for row in rows
    ]
    header = ["data", "method", "steps/s", "steps of the GAN in the time of one"]
    print(f"\n{records.table(header, lines)}\n\nrecord: {output}")
    wall = time.perf_counter() - start
    records.write(output, {**timing.provenance(), "wall_seconds": wall, "rows": rows})


if __name__ == "__main__":
    program.run(main)
