"""Classifiers in files: written once, read without pickle, tested before use.

Beside this module lie the pinned classifiers, mnist.npz and digits.npz, which score
samples unless another file is named. Each is what scripts/train_classifier.py made with
seed 0, with its weights rounded to 16 bits, which halves the file. To train it where it
is needed would not do: other processors round differently and get another one.

    path = pathlib.Path("runs/classifier/mnist-seed0.npz")
    save(require(rounded(load(path))), PINNED["mnist"])
"""

import dataclasses
import functools
import json
import pathlib
from typing import BinaryIO

import jax
import numpy as np
from flax import traverse_util

from veegan_jax.classifier import network as classifiers
from veegan_jax.common import caches, errors, files, json_files
from veegan_jax.data import images

FOLDER = pathlib.Path("runs/classifier")
# The accuracy that a classifier needs, in % of the test images. The digits have 355
# test images, so one image is 0.3 %.
REQUIRED = {"mnist": 99.0, "digits": 97.0}
PINNED = {name: pathlib.Path(__file__).with_name(f"{name}.npz") for name in REQUIRED}


def require(
    classifier: classifiers.Classifier, data_dir: str | None = None
) -> classifiers.Classifier:
    """Measure the accuracy on the test images and refuse a classifier that is too bad.

    The accuracy is kept in the user's folder of caches, since every start needs it.

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
    kept = caches.Caches(None)
    name = f"accuracy-{classifiers.fingerprint(classifier, test)}"
    accuracy = kept.read(name, _read_accuracy)
    if accuracy is None:
        accuracy = classifiers.accuracy(classifier, test)
        kept.write(name, lambda file: file.write(repr(accuracy).encode()))
    classifier = dataclasses.replace(classifier, test_accuracy=accuracy)
    if classifier.test_accuracy < REQUIRED[dataset]:
        raise errors.InputError(
            f"a classifier (seed {classifier.seed}, {classifier.recipe.steps} steps) "
            f"gets {classifier.test_accuracy:.2f} % of the {dataset} test images "
            f"right; metrics need {REQUIRED[dataset]:g} %. {_remedy(dataset)}"
        )
    return classifier


def _read_accuracy(file: BinaryIO) -> float:
    accuracy = float(file.read())
    if not 0 <= accuracy <= 100:
        raise ValueError(f"the accuracy is {accuracy} %")
    return accuracy


def ready(
    dataset: str, path: pathlib.Path | None = None, data_dir: str | None = None
) -> classifiers.Classifier:
    """Read the classifier to score with, and test it.

    Args:
      dataset: "mnist" or "digits".
      path: its file; None: the pinned one.
      data_dir: tensorflow-datasets' folder; see `images.load`.

    Raises:
      InputError: if the file is missing, cannot be read, is of another data set, or its
        classifier is not accurate enough; the message says what to do.
    """
    if path is not None:
        path = files.user_path(path, "--classifier")
    return require(load(path or PINNED[dataset], dataset), data_dir)


def _remedy(dataset: str) -> str:
    return (
        "Leave --classifier out, or train one: python scripts/train_classifier.py "
        f"--dataset={dataset}"
    )


def default_path(dataset: str, seed: int) -> pathlib.Path:
    """Return where a trained classifier goes, relative to the current folder."""
    return FOLDER / f"{dataset}-seed{seed}.npz"


def rounded(classifier: classifiers.Classifier) -> classifiers.Classifier:
    """Round the weights to 16 bits; the accuracy is not measured again."""
    params = jax.tree.map(
        lambda a: a.astype(np.float16).astype(a.dtype), classifier.params
    )
    return dataclasses.replace(classifier, params=params, test_accuracy=None)


def save(classifier: classifiers.Classifier, path: pathlib.Path) -> None:
    """Write a classifier as .npz without pickle, never seen half written.

    Weights that fit into 16 bits, as `rounded` makes them, take no more.

    Raises:
      InputError: if the file cannot be written, or holds another classifier (it is
        never overwritten). Two that train the same one at once may both save it.
    """
    metadata = {
        "dataset": classifier.dataset,
        "source": classifier.source,
        "seed": classifier.seed,
        "test_accuracy": classifier.test_accuracy,
        "recipe": dataclasses.asdict(classifier.recipe),
    }
    flat = classifiers.flat(classifier.params)
    arrays = {name: _narrowed(value) for name, value in flat.items()}
    arrays["metadata"] = np.asarray(json.dumps(metadata))
    with files.writing(path):
        if path.exists():
            if load(path).sha256 == classifier.sha256:
                return
            raise errors.InputError(f"{path} exists and is not overwritten")
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_arrays(path, arrays)


def _narrowed(value: np.ndarray) -> np.ndarray:
    """Return the array as float16 if that loses nothing."""
    narrow = value.astype(np.float16)
    return narrow if np.array_equal(narrow, value) else value


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
        metadata = json_files.parse(str(flat.pop("metadata")))
        flat = {
            name: value.astype(np.float32) if value.dtype == np.float16 else value
            for name, value in flat.items()
        }
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
    for name, kind in (("test_accuracy", float | int | None), ("source", str)):
        if not isinstance(value := getattr(classifier, name), kind):
            raise ValueError(f"its {name} is {value!r}")
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
