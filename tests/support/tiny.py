"""Tiny networks of short runs, as changes of a preset and as flags; tiny data."""

import pathlib
import shutil

import numpy as np
import PIL.Image

from veegan_jax.experiments import base, stored
from veegan_jax.runtime import checkpoint

SHORT = dict(steps=8, batch_size=8, latent_size=3)
# --preset=dense, of single images.
DENSE = SHORT | dict(
    generator_widths=(6,), discriminator_widths=(5,), reconstructor_widths=(5,)
)
# Convolutions on single images, and on stacks of three.
IMAGES = SHORT | dict(
    generator_widths=(4, 2),
    discriminator_widths=(2,),
    reconstructor_widths=(2,),
    joint_widths=(3,),
)
STACKS = SHORT | dict(generator_widths=(4, 3, 2), discriminator_widths=(2, 3))
FACES = IMAGES | dict(batch_size=4, image_size=8, generator_widths=(3, 2))


def flags(changes: dict) -> list[str]:
    """The same changes on a command line."""

    def text(value) -> str:
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return [f"--{name}={text(value)}" for name, value in changes.items()]


def trained(config, workdir: pathlib.Path, seeds: int = 2):
    """A work directory as a script leaves it, of networks that were never trained."""
    workdir.mkdir(parents=True)
    state = base.init_seeds(range(seeds), config)
    state = state.replace(step=state.step + config.steps)
    stored.claim(workdir, config, base.Options(seeds=seeds))
    checkpoints = checkpoint.Checkpoints(workdir / "checkpoints")
    checkpoints.save(config.steps, state)
    checkpoints.close()
    return workdir, state


def as_if_killed(whole: pathlib.Path, step: int, copy: pathlib.Path) -> None:
    """A copy of a finished run as it was after the checkpoint of an earlier step."""
    shutil.copytree(whole, copy)
    for path in (copy / "checkpoints").iterdir():
        if path.name.isdigit() and int(path.name) > step:
            shutil.rmtree(path)
    (copy / "results.json").unlink()
    (copy / "samples.npz").unlink()


def write_photos(folder: pathlib.Path) -> pathlib.Path:
    """43 images of smooth colours, one file that is none, and one cut short."""
    generator = np.random.default_rng(3)
    (folder / "more").mkdir()
    for number in range(43):
        small = generator.integers(0, 256, (3, 4, 3), np.uint8)
        image = PIL.Image.fromarray(small).resize(
            (20, 14), PIL.Image.Resampling.BICUBIC
        )
        image.save(folder / ("more" if number % 2 else ".") / f"{number:02d}.png")
    (folder / "notes.txt").write_text("no image")
    whole = (folder / "00.png").read_bytes()
    (folder / "99.png").write_bytes(whole[: len(whole) // 2])
    return folder
