"""A small convolutional classifier of digits: what the Stacked MNIST figures rest on.

Every label of a generated digit is this network's, so its file is pinned by a SHA-256
in every record, and its accuracy is measured again before it is used.

Dimension key: N images, B images of a batch, H height, W width, C channels (1),
K classes (10), F features of the last hidden layer.
"""

import dataclasses
import functools
import hashlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from flax import traverse_util

from veegan_jax.common import optimisers, rng
from veegan_jax.data import images, pixels
from veegan_jax.networks import conv

NUM_CLASSES = 10

_CHUNK = 250  # images classified at a time: bounds the memory


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a classifier is built and trained."""

    layers: tuple[tuple[int, int, int], ...]  # convolutions: channels, kernel, stride
    features: int  # width of the last hidden layer
    steps: int
    batch_size: int
    learning_rate: float  # Adam's, which falls to 0 along half a cosine
    dropout: float  # share of units dropped before each dense layer
    shift: int  # training images move by up to this many pixels each way
    average: float  # decay of the averaged weights, which are those kept


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
    """A trained classifier and where it comes from."""

    params: Any
    dataset: str  # one of RECIPES
    source: str  # where its training images come from
    seed: int
    recipe: Recipe
    test_accuracy: float | None = None  # % of the test images; None: not measured

    @functools.cached_property
    def sha256(self) -> str:
        """Over the names, shapes and bytes of all parameters, in the names' order."""
        digest = hashlib.sha256()
        for name, value in sorted(flat(self.params).items()):
            digest.update(f"{name} {value.shape}\n".encode())
            digest.update(np.ascontiguousarray(value, "<f4").tobytes())
        return digest.hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """What a record says of the classifier its figures rest on."""
        return {
            "dataset": self.dataset,
            "seed": self.seed,
            "steps": self.recipe.steps,
            "test_accuracy": self.test_accuracy,
            "sha256": self.sha256,
        }


