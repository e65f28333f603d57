"""A small convolutional classifier of digits, which the Stacked MNIST metrics use.

This network labels every generated digit. So every record holds the SHA-256 of its
parameters, and its accuracy is measured on each machine before it is used.

Dimension key: N images, B images of a batch, H height, W width, C channels (1),
K classes (10), F features of the last hidden layer.
"""

import dataclasses
import functools
import hashlib
import os
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from flax import traverse_util

from veegan_jax.data import images, pixels
from veegan_jax.networks import conv
from veegan_jax.runtime import compiled, numerics, parallel, rng

NUM_CLASSES = 10

_CHUNK = 250  # images classified at a time, to bound the memory


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a classifier is built and trained."""

    layers: tuple[tuple[int, int, int], ...]  # convolutions: channels, kernel, stride
    features: int  # width of the last hidden layer
    steps: int
    batch_size: int
    learning_rate: float  # of Adam; it falls to 0 by a cosine
    dropout: float  # share of units dropped before each dense layer
    shift: int  # training images move by up to this many pixels each way
    average: float  # decay of the averaged weights, which are kept in the end


# Chosen on a sixth (digits: a tenth) of the training images, never on test images.
RECIPES = {
    "mnist": Recipe(
        layers=((32, 5, 2), (64, 3, 2), (128, 3, 2)),
        features=128,
        steps=6000,
        batch_size=128,
        learning_rate=2e-3,
        dropout=0.3,
        shift=2,
        average=0.999,
    ),
    "digits": Recipe(
        layers=((32, 3, 1), (32, 3, 2), (64, 3, 2)),
        features=128,
        steps=500,
        batch_size=64,
        learning_rate=2e-3,
        dropout=0.3,
        shift=1,
        average=0.99,
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A trained classifier and its origin."""

    params: Any
    dataset: str  # one of RECIPES
    source: str  # where its training images come from
    seed: int
    recipe: Recipe
    test_accuracy: float | None = None  # % of the test images; None: not measured

    @functools.cached_property
    def sha256(self) -> str:
        """The digest of the names, shapes and bytes of all parameters, by name."""
        digest = hashlib.sha256()
        for name, value in sorted(flat(self.params).items()):
            digest.update(f"{name} {value.shape}\n".encode())
            digest.update(np.ascontiguousarray(value, "<f4").tobytes())
        return digest.hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """The entries that describe the classifier in a record."""
        return {
            "dataset": self.dataset,
            "seed": self.seed,
            "steps": self.recipe.steps,
            "test_accuracy": self.test_accuracy,
            "sha256": self.sha256,
        }


class Dropout(nn.Module):
    """`nn.Dropout` with one mask for the whole batch, on any number of devices."""

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, h: jax.Array, *, training: bool) -> jax.Array:
        if not training or not self.rate:
            return h
        keep = jax.random.bernoulli(
            self.make_rng("dropout"),
            1 - self.rate,
            (len(h) * parallel.size(self.axis_name), *h.shape[1:]),
        )
        keep = parallel.local_examples(keep, len(h), self.axis_name)
        return jnp.where(keep, h / (1 - self.rate), 0)


