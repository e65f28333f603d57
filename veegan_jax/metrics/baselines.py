"""What IvOM is set beside: errors that need no generator, in the same measure.

A generator that is no nearer to test images than their mean says nothing; the one of
the best z-dimensional linear code is that of PCA. A third comes from
`ivom.best_of_random`. The measure is `ivom`'s: the mean over all values of an image of
the squared difference.

Dimension key: N images, M test images, X values of an image (any shape), Q components.
"""

from typing import Any

import numpy as np
import scipy.linalg

from veegan_jax.common import errors


def mean_image(train_NX: Any, targets_MX: Any) -> np.ndarray:
    """Errors of the training images' mean as the answer to every image.

    Args:
      train_NX: training images, floats [N, ...].
      targets_MX: test images, floats [M, ...].

    Returns:
      float64 [M].

    Raises:
      InputError: if their shapes do not fit.
    """
    train_NX, targets_MX = _flat(train_NX, targets_MX)
    return np.mean((targets_MX - train_NX.mean(axis=0)) ** 2, axis=1)


def pca(train_NX: Any, targets_MX: Any, components: int) -> np.ndarray:
    """Errors of test images projected on the training images' principal components.

    Exact, from the covariance's eigenvectors in float64: 3,072 values take seconds.

    Args:
      train_NX: training images, floats [N, ...].
      targets_MX: test images, floats [M, ...].
      components: Q, beside the mean; the size of z makes a fair comparison.

    Returns:
      float64 [M].

    Raises:
      InputError: if the shapes do not fit, or the images have fewer components.
    """
    train_NX, targets_MX = _flat(train_NX, targets_MX)
    num, size = train_NX.shape
    if not 0 <= components <= min(num - 1, size):
        raise errors.InputError(
            f"{components=}: {num} images of {size} values have "
            f"0 to {min(num - 1, size)}"
        )
    mean_X = train_NX.mean(axis=0)
    rest_MX = targets_MX - mean_X
    if components:
        centred_NX = train_NX - mean_X
        top = size - components, size - 1
        _, vector_XQ = scipy.linalg.eigh(centred_NX.T @ centred_NX, subset_by_index=top)
        rest_MX -= (rest_MX @ vector_XQ) @ vector_XQ.T
    return np.mean(rest_MX**2, axis=1)


def _flat(train_NX: Any, targets_MX: Any) -> tuple[np.ndarray, np.ndarray]:
    train_NX, targets_MX = np.asarray(train_NX), np.asarray(targets_MX)
    if not train_NX.size or train_NX.shape[1:] != targets_MX.shape[1:]:
        raise errors.InputError(
            f"training images have shape {train_NX.shape}, the others "
            f"{targets_MX.shape}; they must differ in number only"
        )
    return tuple(
        x.reshape(len(x), -1).astype(np.float64) for x in (train_NX, targets_MX)
    )
