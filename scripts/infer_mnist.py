"""Trains models with an inference network on MNIST; measures G(R(x)) and the codes.

    python scripts/infer_mnist.py --method=all
    python scripts/infer_mnist.py --method=veegan_adversarial
        The 15,000 steps of the notebook beside the VEEGAN authors' code. Four methods,
        five seeds: 15 to 25 minutes a method on one CPU core. Expect an error of .055
        for VEEGAN, .045 with an adversarial R, .019 for VEEGAN+, .13 for ALI, and 70,
        76, 97 and 20 % of the digits kept; PCA has .017 and 97 %.
    python scripts/infer_mnist.py --method=all --steps=2000
        A first look: two to four minutes a method.
    python scripts/infer_mnist.py --preset=full --method=all
        Convolutional networks, for a GPU; minutes on a CPU are too few for them.
    python scripts/infer_mnist.py --dataset=digits --steps=3000
        scikit-learn's bundled digits, 8 x 8: nothing to download.

Every run ends with a table in which each method stands below what needs no GAN (the
mean image, PCA, another image of the class, draws from N(0, I)). Its work directory
gets results.json, reconstructions.png (test digits over G(R(x)), the paper's figure),
codes.png (the codes' quantiles against N(0, 1)'s) and what train_cifar10.py leaves.
Stop it at any time and give the same command to go on; given again after the end, it
measures again without training. Without MNIST on the machine the digits are used.
"""

import pathlib

import early  # noqa: F401

from veegan_jax.common import flags as common_flags
from veegan_jax.config import Config
from veegan_jax.data import images
from veegan_jax.experiments import base, inference
from veegan_jax.presets import images as image_presets
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed, program

WORKDIR = common_flags.define_path(
    "workdir", None, "where it goes (default: runs/inference_DATASET/PRESET/METHOD)"
)
METHOD_FILE = common_flags.define_path(
    "method_file", None, "a Python file of your own method, with reconstruct as well"
)
SETTINGS = resolve.settings(image_presets)
common_flags.define(
    *SETTINGS,
    from_preset=True,
    help_of={
        "method": f"a method, or all: {', '.join(inference.ROWS)} "
        f"(default: {resolve.METHOD})",
        "dataset": "mnist, digits, or auto: mnist where it is prepared",
    },
)
common_flags.define(inference.Options, from_preset=False)
common_flags.define(distributed.Options, from_preset=False)


def plan(options: inference.Options) -> list[tuple[pathlib.Path, Config]]:
    """Make the list of runs that the flags ask for, with their work directories."""
    changes = common_flags.read(*SETTINGS)
    named = changes.pop("dataset", "auto")
    data_dir = options.data_dir or None
    dataset = images.choose(named, data_dir, inference.DATASETS)
    if dataset == "digits":
        common_flags.refuse("the digits come with scikit-learn", "data_dir")
    return base.plan(
        options,
        changes,
        [dataset],
        WORKDIR.value,
        rows=inference.ROWS,
        folder=f"inference_{dataset}",
        method_file=METHOD_FILE.value,
    )


def main() -> None:
    hosts = distributed.Options(**common_flags.read(distributed.Options))
    options = inference.Options(**common_flags.read(inference.Options))
    distributed.start(hosts)  # first, as a method's file may use JAX
    runs = plan(options)
    inference.check(runs, options)
    base.run_all(
        runs,
        options,
        train=inference.run,
        dry_run=inference.dry_run,
        table=inference.table,
    )


if __name__ == "__main__":
    program.run(main)