class Network(nn.Module):
    """Convolutions, one hidden layer, logits."""

    recipe: Recipe
    axis_name: str | None = None  # the mapped batch axis

    @nn.compact
    def __call__(
        self, x_BHWC: jax.Array, *, training: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Map pixels in [-1, 1] to logits [B, K] and features [B, F], at least 0."""
        drop = functools.partial(Dropout, self.recipe.dropout, self.axis_name)
        he_normal = nn.initializers.he_normal()
        for channels, kernel, stride in self.recipe.layers:
            layer = conv.Conv(channels, kernel, stride, kernel_init=he_normal)
            x_BHWC = nn.relu(layer(x_BHWC))
        h = drop()(x_BHWC.reshape(len(x_BHWC), -1), training=training)
        h_BF = nn.relu(nn.Dense(self.recipe.features)(h))
        logits = nn.Dense(NUM_CLASSES)(drop()(h_BF, training=training))
        return logits, h_BF


@numerics.standard
def init(seed: int, dataset: str, recipe: Recipe) -> Any:
    """Return initial parameters for the images of a data set."""
    x_BHWC = jnp.zeros((1, *images.SHAPES[dataset]))
    network = Network(recipe)
    return network.init(rng.key(seed), x_BHWC, training=False)["params"]


@numerics.standard
def predict(classifier: Classifier, x_NHWC: Any) -> tuple[np.ndarray, np.ndarray]:
    """Compute logits and features of single digits, in chunks.

    Args:
      classifier: the classifier.
      x_NHWC: uint8 [N, H, W, 1] in 0 to 255, or floats in [-1, 1], which are rounded
        to uint8 first.

    Returns:
      Logits float32 [N, K] and features float32 [N, F], at least 0.

    Raises:
      ValueError: if the images do not have the classifier's size.
    """
    shape = images.SHAPES[classifier.dataset]
    if x_NHWC.shape[1:] != shape or not len(x_NHWC):
        raise ValueError(
            f"digits have shape {x_NHWC.shape}; a classifier of {classifier.dataset} "
            f"needs {('number', *shape)}"
        )
    x_NHWC = np.asarray(pixels.to_uint8(x_NHWC))
    num = len(x_NHWC)
    logits_NK = np.empty((num, NUM_CLASSES), np.float32)
    feature_NF = np.empty((num, classifier.recipe.features), np.float32)
    for start in range(0, num, _CHUNK):
        stop = min(start + _CHUNK, num)
        # A whole chunk each time, so that one compiled program serves every number.
        x_BHWC = np.zeros((_CHUNK, *shape), np.uint8)
        x_BHWC[: stop - start] = x_NHWC[start:stop]
        outputs = _apply(classifier.params, x_BHWC, recipe=classifier.recipe)
        # Waiting for each chunk bounds the memory: JAX would queue copies of many.
        for whole, some in zip((logits_NK, feature_NF), outputs, strict=True):
            whole[start:stop] = np.asarray(some)[: stop - start]
    return logits_NK, feature_NF


def fingerprint(classifier: Classifier, data: images.Images) -> str:
    """Return a digest of all that the accuracy on a set of images depends on.

    It covers the program that classifies, the weights, the images and their labels, the
    compiler, the settings in the environment, and the kind of CPU.
    """
    x_BHWC = jax.ShapeDtypeStruct((_CHUNK, *data.image.shape[1:]), np.uint8)
    program = _apply.lower(classifier.params, x_BHWC, recipe=classifier.recipe)
    told = (
        program.as_text(),
        classifier.sha256,
        jax.__version__,
        jaxlib.__version__,
        compiled.machine(),
        *sorted(f"{n}={v}" for n, v in os.environ.items() if n[:4] in ("JAX_", "XLA_")),
    )
    digest = hashlib.sha256("\n".join(told).encode())
    for array in (data.image, data.label):
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


@functools.partial(jax.jit, static_argnames="recipe")
def _apply(params: Any, x_BHWC: jax.Array, *, recipe: Recipe) -> Any:
    network = Network(recipe)
    return network.apply({"params": params}, pixels.to_float(x_BHWC), training=False)


def classify(classifier: Classifier, x_NHWC: Any) -> np.ndarray:
    """Return labels int32 [N] in 0 to 9; the arguments are those of `predict`."""
    logits_NK, _ = predict(classifier, x_NHWC)
    return np.argmax(logits_NK, axis=1).astype(np.int32)


def accuracy(classifier: Classifier, data: images.Images) -> float:
    """Return the % of images whose label is right."""
    right_N = classify(classifier, data.image) == data.label
    return 100 * int(np.sum(right_N)) / len(right_N)


def measured(classifier: Classifier, test: images.Images) -> Classifier:
    """Return the classifier with its accuracy on the test images."""
    return dataclasses.replace(classifier, test_accuracy=accuracy(classifier, test))


def flat(params: Any) -> dict[str, Any]:
    """Return name -> array, with names such as "Dense_0/kernel"."""
    return traverse_util.flatten_dict(params, sep="/")
