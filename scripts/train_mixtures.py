"""Trains GANs on the three mixtures and counts the modes they keep.

    python scripts/train_mixtures.py
        VEEGAN+ on the ring, five seeds: 8/8 modes on each, about 90 % high quality,
        in about a minute on two CPU cores, compilation included.
    python scripts/train_mixtures.py --method=all --dataset=all
        Fifteen methods at the quick preset: less than two hours on one CPU core, 1200-D
        two thirds of it.
    python scripts/train_mixtures.py --preset=paper --method=veegan --dataset=grid
        The authors' own set-up, 100,000 steps, five seeds: about an hour.
    python scripts/train_mixtures.py --preset=best --dataset=all
        The strongest VEEGAN known here.
    python scripts/train_mixtures.py --method_file=my_gan.py --dataset=all
        Your own method (README, "Your own method").

Every run ends with a table, figures and results.json in the work directory. Stop it
at any time and give the same command to go on.
"""

import functools
import pathlib

import early  # noqa: F401
from absl import flags

from veegan_jax.common import errors
from veegan_jax.common import flags as common_flags
from veegan_jax.config import Config
from veegan_jax.data import mixtures
from veegan_jax.experiments import base
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.presets import mixtures as mixture_presets
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed, program

WORKDIR = common_flags.define_path(
    "workdir", None, "where everything goes (default: runs/DATASET/PRESET/METHOD)"
)
METHOD_FILE = common_flags.define_path(
    "method_file", None, "a Python file with init, train_step and sample to train"
)
GIF = flags.DEFINE_bool("gif", False, "also draw the samples over training, as a GIF")
SETTINGS = resolve.settings(mixture_presets)
common_flags.define(
    *SETTINGS,
    from_preset=True,
    help_of={
        "method": f"a method of the README, or all: {', '.join(resolve.ROWS)} "
        f"(default: {resolve.METHOD})",
        "dataset": f"{mixture_presets.DESCRIPTION}; or all; {mixture_presets.MORE} "
        "(default: ring)",
    },
)
common_flags.define(base.Options, from_preset=False)
common_flags.define(distributed.Options, from_preset=False)


def plan(options: base.Options) -> list[tuple[pathlib.Path, Config]]:
    """Make the list of runs that the flags ask for, with their work directories."""
    changes = common_flags.read(*SETTINGS)
    dataset = changes.pop("dataset", "ring")
    datasets = mixture_presets.DATASETS if dataset == "all" else (dataset,)
    if not all(map(mixtures.is_mixture, datasets)):
        raise errors.InputError(
            f"--dataset={dataset} must be one of "
            f"{', '.join(mixture_presets.DATASETS)}, or all; {mixture_presets.MORE}"
        )
    return base.plan(
        options, changes, datasets, WORKDIR.value, method_file=METHOD_FILE.value
    )


def main() -> None:
    hosts = distributed.Options(**common_flags.read(distributed.Options))
    options = base.Options(**common_flags.read(base.Options))
    distributed.start(hosts)  # first, as a method's file may use JAX
    runs = plan(options)
    mixture_experiment.check(runs, options, gif=GIF.value)
    base.run_all(
        runs,
        options,
        train=functools.partial(mixture_experiment.run, gif=GIF.value),
        dry_run=mixture_experiment.dry_run,
        table=mixture_experiment.table,
    )


if __name__ == "__main__":
    program.run(main)
