"""The experiment on faces: CelebA, or any folder of images.

Dimension key: N images, H height, W width, C channels.
"""

import collections
import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from veegan_jax.common import errors, fields, files, records
from veegan_jax.config import Config
from veegan_jax.data import photos as photo_lists
from veegan_jax.data import streams
from veegan_jax.experiments import images as image_experiment
from veegan_jax.runtime import distributed, numerics, workdirs

_TEST_EVERY = 20  # every 20th image is held out
_MOST_TEST = 2000  # held-out images that are read
_MOST_TRAIN = 4000  # training images that evaluation reads, for the baselines


@dataclasses.dataclass(frozen=True)
class Options(image_experiment.Options):
    """Where the images are, and how to run."""

    image_dir: str = fields.field(
        "", "any folder of images; empty: CelebA in data_dir", "main", path=True
    )
    crop: int = fields.field(
        0,
        "side of the centred square, in the files' pixels; 0: the largest",
        "main",
        within="[0, inf)",
    )
    seeds: int = fields.field(
        1, "independent runs, all in one program", within="[1, inf)"
    )
    samples: int = fields.field(
        1000, "generated samples to score, per seed", within="[1, inf)"
    )
    memory_mib: int = fields.field(
        2048,
        "images that take more than this are not held in memory",
        within="[0, inf)",
    )
    workers: int = fields.field(
        distributed.cpu_cores(),
        "processes that decode images not held in memory",
        within="[0, 1024]",
    )


