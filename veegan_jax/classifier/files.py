"""Classifiers kept in files: written once, read without trust, judged before use."""

import dataclasses
import functools
import json
import pathlib

import jax
import numpy as np
from flax import traverse_util

from veegan_jax.classifier import network as classifiers
from veegan_jax.classifier import training as classifier_training
from veegan_jax.common import errors, files
from veegan_jax.data import images
from veegan_jax.runtime import distributed

FOLDER = pathlib.Path("runs/classifier")
# % of the test images that a classifier must get right before figures rest on it.
# The digits have 355 of them, so that one image is 0.3 %.
REQUIRED = {"mnist": 99.0, "digits": 97.0}


def require(
    classifier: classifiers.Classifier, data_dir: str | None = None
) -> classifiers.Classifier:
    """Measure the accuracy on the test images, whatever the file says, and judge it.

    Args:
      classifier: any.
      data_dir: tensorflow-datasets' folder; see `images.load`.

    Returns:
      The classifier with the accuracy measured.

    Raises:
      InputError: if the accuracy is below `REQUIRED`, or the images cannot be read.
    """
    dataset = classifier.dataset
    test = images.load(dataset, "test", data_dir=data_dir)
    classifier = classifiers.measured(classifier, test)
    if classifier.test_accuracy < REQUIRED[dataset]:
        raise errors.InputError(
            f"a classifier (seed {classifier.seed}, {classifier.recipe.steps} steps) "
            f"gets {classifier.test_accuracy:.2f} % of the {dataset} test images "
            f"right; figures need {REQUIRED[dataset]:g} %. {_remedy(dataset)}"
        )
    return classifier


def ready(
    dataset: str, path: pathlib.Path | None = None, data_dir: str | None = None
) -> classifiers.Classifier:
    """The classifier to score with, read and judged.

    Where there is no file at the default path, the digits' classifier, a matter of
    seconds, is trained and kept there; MNIST's, a matter of minutes, is asked for.

    Args:
      dataset: "mnist" or "digits".
      path: its file; without one, `default_path` with seed 0.
      data_dir: tensorflow-datasets' folder; see `images.load`.

    Raises:
      InputError: if it is missing, cannot be read, is of another data set, or is not
        accurate enough; the message says what to do.
    """
    default = default_path(dataset, 0)
    if path is None and not distributed.on_main_process(default.exists):
        if dataset != "digits":
            raise errors.InputError(f"{default} is missing. {_remedy(dataset)}")
        train = images.load(dataset, "train")
        classifier = require(classifier_training.train(train, 0))
        distributed.on_main_process(lambda: save(classifier, default))
        return classifier
    return require(load(path or default, dataset), data_dir)


def _remedy(dataset: str) -> str:
    return (
        f"Train one: python scripts/train_classifier.py --dataset={dataset}, and give "
        "the file by --classifier if it is not the default one"
    )


def default_path(dataset: str, seed: int) -> pathlib.Path:
    """Where the classifier of a seed is kept, relative to the current folder."""
    return FOLDER / f"{dataset}-seed{seed}.npz"


def save(classifier: classifiers.Classifier, path: pathlib.Path) -> None:
    """Write a classifier whole or not at all, as .npz without pickle.

    Raises:
      InputError: if the file exists (it is never overwritten), or cannot be written.
    """
    metadata = {
        "dataset": classifier.dataset,
        "source": classifier.source,
        "seed": classifier.seed,
        "test_accuracy": classifier.test_accuracy,
        "recipe": dataclasses.asdict(classifier.recipe),
    }
    arrays = classifiers.flat(classifier.params) | {
        "metadata": np.asarray(json.dumps(metadata))
    }
    with files.writing(path):
        if path.exists():
            raise errors.InputError(f"{path} exists and is not overwritten")
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_arrays(path, arrays)


def load(path: pathlib.Path, dataset: str | None = None) -> classifiers.Classifier:
    """Read a classifier; nothing in the file is executed.

    Args:
      path: what `save` wrote.
      dataset: the data set it must be of; without one, any.

    Raises:
      InputError: if the file cannot be read, is not a classifier, holds parameters of
        other shapes than its recipe's or that are not finite, or is of another data
        set; the message names the file and says what to do.
    """
    try:
        # Opened here: NumPy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            flat = {name: arrays[name] for name in arrays.files}
        metadata = json.loads(str(flat.pop("metadata")))
        values = metadata.pop("recipe")
        layers = tuple(map(tuple, values.pop("layers")))
        recipe = classifiers.Recipe(layers=layers, **values)
        classifier = classifiers.Classifier(
            traverse_util.unflatten_dict(flat, sep="/"), recipe=recipe, **metadata
        )
        _check(flat, classifier)
    except OSError as error:
        remedy = _remedy(dataset or "auto")
        raise errors.InputError(
            f"{path} cannot be read: {error.strerror or error}. {remedy}"
        ) from error
    except Exception as error:
        # A damaged file raises many kinds, by where it is damaged; none can be used.
        raise errors.InputError(
            f"{path} is not a classifier of scripts/train_classifier.py ({error}). "
            f"{_remedy(dataset or 'auto')}"
        ) from error
    if dataset and classifier.dataset != dataset:
        raise errors.InputError(
            f"{path} is a classifier of {classifier.dataset}, not of {dataset}. "
            f"{_remedy(dataset)}"
        )
    return classifier


def _check(flat: dict[str, np.ndarray], classifier: classifiers.Classifier) -> None:
    """Raise ValueError unless the parameters are those the recipe describes."""
    if classifier.dataset not in classifiers.RECIPES:
        raise ValueError(f"unknown data set {classifier.dataset!r}")
    make = functools.partial(classifiers.init, classifier.seed, classifier.dataset)
    expected = classifiers.flat(
        jax.eval_shape(functools.partial(make, classifier.recipe))
    )
    if flat.keys() != expected.keys():
        names = ", ".join(sorted(flat.keys() ^ expected.keys()))
        raise ValueError(f"parameters missing or unknown: {names}")
    for name, value in flat.items():
        if value.shape != expected[name].shape or value.dtype != np.float32:
            raise ValueError(
                f"{name} is {value.dtype} {value.shape}, not float32 "
                f"{expected[name].shape}"
            )
        if not np.isfinite(value).all():
            raise ValueError(f"{name} is not finite")
