"""Make more images of the classes in a folder of your own, by L-GAN or a rival.

    python scripts/lgan_generate.py --image_dir=photos --num_samples=100
    python scripts/lgan_generate.py --image_dir=photos --generator=affine

photos holds a folder for each class, with at least 10 images in it, all of one size, of
at most 128 x 128 pixels. Every class gets num_samples images, as OUTPUT/CLASS/00000.png
and so on with OUTPUT/labels.csv. If OUTPUT ends in .npz, it holds the arrays image,
label and names instead. A preview.png shows given beside generated images.

Models are trained in the work directory. Ten classes of 100 images take two and a half
minutes on two CPU cores for 28 x 28 pixels, one minute for 8 x 8. After Ctrl-C the same
command continues; a finished model is only read. On MNIST only `affine` and the
generators that end in `_moves` made a classifier better: see results/lgan.md.
"""

import dataclasses
import os
import pathlib
from typing import Any

import early  # noqa: F401
import jax
import numpy as np

from lgan_jax import autoencoder, config, generation, generators, splits, stages
from lgan_jax.generators import OWN
from lgan_jax.task import Task
from veegan_jax.common import errors, fields, figures, files, memory, plots
from veegan_jax.common import flags as common_flags
from veegan_jax.data import folders
from veegan_jax.runtime import (
    distributed,
    loop,
    parallel,
    program,
    workdirs,
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the generation. Each field is also a flag."""

    image_dir: str = fields.field(
        "", "a folder of images for each class", "main", path=True
    )
    num_samples: int = fields.field(
        100, "images to make of each class", "main", within="[1, inf)"
    )
    generator: str = fields.field(
        "lgan",
        f"{', '.join(generators.names())}; all but affine also with "
        f"{generators.ON_TOP}",
        "main",
    )
    output: str = fields.field(
        "", "a new folder, or a name in .npz (default: WORKDIR/GENERATOR)", path=True
    )
    workdir: str = fields.field(
        "",
        "where the models go (default: runs/lgan/generate/NAME_OF_IMAGE_DIR)",
        path=True,
    )
    seed: int = fields.field(
        0, "of the models and of what they generate", within="[0, 2**32)"
    )
    draw: int = fields.field(
        0, "another number: other images of the same models", within="[0, 2**32)"
    )
    parallel: str = fields.field(
        "none",
        "none: devices share classes; jit or pmap: they share each batch",
        choices=parallel.MODES,
    )
    cpu_devices: int = fields.field(
        distributed.cpu_cores(),
        "CPU cores to spread classes over",
        within=distributed.CORES,
    )

    def __post_init__(self) -> None:
        fields.check(self)
        generators.check(self.generator)
        if not self.image_dir:
            raise errors.InputError(
                "give --image_dir=, with a folder of images per class"
            )


common_flags.define(Options, from_preset=False)
common_flags.define(config.Config, from_preset=True)

# The spread of encodings is estimated from the images of a class: five images for each
# dimension. Fewer than ten would leave one dimension, all images of a class on a line.
PER_DIMENSION = 5
LEAST = 2 * PER_DIMENSION
MOST_PIXELS = 128 * 128  # the dense layers of a class take 0.3 GB, in colour
MOST_BYTES = 2**32  # of generated pixels, all in memory
PREVIEW = "preview.png"
SHOWN = 10, 16  # classes, and images of each
JUDGED = 500  # images of each class whose nearest one is looked for


def make_config(given: folders.Classes, changes: dict[str, Any]) -> config.Config:
    """Make the configuration: encodings are no larger than the images support.

    Args:
      given: the images.
      changes: fields that differ from the defaults.

    Raises:
      InputError: for a change of what the images set, or one out of range.
    """
    for name in ("dataset", "fraction"):
        if name in changes:
            raise errors.InputError(
                f"--{name}={changes[name]}: the images set it; leave the flag out"
            )
    size = given.image[0].size
    found = {"dataset": "folder", "fraction": 1.0, "data_size": size}
    counts = {"": int(np.bincount(given.label).min()), "shared_": len(given.label)}
    for prefix, count in counts.items():
        latent, basis = f"{prefix}latent_size", f"{prefix}basis_size"
        bearable = min(
            getattr(config.Config, latent), count // PER_DIMENSION, size // 4
        )
        found[latent] = changes.get(latent, max(1, bearable))
        found[basis] = min(getattr(config.Config, basis), found[latent])
    return config.Config(**(found | changes))


def check_memory(run_config: config.Config, generator: str, classes: int) -> None:
    """Refuse more autoencoders than the memory holds during training.

    Raises:
      InputError: naming what is too much.
    """
    base = generators.base(generator)
    if base == "affine" or (base != "vae" and generators.split_name(base)[1] != OWN):
        return  # no class has an autoencoder of its own
    # Before and after a step.
    needed = 2 * classes * autoencoder.training_bytes(run_config)
    there = memory.total()
    if needed > there / 2:
        raise errors.InputError(
            f"{classes} classes of images of {run_config.data_size} numbers take "
            f"{needed / 1e9:.0f} GB to train, and the memory has {there / 1e9:.0f}: "
            "give fewer classes, smaller images or smaller --autoencoder_widths, or "
            "share autoencoders with --generator=lgan_moves"
        )


def check_output(output: pathlib.Path, models: pathlib.Path) -> None:
    """Refuse an output that exists or cannot be written.

    Raises:
      InputError: naming it.
    """
    paths = [output]
    if is_npz(output):
        paths.append(output.with_suffix(f".{PREVIEW}"))
    try:
        for path in paths:
            empty = not is_npz(output) and path.is_dir() and not any(path.iterdir())
            if os.path.lexists(path) and (not empty or path == pathlib.Path.cwd()):
                raise errors.InputError(
                    f"--output={output}: {path} exists and is not overwritten; give "
                    "another or move it away"
                )
        if output.is_relative_to(models) or models.is_relative_to(output):
            raise errors.InputError(f"--output={output}: models go there; give another")
        output.parent.mkdir(parents=True, exist_ok=True)
        for path in paths:  # the names themselves, which may be too long
            there = path.exists()
            path.mkdir(exist_ok=True)
            path.rmdir()  # the images' folder will take its place
            if there:
                path.mkdir()
    except OSError as error:
        raise errors.InputError(
            f"--output={output} cannot be written ({error.strerror}); give another"
        ) from error


def is_npz(output: pathlib.Path) -> bool:
    """Return whether the output is one file, not a folder."""
    return output.suffix.lower() == ".npz"


def write(made: folders.Classes, given: folders.Classes, output: pathlib.Path) -> None:
    """Write images and preview under another name first, so that they appear whole."""
    rows = {}
    for label, name in enumerate(made.names[: SHOWN[0]]):
        short = figures.one_line(name, 10)
        for kind, of in (("given", given), ("generated", made)):
            rows[f"{label}: {short}\n{kind}"] = of.image[of.label == label][: SHOWN[1]]
    with files.writing(output), files.temporary(output) as part:
        part.mkdir()
        plots.image_grid(rows, part / PREVIEW)
        if is_npz(output):
            folders.write_npz(made, part / "images.npz")
            (part / "images.npz").rename(output)
            (part / PREVIEW).rename(output.with_suffix(f".{PREVIEW}"))
        else:
            folders.write_folder(made, part)
            part.rename(output)


def novelty(made: folders.Classes, given: folders.Classes) -> dict[str, float]:
    """Compare generated images with the nearest given ones: 0 for copies.

    Returns:
      For each class, the median distance of a generated image to the nearest given one
      over that of a given image to the nearest other. A class is left out if at least
      half of its given images have a duplicate.
    """
    from scipy.spatial import distance  # takes a quarter of a second

    found = {}
    for label, name in enumerate(given.names):
        ours, theirs = (
            c.image[c.label == label].reshape(-1, given.image[0].size)
            for c in (made, given)
        )
        nearest = distance.cdist(ours[:JUDGED], theirs).min(axis=1)
        # The nearest given image to a given one is itself.
        others = np.sort(distance.cdist(theirs[:JUDGED], theirs), axis=1)[:, 1]
        if np.median(others) > 0:
            found[name] = float(np.median(nearest) / np.median(others))
    return found


def run() -> None:
    options = Options(**common_flags.read(Options))
    num, generator = options.num_samples, options.generator
    image_dir = pathlib.Path(options.image_dir)
    folders.check_folder(image_dir)
    default = f"runs/lgan/generate/{image_dir.resolve().name}"
    workdir = pathlib.Path(options.workdir or default)
    output = pathlib.Path(options.output or workdir / generator).resolve()
    for flag, path in (("workdir", workdir.resolve()), ("output", output)):
        if path.is_relative_to(image_dir.resolve()):
            raise errors.InputError(
                f"--{flag}={path} is in {image_dir} and would be taken for a class the "
                "next time; give one elsewhere"
            )
    given = folders.read_classes(image_dir, least=LEAST, most_pixels=MOST_PIXELS)
    if taken := {folders.LABELS, PREVIEW} & set(given.names):
        raise errors.InputError(
            f"rename the class {taken.pop()!r}: a file is called so"
        )
    if num * len(given.names) * given.image[0].size > MOST_BYTES:
        raise errors.InputError(
            f"--num_samples={num} is over 4 GiB of pixels: give less"
        )
    changes = common_flags.read(config.Config)
    run_config = make_config(given, changes)
    if not (workdir / "config.json").exists():  # else they say which models are there
        generators.refuse_unread(run_config, generators.stages([generator]), changes)
    check_memory(run_config, generator, len(given.names))
    distributed.use_cpu_cores(options.cpu_devices)
    for flag in ("autoencoder_batch", "sampler_batch"):
        batch = getattr(run_config, flag)
        parallel.check(options.parallel, batch, len(jax.devices()), flag)
    models_dir = workdir.resolve() / "models"
    check_output(output, models_dir)
    counts = np.bincount(given.label).tolist()
    identity = {
        **dataclasses.asdict(run_config),
        "seed": options.seed,
        "classes": dict(zip(given.names, counts, strict=True)),
        "images_sha256": given.sha256(),
    }
    workdirs.claim(workdir, identity, source=f"--image_dir={image_dir}")

    split = splits.stratified(given.label, 1.0, options.seed)
    image_MX = given.image.reshape(len(given.image), -1)
    task = Task(image_MX, given.image.shape[1:], (split,), (options.seed,))
    names = generators.stages([generator])
    models = stages.train(task, run_config, names, models_dir, mode=options.parallel)
    x_KGX = generation.generate(models, generator, 0, num, draw=options.draw)
    label = np.repeat(np.arange(len(given.names), dtype=np.int32), num)
    made = folders.Classes(x_KGX.reshape(-1, *task.shape), label, given.names)
    check_output(output, models_dir)  # it may have appeared during training
    write(made, given, output)
    print(f"{len(label)} images of {len(given.names)} classes by {generator}: {output}")
    if ratios := novelty(made, given):
        least = min(ratios, key=ratios.__getitem__)
        print(
            "distance to the nearest given image, over that between given ones: median "
            f"{np.median([*ratios.values()]):.2f}, lowest {ratios[least]:.2f} "
            f"(class {least!r}); copies have 0"
        )


def main() -> None:
    try:
        run()
    except KeyboardInterrupt:
        raise loop.Interrupted("stopped; give the same command to continue") from None


if __name__ == "__main__":
    program.run(main)
