r"""Trains GANs on CIFAR-10, for their IvOM and to be looked at.

    python scripts/train_cifar10.py
    python scripts/train_cifar10.py --method=all
    python scripts/eval_ivom.py runs/cifar10/quick/veegan
        The quick networks, 6,000 steps, two seeds: 13 to 23 minutes a method on one CPU
        core; Unrolled GAN takes 1.5 s a step. Expect cars, ships and animals, most of
        them not whole, and a variety of .7 to .9.
    python scripts/train_cifar10.py --method=gan --ivom_images=64
        Also how the IvOM of 64 test images falls while G learns: 2 s a look.
    python scripts/train_cifar10.py --method=autoencoder
        The same G and R as an autoencoder: how near to images they could come.
    python scripts/train_cifar10.py --method_file=my_gan.py
        Your own method (README, "Your own method").
    python scripts/train_cifar10.py --preset=full --method=all
        The same networks for 20,000 steps of 64: 30 to 70 minutes a seed and method on
        one CPU core. Give --seeds=1 there; Unrolled GAN would take hours.
    python scripts/train_cifar10.py --preset=paper --method=all
        For a GPU: the published networks.
    python scripts/train_cifar10.py --dataset=fashion_mnist --preset=quick
        MNIST, Fashion-MNIST and CIFAR-100 train by the same networks and flags.
    python scripts/train_cifar10.py --dataset=digits --preset=dense --method=gan \
        --steps=2000
        scikit-learn's bundled digits, 8 x 8 and grey: nothing to download, ten seconds.
        Expect a variety of .86. The quick networks are made for 32 x 32.

Each run leaves samples, interpolations, training curves and, where the method has a
reconstructor, reconstructions of test images in its work directory, with results.json.
Stop it at any time and give the same command to go on. CIFAR-10 is read as
tensorflow-datasets prepared it: scripts/prepare_data.py --datasets=cifar10.
"""

import functools
import pathlib

import early  # noqa: F401

from veegan_jax.common import errors
from veegan_jax.common import flags as common_flags
from veegan_jax.config import Config
from veegan_jax.experiments import base
from veegan_jax.experiments import images as image_experiment
from veegan_jax.presets import images as image_presets
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed, program

DATASETS = ("cifar10", "cifar100", "mnist", "fashion_mnist", "digits")

WORKDIR = common_flags.define_path(
    "workdir", None, "where everything goes (default: runs/DATASET/PRESET/METHOD)"
)
METHOD_FILE = common_flags.define_path(
    "method_file", None, "a Python file with init, train_step and sample to train"
)
SETTINGS = resolve.settings(image_presets)
common_flags.define(
    *SETTINGS,
    from_preset=True,
    help_of={
        "method": f"a method, or all: {', '.join(resolve.ROWS)} "
        f"(default: {resolve.METHOD})",
        "dataset": f"one of {', '.join(DATASETS)} (default: cifar10)",
    },
)
common_flags.define(image_experiment.Options, from_preset=False)
common_flags.define(distributed.Options, from_preset=False)


def plan(options: image_experiment.Options) -> list[tuple[pathlib.Path, Config]]:
    """Make the list of runs that the flags ask for, with their work directories."""
    changes = common_flags.read(*SETTINGS)
    dataset = changes.pop("dataset", "cifar10")
    if dataset not in DATASETS:
        raise errors.InputError(
            f"--dataset={dataset} must be one of {', '.join(DATASETS)}"
        )
    if dataset == "digits":
        common_flags.refuse("the digits come with scikit-learn", "data_dir")
    return base.plan(
        options, changes, [dataset], WORKDIR.value, method_file=METHOD_FILE.value
    )


def main() -> None:
    hosts = distributed.Options(**common_flags.read(distributed.Options))
    options = image_experiment.Options(**common_flags.read(image_experiment.Options))
    distributed.start(hosts)  # first, as a method's file may use JAX
    runs = plan(options)
    image_experiment.check(runs, options)
    source = image_experiment.load(runs[0][1].dataset, options.data_dir or None)
    base.run_all(
        runs,
        options,
        train=functools.partial(image_experiment.run, source=source),
        dry_run=functools.partial(image_experiment.dry_run, source=source),
        table=image_experiment.table,
    )


if __name__ == "__main__":
    program.run(main)
