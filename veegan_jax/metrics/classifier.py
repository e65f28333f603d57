"""A small convolutional classifier of digits: what the Stacked MNIST figures rest on.

Every label of a generated digit is this network's, so its file is pinned by a SHA-256
in every record, and its accuracy is measured again before it is used.

Dimension key: N images, B images of a batch, H height, W width, C channels (1),
K classes (10), F features of the last hidden layer.
"""

import dataclasses
import functools
import hashlib
import io
import json
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from flax import traverse_util

from veegan_jax.common import errors, optimisers, rng
from veegan_jax.data import images
from veegan_jax.networks import conv

NUM_CLASSES = 10
FOLDER = pathlib.Path("runs/classifier")
# % of the test images that a classifier must get right before figures rest on it.
# The digits have 359 of them, so that one image is 0.3 %.
REQUIRED = {"mnist": 99.0, "digits": 97.0}

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
        for name, value in sorted(_flat(self.params).items()):
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


def as_uint8(x: jax.Array) -> jax.Array:
    """Pixels in [-1, 1] as uint8, those outside cut off; uint8 stays as it is.

    A model in memory and the file of its images then score the same.
    """
    if x.dtype == np.uint8:
        return x
    return jnp.rint((jnp.clip(x, -1, 1) + 1) * 127.5).astype(jnp.uint8)


def _as_input(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32) / 127.5 - 1


def _init(seed: int, dataset: str, recipe: Recipe) -> Any:
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
        x_BHWC = _as_input(_shifted(key_shift, image_NHWC[index_B], recipe.shift))

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
    params = jax.jit(_init, static_argnums=(1, 2))(seed, data.dataset, recipe)
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
    x_NHWC = np.asarray(as_uint8(x_NHWC))
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
    return network.apply({"params": params}, _as_input(x_BHWC), training=False)


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


def require(classifier: Classifier, data_dir: str | None = None) -> Classifier:
    """Measures the accuracy on the test images, whatever the file says, and judges it.

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
    classifier = measured(classifier, test)
    if classifier.test_accuracy < REQUIRED[dataset]:
        raise errors.InputError(
            f"a classifier (seed {classifier.seed}, {classifier.recipe.steps} steps) "
            f"gets {classifier.test_accuracy:.2f} % of the {dataset} test images "
            f"right; figures need {REQUIRED[dataset]:g} %. {_remedy(dataset)}"
        )
    return classifier


def ready(
    dataset: str, path: pathlib.Path | None = None, data_dir: str | None = None
) -> Classifier:
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
    if path is None and not default.exists():
        if dataset != "digits":
            raise errors.InputError(f"{default} is missing. {_remedy(dataset)}")
        classifier = require(train(images.load(dataset, "train"), 0))
        save(classifier, default)
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


def save(classifier: Classifier, path: pathlib.Path) -> None:
    """Writes a classifier whole or not at all, as .npz without pickle.

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
    arrays = _flat(classifier.params) | {"metadata": np.asarray(json.dumps(metadata))}
    content = io.BytesIO()
    np.savez(content, **arrays)
    temporary = path.with_name(path.name + ".part")
    try:
        if path.exists():
            raise errors.InputError(f"{path} exists and is not overwritten")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.getvalue())
        temporary.replace(path)
    except OSError as error:
        raise errors.InputError(
            f"{path} cannot be written: {error.strerror or error}"
        ) from error


def load(path: pathlib.Path, dataset: str | None = None) -> Classifier:
    """Reads a classifier; nothing in the file is executed.

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
        recipe = Recipe(layers=layers, **values)
        classifier = Classifier(
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


def _check(flat: dict[str, np.ndarray], classifier: Classifier) -> None:
    """Raises ValueError unless the parameters are those the recipe describes."""
    if classifier.dataset not in RECIPES:
        raise ValueError(f"unknown data set {classifier.dataset!r}")
    make = functools.partial(_init, classifier.seed, classifier.dataset)
    expected = _flat(jax.eval_shape(functools.partial(make, classifier.recipe)))
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


def _flat(params: Any) -> dict[str, Any]:
    """Name, such as "Dense_0/kernel" -> array."""
    return traverse_util.flatten_dict(params, sep="/")
