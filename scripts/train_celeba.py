r"""Trains GANs on faces: CelebA, or any folder of images, 64 x 64.

    python scripts/train_celeba.py --image_dir=photos
        Every image below the folder: its largest centred square. The quick networks,
        6,000 steps, one seed.
    python scripts/prepare_data.py --datasets=cifar10 --png=photos
    python scripts/train_celeba.py --image_dir=photos --image_size=32 --method=gan \
        --generator_widths=128,64,64 --discriminator_widths=32,64,128
        Without images of your own: CIFAR-10 as a folder, seven minutes on one CPU core
        (results/faces.md).
    python scripts/train_celeba.py --crop=148
        CelebA as tensorflow-datasets prepared it (celeb_a, array_record), in --data_dir
        or TFDS_DATA_DIR; its centred squares of 148 pixels. CelebA may not be
        redistributed, so nothing here downloads it.
    python scripts/train_celeba.py --preset=paper --method=all --parallel=pmap
        DCGAN's networks, for a GPU.
    python scripts/eval_ivom.py runs/faces/quick/veegan --image_dir=photos

Every 20th image is held out. Files that are no images, are damaged or lead out of the
folder are skipped and counted. Images that take more than --memory_mib are not held in
memory: --workers processes decode them as they are needed, a group of batches ahead of
the device. Either way stop it at any time and give the same command to go on, at the
exact image.
"""

import functools
import pathlib

import early  # noqa: F401
from absl import flags

from veegan_jax import config as configs
from veegan_jax.common import errors
from veegan_jax.common import flags as common_flags
from veegan_jax.config import Config
from veegan_jax.experiments import base, faces
from veegan_jax.experiments import images as image_experiment
from veegan_jax.presets import images as image_presets
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed, program

WORKDIR = common_flags.define_path(
    "workdir", None, "where everything goes (default: runs/faces/PRESET/METHOD)"
)
METHOD_FILE = common_flags.define_path(
    "method_file", None, "a Python file with init, train_step and sample to train"
)
SETTINGS = (*resolve.settings(image_presets), configs.Photos)
common_flags.define(
    *SETTINGS,
    from_preset=True,
    help_of={
        "method": f"a method, or all: {', '.join(resolve.ROWS)} "
        f"(default: {resolve.METHOD})",
        "dataset": "faces (default: faces)",
    },
)
common_flags.define(faces.Options, from_preset=False)
common_flags.define(distributed.Options, from_preset=False)


def plan(
    options: faces.Options, changes: dict, *, streamed: bool
) -> list[tuple[pathlib.Path, Config]]:
    """Make the list of runs that the flags ask for, with their work directories."""
    changes = {"streamed": streamed} | changes
    return base.plan(
        options, changes, ["faces"], WORKDIR.value, method_file=METHOD_FILE.value
    )


def main() -> None:
    hosts = distributed.Options(**common_flags.read(distributed.Options))
    options = faces.Options(**common_flags.read(faces.Options))
    distributed.start(hosts)  # first, as a method's file may use JAX
    changes = common_flags.read(*SETTINGS)
    if changes.pop("dataset", "faces") != "faces":
        raise errors.InputError(
            f"--dataset={flags.FLAGS['dataset'].value}: this script trains on faces; "
            "leave the flag out"
        )
    if options.image_dir:
        common_flags.refuse("the images are those of --image_dir", "data_dir")
    # Refuse bad flags before any image is read.
    _, first = plan(options, changes, streamed=False)[0]
    photos = faces.read(options, first.data.image_size, first.batch_size)
    if report := photos.report():
        print(report)
    held = photos.image is not None
    if changes.get("streamed") is False and not held:
        raise errors.InputError(
            f"--streamed=false: the images take more than --memory_mib="
            f"{options.memory_mib}; give more, or leave the flag out"
        )
    print(f"{photos.source}: {'in memory' if held else 'decoded as needed'}")
    runs = plan(options, changes, streamed=not held)
    for workdir, config in runs:
        faces.check(config, options, workdir, photos)
    base.run_all(
        runs,
        options,
        train=functools.partial(faces.run, photos=photos),
        dry_run=functools.partial(faces.dry_run, photos=photos),
        table=image_experiment.table,
    )


if __name__ == "__main__":
    program.run(main)
