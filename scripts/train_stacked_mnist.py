"""Trains GANs on Stacked MNIST and counts which of the 1,000 modes they keep.

    python scripts/train_stacked_mnist.py --method=veegan
    python scripts/train_stacked_mnist.py --method=all --seeds=2
        Small networks, 6,000 steps: 7 to 13 minutes a method on two CPU cores (Unrolled
        GAN takes ten times as long a step), two seeds. Expect digits, all 1,000 modes,
        and a KL of .16 for VEEGAN, .12 for the GAN.
    python scripts/train_stacked_mnist.py --preset=full --method=all --seeds=3
        The same networks, 20,000 steps of larger batches: 25 to 50 minutes a seed on a
        CPU core. Expect a KL of .05 for the GAN.
    python scripts/train_stacked_mnist.py --preset=quarter --method=pacgan --steps=20000
        A D that is too small, so that a GAN collapses: 13 to 21 minutes a seed on a
        CPU core. Expect 600 modes of PacGAN. The whole, 500,000 steps, is for a GPU.
    python scripts/train_stacked_mnist.py --preset=paper --method=all
        For a GPU.
    python scripts/train_stacked_mnist.py --digits=4 --method=gan
        Stacks of four digits: 10,000 modes, and 260,000 samples to find them.
    python scripts/train_stacked_mnist.py --dataset=digits --method=all
        The same on scikit-learn's bundled digits, 8 x 8: nothing to download.

Every run ends with a table, figures and results.json in the work directory. Stop it
at any time and give the same command to go on. Without MNIST on the machine the
digits are used, and every record says so.
"""

import pathlib

import early  # noqa: F401

from veegan_jax.common import flags as common_flags
from veegan_jax.config import Config
from veegan_jax.data import images
from veegan_jax.experiments import base
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import resolve
from veegan_jax.presets import stacked_mnist as stacked_mnist_presets
from veegan_jax.runtime import distributed, program

WORKDIR = common_flags.define_path(
    "workdir", None, "where everything goes (default: runs/DATASET/PRESET/METHOD)"
)
METHOD_FILE = common_flags.define_path(
    "method_file", None, "a Python file with init, train_step and sample to train"
)
CHANNELS = common_flags.define_number(
    "digits", 3, "of a stack: 3 (1,000 modes) or 4 (10,000)", within="[3, 4]"
)
SETTINGS = resolve.settings(stacked_mnist_presets)
common_flags.define(
    *SETTINGS,
    from_preset=True,
    help_of={
        "method": f"a method, or all: {', '.join(resolve.ROWS)} "
        f"(default: {resolve.METHOD})",
        "dataset": "mnist, digits, or auto: mnist where it is prepared",
    },
)
common_flags.define(stacked_mnist_experiment.Options, from_preset=False)
common_flags.define(distributed.Options, from_preset=False)


def plan(
    options: stacked_mnist_experiment.Options,
) -> list[tuple[pathlib.Path, Config]]:
    """Make the list of runs that the flags ask for, with their work directories."""
    changes = common_flags.read(*SETTINGS)
    named = changes.pop("dataset", "auto")
    known = tuple(dict.fromkeys(stacked_mnist_experiment.DIGITS.values()))
    digits = images.choose(named, options.data_dir or None, known)
    if digits == "digits":
        common_flags.refuse("the digits come with scikit-learn", "data_dir")
    dataset = f"stacked_{digits}{'4' if CHANNELS.value == 4 else ''}"
    return base.plan(
        options, changes, [dataset], WORKDIR.value, method_file=METHOD_FILE.value
    )


def main() -> None:
    hosts = distributed.Options(**common_flags.read(distributed.Options))
    options = stacked_mnist_experiment.Options(
        **common_flags.read(stacked_mnist_experiment.Options)
    )
    distributed.start(hosts)  # first, as a method's file may use JAX
    runs = plan(options)
    stacked_mnist_experiment.check(runs, options)
    base.run_all(
        runs,
        options,
        train=stacked_mnist_experiment.run,
        dry_run=stacked_mnist_experiment.dry_run,
        table=stacked_mnist_experiment.table,
    )


if __name__ == "__main__":
    program.run(main)