def read(options: Options, size: int, batch_size: int) -> photo_lists.Photos:
    """The images that the options name, of `size` x `size` pixels.

    Raises:
      InputError: if there are none, or too few for a batch and its held-out share.
    """
    rule = photo_lists.Rule(size=size, crop=options.crop)
    least = batch_size + -(-batch_size // (_TEST_EVERY - 1)) + 2
    limits = dict(rule=rule, least=least, memory=options.memory_mib * 2**20)
    if options.image_dir:
        return photo_lists.from_folder(
            files.user_path(options.image_dir, "--image_dir"), **limits
        )
    return photo_lists.from_celeba(options.data_dir or None, **limits)


def split(
    photos: photo_lists.Photos,
) -> tuple[photo_lists.Photos, photo_lists.Photos]:
    """(training, held-out) images: every 20th is held out, at least two."""
    number_N = np.arange(len(photos))
    held_out_N = number_N % min(_TEST_EVERY, max(2, len(photos) // 2)) == 0

    def part(chosen_N):
        image = None if photos.image is None else photos.image[chosen_N]
        return dataclasses.replace(photos, place=photos.place[chosen_N], image=image)

    return part(~held_out_N), part(held_out_N)


def some_of(test: photo_lists.Photos) -> np.ndarray:
    """Read the held-out images that are compared: uint8 [N, H, W, C], at most 2,000.

    They come in a fixed random order. The files' own order often goes by class: the
    first would not be of all classes, and neighbours would be alike.
    """
    order_N = np.random.default_rng(0).permutation(len(test))
    return test.take(order_N[:_MOST_TEST])[0]


def check(
    config: Config, options: Options, workdir: pathlib.Path, photos: photo_lists.Photos
) -> None:
    """Refuse, before any work, a run that could not be carried out.

    Raises:
      InputError: see `images.check`; or if the work directory holds a run on other
        images.
    """
    image_experiment.check([(workdir, config)], options)
    if not options.dry_run:
        data, given = workdir / "data", f"--image_dir={options.image_dir}"
        source = f"{given} --crop={options.crop}" if options.image_dir else "CelebA"
        workdirs.claim(data, _identity(photos, data), source=source)


def _identity(photos: photo_lists.Photos, data: pathlib.Path) -> dict[str, Any]:
    """Return what tells images apart: number, names and sizes of files, contents.

    Args:
      photos: the images.
      data: the folder that is claimed for them. A run that was begun before contents
        were compared goes on without.
    """
    identity = {"images": len(photos), "sha256": photos.sha256()}
    begun = distributed.on_main_process((data / "config.json").exists)
    if begun and "contents_sha256" not in workdirs.claimed(data):
        return identity
    return identity | {"contents_sha256": photos.contents}


@contextlib.contextmanager
def open_source(
    config: Config, options: Options, photos: photo_lists.Photos
) -> Iterator[image_experiment.Source]:
    """Provide the images of a run; its workers stop when the block ends.

    Args:
      config: the run's. If `streamed`, training images are decoded as they are needed.
      options: how to run it.
      photos: what `read` returned.
    """
    train, test = split(photos)
    test_NHWC = some_of(test)
    if not config.data.streamed:
        yield image_experiment.Source(photos.source, train.image, test_NHWC)
        return
    with streams.Feed(
        train,
        functools.partial(image_experiment.step_on_batch, config=config),
        steps=config.steps,
        batch_size=config.batch_size,
        mode=options.parallel,
        devices=jax.devices(),
        num_workers=options.workers,
    ) as feed:
        yield image_experiment.Source(photos.source, None, test_NHWC, feed)


def dry_run(config: Config, options: Options, photos: photo_lists.Photos) -> str:
    """Return what a step would cost; see `images.dry_run`."""
    with open_source(config, options, photos) as source:
        return image_experiment.dry_run(config, options, source)


@numerics.standard
def run(
    config: Config, options: Options, workdir: pathlib.Path, photos: photo_lists.Photos
) -> dict[str, Any]:
    """Train all seeds and record it; see `images.train` and `images.finish`.

    Args:
      config: what to train.
      options: how to run it.
      workdir: see `image_experiment.train`.
      photos: what `read` returned.

    Returns:
      The record.

    Raises:
      InputError: for a configuration that cannot run, before any work.
      loop.Interrupted, loop.NonFinite: see `loop.train`.
    """
    check(config, options, workdir, photos)
    with open_source(config, options, photos) as source:
        record = image_experiment.run(config, options, workdir, source)
        if source.feed is None:
            return record
        replaced: collections.Counter[str] = collections.Counter()
        for of_one_process in distributed.share(source.feed.replaced):
            replaced.update(of_one_process)
        record |= {
            "waited_seconds": source.feed.waited,
            "training_seconds": source.feed.seconds,
            "replaced": dict(replaced),
        }
    distributed.on_main_process(lambda: records.write(workdir / "results.json", record))
    return record


def load_for_evaluation(
    workdir: pathlib.Path,
    image_dir: str | None,
    crop: int,
    config: Config,
    data_dir: str,
) -> image_experiment.Source:
    """The images that a run was trained on and those held out from it.

    Args:
      workdir: the run's.
      image_dir: their folder; None: CelebA.
      crop: as in training.
      config: the run's.
      data_dir: tensorflow-datasets' folder.

    Raises:
      InputError: if they cannot be read, or are not those that the run was trained on:
        what is held out would not be what was.
    """
    options = Options(
        image_dir=image_dir or "", crop=crop, data_dir=data_dir, memory_mib=0
    )
    photos = read(options, config.data.image_size, config.batch_size)
    data = workdir / "data"
    if not os.path.exists(data / "config.json"):
        raise errors.InputError(
            f"{data / 'config.json'}, which tells what images the run was trained on, "
            "is missing: put it back"
        )
    if _identity(photos, data) != workdirs.claimed(data):
        raise errors.InputError(
            f"--image_dir={image_dir or ''} --crop={crop}: {workdir} was trained on "
            "other images; give the folder and the crop of its training"
        )
    train, test = split(photos)
    some = np.linspace(0, len(train) - 1, min(len(train), _MOST_TRAIN)).astype(int)
    return image_experiment.Source(
        photos.source,
        train.take(some)[0],
        some_of(test),
    )
