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

_ROWS = 4000  # training images that are compared at a time
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


def nearest_errors(train_NX: Any, targets_MX: Any) -> np.ndarray:
    """Compute each test image's error to the training image that is nearest to it.

    Args:
      train_NX: training images, floats [N, ...].
      targets_MX: test images, floats [M, ...].

    Returns:
      float64 [M]; a memorizing generator could do as well.

    Raises:
      InputError: if their shapes do not fit, or values are not finite.
    """
    train_NX, targets_MX = _checked(train_NX, targets_MX)
    targets_MX = targets_MX.astype(np.float64)
    square_M = (targets_MX**2).sum(axis=1)
    least_M = np.full(len(targets_MX), np.inf)
    for start in range(0, len(train_NX), _ROWS):  # bounds the memory
        block_RX = train_NX[start : start + _ROWS].astype(np.float64)
        square_R = (block_RX**2).sum(axis=1)
        square_MR = square_M[:, None] + square_R[None] - 2 * targets_MX @ block_RX.T
        least_M = np.minimum(least_M, square_MR.min(axis=1))
    return np.maximum(least_M, 0) / train_NX.shape[1]


def recall(
    error_M: np.ndarray, nearest_M: np.ndarray, z_MZ: np.ndarray, share: float = 0.999
) -> tuple[float, float]:
    """Return the share of images that a generator comes nearer to than the data do.

    Args:
      error_M: of IvOM, and where G comes so near: `z_MZ`.
      nearest_M: see `nearest_errors`.
      z_MZ: latents.
      share: of the draws of the prior N(0, I) that lie within the ball of latents that
        count for the first number.

    Returns:
      The share at a z that the prior would draw, and at any z; from 0 to 1.
    """
    from scipy import special  # scipy.stats would take half a second to import

    nearer_M = error_M < nearest_M  # false for an error that is not finite
    most = special.chdtri(z_MZ.shape[1], 1 - share)
    drawn_M = (z_MZ.astype(np.float64) ** 2).sum(axis=1) <= most
    return float(np.mean(nearer_M & drawn_M)), float(np.mean(nearer_M))


def _flat(train_NX: Any, targets_MX: Any) -> list[np.ndarray]:
    return [x.astype(np.float64) for x in _checked(train_NX, targets_MX)]


def _checked(train_NX: Any, targets_MX: Any) -> list[np.ndarray]:
    """Return views with an axis of values."""
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
    return [x.reshape(len(x), -1) for x in (train_NX, targets_MX)]
