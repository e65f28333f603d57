"""The targets of IvOM: test data of what a run was trained on.

Dimension key: N images, H height, W width, C channels, X values of an image (any
shape).
"""

import dataclasses
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from veegan_jax.common import files
from veegan_jax.config import Config
from veegan_jax.data import images, mixtures, pixels, stacked_mnist
from veegan_jax.experiments import images as image_experiment
from veegan_jax.experiments import ivom_glance, sampling
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.metrics import baselines
from veegan_jax.metrics import stacked_mnist as stacked_mnist_metrics
from veegan_jax.runtime import rng

_PIXELS = (0.0, 1.0)
_BLOCK = 1000  # images converted at a time: bounds the memory


@dataclasses.dataclass(frozen=True, eq=False)
class Targets:
    """Data that a generator should come near to, and data that it was trained on."""

    name: str  # where it comes from, one line for the records
    test_NX: np.ndarray  # float32, never trained on
    train_NX: np.ndarray  # float32, for the baselines
    value_range: tuple[float, float] | None  # None: any


def baseline_errors(targets: Targets, latent_size: int) -> dict[str, np.ndarray]:
    """Return each test image's error to the mean, to PCA, to a training image.

    PCA has as many components as z has dimensions, or as many as there can be.
    """
    train_NX, test_NX = targets.train_NX, targets.test_NX
    num, size = len(train_NX), train_NX[0].size
    print(f"PCA of {num} images of {size} values ...", file=sys.stderr)
    most = min(latent_size, num - 1, size)
    return {
        "mean_image": baselines.mean_image_errors(train_NX, test_NX),
        "pca": baselines.pca_errors(train_NX, test_NX, most),
        "nearest_training": baselines.nearest_errors(train_NX, test_NX),
    }


def image_shape(config: Config) -> tuple[int, int, int] | None:
    """Return height, width and channels of a run's images; None for vectors."""
    if mixtures.is_mixture(config.dataset):
        return None
    if config.dataset in stacked_mnist_experiment.DIGITS:
        return config.data.shape
    return sampling.shape(config)


def nearest_images(
    found: dict[str, np.ndarray], config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """Return the test images and the first seed's nearest, uint8 [N, H, W, C].

    Args:
      found: see `ivom.measure`.
      config: the run's, on images.
    """
    shape = image_shape(config)
    nearest_NX = np.nan_to_num(found["nearest"][0])  # NaN is shown black
    test, nearest = (
        pixels.unit_to_uint8(x_NX.reshape(-1, *shape))
        for x_NX in (found["test"], nearest_NX)
    )
    return test, nearest


def write_nearest(
    found: dict[str, np.ndarray], config: Config, path: pathlib.Path
) -> None:
    """Write the images of `nearest_images`, and all errors, to an .npz file."""
    test, nearest = nearest_images(found, config)
    names = ("error", "pca", "random", "mean_image")
    files.write_compressed(
        path, test=test, nearest=nearest, **{name: found[name] for name in names}
    )


def load(
    config: Config,
    num: int,
    *,
    data_dir: str | None = None,
    source: image_experiment.Source | None = None,
) -> Targets:
    """Load test data of a run's dataset, in the shape of its networks' data.

    Args:
      config: the run's.
      num: how many images, or draws.
      data_dir: tensorflow-datasets' folder; see `images.load`.
      source: the images, for a dataset that no name leads to (faces).

    Raises:
      InputError: if the data cannot be had, or there are fewer images than asked for.
    """
    if mixtures.is_mixture(config.dataset):
        mixture = mixtures.get(config.dataset)
        keys = jax.random.split(rng.key(ivom_glance.KEY))
        test, train = (
            np.asarray(mixtures.sample(mixture, key, size))
            for key, size in zip(keys, (num, 10_000), strict=True)
        )
        return Targets(f"draws from {config.dataset}", test, train, None)
    if config.dataset in stacked_mnist_experiment.DIGITS:
        digits = stacked_mnist_experiment.DIGITS[config.dataset]
        train = images.load(digits, "train", data_dir=data_dir)
        test = images.load(digits, "test", data_dir=data_dir)
        channels = config.data.channels
        index = stacked_mnist.indices(
            len(train.label), rng.key(ivom_glance.KEY), 10_000, channels=channels
        )
        stacks = np.moveaxis(train.image[np.asarray(index), :, :, 0], 1, 3)
        name = f"stacks of {train.source}"
        source = image_experiment.Source(
            name, stacks, stacked_mnist_metrics.oracle_images(test, num, channels)
        )
    elif source is None:
        source = image_experiment.load(config.dataset, data_dir)
    chosen = ivom_glance.every_nth(len(source.test), num)

    def to_unit(x_NHWC):
        x_NX = np.empty((len(x_NHWC), *config.example_shape()), np.float32)
        for start in range(0, len(x_NX), _BLOCK):
            block = slice(start, start + _BLOCK)
            x_BX = sampling.as_input(jnp.asarray(x_NHWC[block]), config)
            x_NX[block] = np.asarray((x_BX + 1) / 2).clip(*_PIXELS)
        return x_NX

    return Targets(
        source.name, to_unit(source.test[chosen]), to_unit(source.train), _PIXELS
    )
