"""Principal components of images.

Dimension key: N images, X values of an image, K components.
"""

import dataclasses

import numpy as np
import scipy.linalg


@dataclasses.dataclass(frozen=True, eq=False)
class PCA:
    """The best linear encoder and decoder of the images that it was fitted to."""

    mean_X: np.ndarray
    vector_XK: np.ndarray  # unit length, largest variance first
    std_K: np.ndarray  # standard deviation of the images along each vector

    def encode(self, x_NX: np.ndarray) -> np.ndarray:
        """Return coordinates [N, K] in units of `std_K`, white for the fitted data."""
        return (x_NX - self.mean_X) @ self.vector_XK / self.std_K

    def reconstruct(self, x_NX: np.ndarray) -> np.ndarray:
        """Project images [N, X] onto the mean plus the span of the vectors."""
        return self.mean_X + (x_NX - self.mean_X) @ self.vector_XK @ self.vector_XK.T


def fit(
    x_NX: np.ndarray,
    components: int,
    min_share: float = 1e-6,
    *,
    overwrite: bool = False,
) -> PCA:
    """Fit principal components exactly, by eigenvectors of the smaller side.

    That is the covariance, X by X, or for fewer images than values their dot products,
    N by N: 475 images of 12,288 values take a second, the covariance minutes.

    Args:
      x_NX: images, floats. The eigenvectors have their precision.
      components: at most how many to keep.
      min_share: drop components whose variance is at most this share of the largest.
      overwrite: centre the images in place, which spares a copy of them.

    Returns:
      The components; fewer than asked for if the images span fewer dimensions.
    """
    mean_X = x_NX.mean(axis=0, dtype=np.float64)
    out = x_NX if overwrite else None
    centred_NX = np.subtract(x_NX, mean_X.astype(x_NX.dtype), out=out)
    num, size = x_NX.shape
    if num >= size:
        covariance_XX = centred_NX.T @ centred_NX / max(num - 1, 1)
        value_X, vector_XX = np.linalg.eigh(covariance_XX)
    else:
        value_X, vector_XX = _of_dot_products(centred_NX, components)
    kept = np.flatnonzero(value_X > min_share * value_X.max())[::-1][:components]
    return PCA(mean_X, vector_XX[:, kept], np.sqrt(value_X[kept]))


def _of_dot_products(
    centred_NX: np.ndarray, components: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues of the covariance, rising, and eigenvectors."""
    num = len(centred_NX)
    value_K, vector_NK = scipy.linalg.eigh(
        centred_NX @ centred_NX.T / max(num - 1, 1),
        subset_by_index=(max(0, num - max(components, 1)), num - 1),
    )
    # An orthogonal basis from the largest down, since the images of the eigenvectors
    # are orthogonal only up to the rounding of the largest.
    vector_XK, _ = np.linalg.qr(centred_NX.T @ vector_NK[:, ::-1])
    return value_K, vector_XK[:, ::-1]
