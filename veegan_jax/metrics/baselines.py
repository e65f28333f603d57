"""Errors that need no generator, in the measure of IvOM.

They say how small an error of IvOM is. A generator that is no nearer to test images
than their mean has learned nothing; PCA is the best linear generator of the same latent
size. A third baseline is `ivom.best_of_random`. The measure is `ivom`'s: the mean over
all values of an image of the squared difference.

Dimension key: N images, M test images, X values of an image (any shape), K components.
"""

from typing import Any

import numpy as np

from veegan_jax.common import errors
from veegan_jax.metrics import pca

_NOISE = 1e-12  # share of the largest variance; float64 rounds repeats to less


def mean_image_errors(train_NX: Any, targets_MX: Any) -> np.ndarray:
    """Compute each test image's error to the mean of the training images.

    Args:
      train_NX: training images, floats [N, ...].
      targets_MX: test images, floats [M, ...].

    Returns:
      float64 [M].

    Raises:
      InputError: if their shapes do not fit, or values are not finite.
    """
    train_NX, targets_MX = _flat(train_NX, targets_MX)
    return np.mean((targets_MX - train_NX.mean(axis=0)) ** 2, axis=1)


def pca_errors(train_NX: Any, targets_MX: Any, components: int) -> np.ndarray:
    """Compute each test image's error to its projection on principal components.

    The components are those of the training images, in float64. The smaller of N and
    the number of values sets the time: 3,072 take seconds.

    Args:
      train_NX: training images, floats [N, ...].
      targets_MX: test images, floats [M, ...].
      components: K, beside the mean; the size of z makes a fair comparison.

    Returns:
      float64 [M].

    Raises:
      InputError: if the shapes do not fit, values are not finite, or there are too
        few images for so many components. Repeated images span fewer dimensions, and
        rounding noise is no component.
    """
    train_NX, targets_MX = _flat(train_NX, targets_MX)
    num, size = train_NX.shape
    if not 0 <= components <= min(num - 1, size):
        raise errors.InputError(
            f"{components=}: {num} images of {size} values have "
            f"0 to {min(num - 1, size)}"
        )
    # `_flat` has made the copy that is overwritten.
    model = pca.fit(train_NX, components, min_share=_NOISE, overwrite=True)
    return np.mean((targets_MX - model.reconstruct(targets_MX)) ** 2, axis=1)


def _flat(train_NX: Any, targets_MX: Any) -> tuple[np.ndarray, np.ndarray]:
    train_NX, targets_MX = np.asarray(train_NX), np.asarray(targets_MX)
    if not train_NX.size or train_NX.shape[1:] != targets_MX.shape[1:]:
        raise errors.InputError(
            f"training images have shape {train_NX.shape}, the others "
            f"{targets_MX.shape}; they must differ in number only"
        )
    for name, x in (("training", train_NX), ("test", targets_MX)):
        bad_N = ~np.isfinite(x).reshape(len(x), -1).all(axis=1)
        if bad_N.any():
            raise errors.InputError(
                f"{bad_N.sum()} of {len(x)} {name} images hold NaN or infinity: leave "
                "them out"
            )
    return tuple(
        x.reshape(len(x), -1).astype(np.float64) for x in (train_NX, targets_MX)
    )