class _Network(nn.Module):
    recipe: Recipe

    @nn.compact
    def __call__(
        self, x_BHWC: jax.Array, *, training: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Pixels in [-1, 1] -> logits [B, K] and features [B, F], at least 0."""
        drop = functools.partial(nn.Dropout, self.recipe.dropout)
        he_normal = nn.initializers.he_normal()
        for channels, kernel, stride in self.recipe.layers:
            layer = conv.Conv(channels, kernel, stride, kernel_init=he_normal)
            x_BHWC = nn.relu(layer(x_BHWC))
        h = drop(deterministic=not training)(x_BHWC.reshape(len(x_BHWC), -1))
        h_BF = nn.relu(nn.Dense(self.recipe.features)(h))
        logits = nn.Dense(NUM_CLASSES)(drop(deterministic=not training)(h_BF))
        return logits, h_BF


def init(seed: int, dataset: str, recipe: Recipe) -> Any:
    """Initial parameters for the images of a data set."""
    x_BHWC = jnp.zeros((1, *images.SHAPES[dataset]))
    network = _Network(recipe)
    return network.init(jax.random.key(seed), x_BHWC, training=False)["params"]


def _optimiser(recipe: Recipe) -> optax.GradientTransformation:
    return optimisers.adam(
        recipe.learning_rate,
        steps=recipe.steps,
        schedule="cosine",
        beta1=0.9,
        beta2=0.999,
    )


@functools.partial(jax.jit, static_argnames=("recipe", "num"), donate_argnums=0)
def _train_steps(
    state: Any,
    key: jax.Array,
    image_NHWC: jax.Array,
    label_N: jax.Array,
    *,
    recipe: Recipe,
    num: int,
) -> tuple[Any, jax.Array]:
    """`num` steps as one program: (step, params, average, moments), losses [num]."""
    network, optimiser = _Network(recipe), _optimiser(recipe)

    def body(state: Any, _: None) -> tuple[Any, jax.Array]:
        step, params, average, moments = state
        keys = jax.random.split(jax.random.fold_in(key, step), 3)
        key_index, key_shift, key_dropout = keys
        index_B = rng.index(key_index, recipe.batch_size, len(label_N))
        x_BHWC = pixels.to_float(_shifted(key_shift, image_NHWC[index_B], recipe.shift))

        def loss(params: Any) -> jax.Array:
            rngs = {"dropout": key_dropout}
            logits_BK, _ = network.apply(
                {"params": params}, x_BHWC, training=True, rngs=rngs
            )
            return jnp.mean(
                optax.softmax_cross_entropy_with_integer_labels(
                    logits_BK, label_N[index_B]
                )
            )

        value, grads = jax.value_and_grad(loss)(params)
        updates, moments = optimiser.update(grads, moments, params)
        params = optax.apply_updates(params, updates)
        average = optimisers.average(average, params, recipe.average, step)
        return (step + 1, params, average, moments), value

    return jax.lax.scan(body, state, length=num)


def _shifted(key: jax.Array, x_BHWC: jax.Array, most: int) -> jax.Array:
    """Each image moved by up to `most` pixels each way; 0 comes in from the edge."""
    size = x_BHWC.shape[1:]
    offset_B2 = jax.random.randint(key, (len(x_BHWC), 2), 0, 2 * most + 1)
    x_BHWC = jnp.pad(x_BHWC, ((0, 0), (most, most), (most, most), (0, 0)))

    def cut(x_HWC: jax.Array, offset_2: jax.Array) -> jax.Array:
        start = (offset_2[0], offset_2[1], 0)
        return jax.lax.dynamic_slice(x_HWC, start, size)

    return jax.vmap(cut)(x_BHWC, offset_B2)


def train(data: images.Images, seed: int, recipe: Recipe | None = None) -> Classifier:
    """Trains a classifier with a progress bar: a function of its arguments alone.

    Args:
      data: the training images.
      seed: of the initial weights, the batches, the shifts and the dropout.
      recipe: without one, that of the data set.

    Returns:
      The classifier with the averaged weights, its accuracy not measured.
    """
    recipe = recipe or RECIPES[data.dataset]
    params = jax.jit(init, static_argnums=(1, 2))(seed, data.dataset, recipe)
    moments = _optimiser(recipe).init(params)
    state = np.int32(0), params, jax.tree.map(jnp.copy, params), moments
    # The initial weights come from key(seed) itself: the steps' key differs from it.
    key = jax.random.fold_in(jax.random.key(seed), 1)
    image_NHWC, label_N = jnp.asarray(data.image), jnp.asarray(data.label)
    done, interval = 0, -(-recipe.steps // 50)
    title = f"{data.dataset} classifier"
    with tqdm.tqdm(total=recipe.steps, desc=title, unit=" steps") as bar:
        while done < recipe.steps:
            num = min(interval, recipe.steps - done)
            state, losses = _train_steps(
                state, key, image_NHWC, label_N, recipe=recipe, num=num
            )
            bar.set_postfix_str(f"loss {np.mean(losses):.4f}", refresh=False)
            bar.update(num)
            done += num
    params = jax.tree.map(np.asarray, state[2])
    return Classifier(params, data.dataset, data.source, seed, recipe)


def predict(classifier: Classifier, x_NHWC: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits and features of single digits, a few hundred images at a time.

    Args:
      classifier: the classifier.
      x_NHWC: uint8 [N, H, W, 1] in 0 to 255, or floats in [-1, 1], which are rounded
        as if they came from a file.

    Returns:
      Logits float32 [N, K] and features float32 [N, F], which are at least 0.

    Raises:
      ValueError: if the images have not the size of the classifier's.
    """
    shape = images.SHAPES[classifier.dataset]
    if x_NHWC.shape[1:] != shape or not len(x_NHWC):
        raise ValueError(
            f"digits have shape {x_NHWC.shape}; a classifier of {classifier.dataset} "
            f"needs {('number', *shape)}"
        )
    x_NHWC = np.asarray(pixels.to_uint8(x_NHWC))
    num = len(x_NHWC)
    # Padded to whole chunks, so that one compiled program serves every number.
    x_NHWC = np.concatenate([x_NHWC, np.zeros((-num % _CHUNK, *shape), np.uint8)])
    outputs = [
        _apply(classifier.params, x_BHWC, recipe=classifier.recipe)
        for x_BHWC in x_NHWC.reshape(-1, _CHUNK, *shape)
    ]
    logits_NK, feature_NF = map(np.concatenate, zip(*outputs, strict=True))
    return logits_NK[:num], feature_NF[:num]


@functools.partial(jax.jit, static_argnames="recipe")
def _apply(params: Any, x_BHWC: jax.Array, *, recipe: Recipe) -> Any:
    network = _Network(recipe)
    return network.apply({"params": params}, pixels.to_float(x_BHWC), training=False)


def classify(classifier: Classifier, x_NHWC: Any) -> np.ndarray:
    """Labels int32 [N] in 0 to 9; the arguments are those of `predict`."""
    logits_NK, _ = predict(classifier, x_NHWC)
    return np.argmax(logits_NK, axis=1).astype(np.int32)


def accuracy(classifier: Classifier, data: images.Images) -> float:
    """% of the images whose label is right."""
    right_N = classify(classifier, data.image) == data.label
    return 100 * int(np.sum(right_N)) / len(right_N)


def measured(classifier: Classifier, test: images.Images) -> Classifier:
    """The classifier with its accuracy on the test images."""
    return dataclasses.replace(classifier, test_accuracy=accuracy(classifier, test))


def flat(params: Any) -> dict[str, Any]:
    """Name, such as "Dense_0/kernel" -> array."""
    return traverse_util.flatten_dict(params, sep="/")
