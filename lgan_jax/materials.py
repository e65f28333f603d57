"""The data of an amplification run, and the classifier that judges labels.

Dimension key: K classes, M images of the data set, T test images, X numbers of an
image.
"""

import dataclasses
import pathlib

import numpy as np

from lgan_jax import splits
from lgan_jax.config import Config
from lgan_jax.options import Options
from lgan_jax.task import Task
from veegan_jax.classifier import files as classifier_files
from veegan_jax.classifier import network as pinned_classifiers
from veegan_jax.data import images

_POOL = 0.1  # share of the data that a run with --validate stays inside


@dataclasses.dataclass(frozen=True, eq=False)
class Materials:
    """The data that a run learns from, and the classifier and images that judge it."""

    train: images.Images
    task: Task
    full: splits.Split  # every image known
    tests: tuple[tuple[np.ndarray, np.ndarray], ...]  # images, labels; by seed
    pinned: pinned_classifiers.Classifier | None  # None: labels are not judged


def load(config: Config, options: Options) -> Materials:
    """Load the data of a run; with sample quality, the pinned classifier too."""
    data_dir = options.data_dir or None
    train, test = (
        images.load(config.dataset, s, data_dir=data_dir) for s in images.SPLITS
    )
    pinned = None
    if options.sample_quality:
        path = pathlib.Path(options.classifier) if options.classifier else None
        pinned = classifier_files.ready(config.dataset, path, data_dir)
    image_MX = _flat(train.image)
    known, tests = [], []
    for seed in options.seed_numbers():
        if options.validate:
            split, rows_T = splits.inside(train.label, config.fraction, _POOL, seed)
            tests.append((image_MX[rows_T], train.label[rows_T]))
        else:
            split = splits.stratified(train.label, config.fraction, seed)
            tests.append((_flat(test.image), test.label))
        known.append(split)
    task = Task(image_MX, train.image.shape[1:], tuple(known), options.seed_numbers())
    full = splits.stratified(train.label, 1.0, 0)
    return Materials(train, task, full, tuple(tests), pinned)


def _flat(image: np.ndarray) -> np.ndarray:
    return image.reshape(len(image), -1)
