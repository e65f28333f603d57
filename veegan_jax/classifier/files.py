"""Classifiers in files: written once, read without pickle, tested before use."""

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
# The accuracy that a classifier needs, in % of the test images. The digits have 355
# test images, so one image is 0.3 %.
REQUIRED = {"mnist": 99.0, "digits": 97.0}


def require(
    classifier: classifiers.Classifier, data_dir: str | None = None
) -> classifiers.Classifier:
    """Measure the accuracy on the test images and refuse a classifier that is too bad.

    Args:
      classifier: any; the accuracy stated in its file is ignored.
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
            f"right; metrics need {REQUIRED[dataset]:g} %. {_remedy(dataset)}"
        )
    return classifier


def ready(
    dataset: str, path: pathlib.Path | None = None, data_dir: str | None = None
) -> classifiers.Classifier:
    """Read the classifier to score with, and test it.

    If there is no file at the default path, the digits' classifier is trained, which
    takes seconds, and kept there. MNIST's takes minutes, so a message asks for it.

    Args:
      dataset: "mnist" or "digits".
      path: its file; None: `default_path` with seed 0.
      data_dir: tensorflow-datasets' folder; see `images.load`.

    Raises:
      InputError: if the file is missing, cannot be read, is of another data set, or its
        classifier is not accurate enough; the message says what to do.
    """
    default = default_path(dataset, 0)
    if path is None and not distributed.on_main_process(default.exists):
        if dataset != "digits":
            raise errors.InputError(f"{default} is missing. {_remedy(dataset)}")
        train = images.load(dataset, "train")
        classifier = require(classifier_training.train(train, 0))
        distributed.on_main_process(lambda: save(classifier, default))
        return classifier
    path = files.user_path(path or default, "--classifier" if path else "")
    return require(load(path, dataset), data_dir)


def _remedy(dataset: str) -> str:
    return (
        f"Train one: python scripts/train_classifier.py --dataset={dataset}, and give "
        "the file by --classifier if it is not the default one"
    )


def default_path(dataset: str, seed: int) -> pathlib.Path:
    """Return the path of a seed's classifier, relative to the current folder."""
    return FOLDER / f"{dataset}-seed{seed}.npz"


def save(classifier: classifiers.Classifier, path: pathlib.Path) -> None:
    """Write a classifier as .npz without pickle, never seen half written.

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
      path: a file that `save` wrote.
      dataset: the data set that it must be of; None: any.

    Raises:
      InputError: if the file cannot be read, is not a classifier, holds parameters that
        do not have its recipe's shapes or are not finite, or is of another data set;
        the message names the file and says what to do.
    """
    try:
        # The file is opened here, since NumPy leaves a damaged file open.
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
        # A damaged file raises many kinds of exception.
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
    """Raise ValueError unless the parameters fit the recipe."""
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
