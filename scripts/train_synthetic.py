"""Trains GANs on the three mixtures and counts the modes they keep.

    python scripts/train_synthetic.py
        VEEGAN on the ring, five seeds: 8/8 modes, above 80 % high quality, in about
        a minute on two CPU cores.
    python scripts/train_synthetic.py --method=all --dataset=all
        The paper's Table 1 at the quick preset, about 15 minutes on two CPU cores.
    python scripts/train_synthetic.py --preset=paper --method=veegan --dataset=grid
        The authors' own set-up, 100,000 steps.

Every run ends with a table, figures and results.json in the work directory. Stop it
at any time and give the same command to go on.
"""

import os
import pathlib
import sys

from absl import app, flags, logging

from veegan_jax import config as configs
from veegan_jax import methods, synthetic
from veegan_jax.common import flags as common_flags
from veegan_jax.common import loop, parallel

ROWS = ("gan", "ali", "unrolled", "veegan")  # --method=all: the paper's table

PRESET = flags.DEFINE_string(
    "preset", "quick", f"hyper-parameters to start from: {', '.join(configs.PRESETS)}"
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "where everything goes (default: runs/PRESET/DATASET-METHOD)"
)
GIF = flags.DEFINE_bool("gif", False, "also draw the samples over training, as a GIF")
DEVICES = flags.DEFINE_integer(
    "cpu_devices", len(os.sched_getaffinity(0)), "CPU devices to spread seeds over"
)
common_flags.define(configs.Config, from_preset=True)
common_flags.define(synthetic.Options, from_preset=False)


def plan() -> list[tuple[pathlib.Path, configs.Config]]:
    """The runs that the flags ask for, each checked, with its work directory."""
    changes = common_flags.read(configs.Config)
    method, dataset = changes.pop("method", "veegan"), changes.pop("dataset", "ring")
    names = ROWS if method == "all" else (method,)
    datasets = configs.DATASETS if dataset == "all" else (dataset,)
    for name in names:
        methods.get(name)
    several = len(names) * len(datasets) > 1
    base = pathlib.Path(WORKDIR.value or f"runs/{PRESET.value}")
    runs = []
    for d in datasets:
        for m in names:
            apart = several or WORKDIR.value is None
            path = base / f"{d}-{m}" if apart else base
            runs.append((path, configs.preset(PRESET.value, m, d, **changes)))
    return runs


def main(argv: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # orbax tells of every file otherwise
    if argv[1:]:
        raise ValueError(f"unknown argument {argv[1]!r}: flags start with --")
    options = synthetic.Options(**common_flags.read(synthetic.Options))
    runs = plan()
    parallel.use_cpu_cores(DEVICES.value)
    synthetic.check(runs, options)
    done: dict[str, dict[str, dict]] = {}
    for workdir, config in runs:
        record, _ = synthetic.run(config, options, workdir, gif=GIF.value)
        done.setdefault(config.dataset, {})[config.method] = record
        print(f"\n{synthetic.table(config.dataset, {config.method: record})}")
        print(f"figures and results.json: {workdir}\n", flush=True)
    if len(runs) > 1:
        for dataset, rows in done.items():
            print(f"\n{dataset}\n{synthetic.table(dataset, rows)}")
    failed = [
        f"{workdir.name} seed {seed['seed']} {seed['failed']}"
        for (workdir, c) in runs
        for seed in done[c.dataset][c.method]["per_seed"]
        if "failed" in seed
    ]
    if failed:
        raise loop.NonFinite("; ".join(failed))


if __name__ == "__main__":
    try:
        app.run(main)
    except loop.Interrupted as stop:
        print(f"\n{stop}", file=sys.stderr)
    except (ValueError, loop.NonFinite) as error:
        sys.exit(f"\n{error}")
