"""Split a data set: a share of every class is known, fixed by a seed.

Dimension key: M images, K classes, N images of the largest class.
"""

from typing import NamedTuple

import numpy as np

from veegan_jax.common import errors


class Split(NamedTuple):
    """Known rows of a data set by class; those after a class's count are padding."""

    rows_KN: np.ndarray  # int32
    count_K: np.ndarray  # int32

    def all_rows(self) -> np.ndarray:
        """Return every row once, class after class."""
        pairs = zip(self.rows_KN, self.count_K, strict=True)
        return np.concatenate([rows[:count] for rows, count in pairs])


def stratified(label_M: np.ndarray, share: float, seed: int) -> Split:
    """Draw the same share of every class, at least one image.

    Args:
      label_M: classes 0 to K - 1.
      share: in (0, 1].
      seed: of the draw.

    Returns:
      The split. With equal seeds, the rows of a smaller share are among those of a
      larger one.

    Raises:
      InputError: for a share outside (0, 1] or a class without images.
    """
    if not 0 < share <= 1:
        raise errors.InputError(f"a share of {share:g} of the data is not in (0, 1]")
    generator = np.random.default_rng(seed)
    classes = []
    for k in range(int(label_M.max()) + 1):
        rows = generator.permutation(np.flatnonzero(label_M == k))
        if not len(rows):
            raise errors.InputError(f"class {k} has no images")
        classes.append(rows[: max(1, round(share * len(rows)))])
    count_K = np.array([len(rows) for rows in classes], np.int32)
    rows_KN = np.stack([np.resize(rows, count_K.max()) for rows in classes])
    return Split(rows_KN.astype(np.int32), count_K)


def inside(
    label_M: np.ndarray, share: float, pool: float, seed: int
) -> tuple[Split, np.ndarray]:
    """Make a split for tuning: known images, and others of a larger share that judge.

    Args:
      label_M: classes 0 to K - 1.
      share: the share to know. Unless it is smaller than the pool, only three quarters
        of it are known, and the rest judges.
      pool: the share that both are drawn from, or `share` if that is larger.
      seed: of the draw.

    Returns:
      The split, and the rows [T] of the pool that are not in it.

    Raises:
      InputError: if there is no such row; see also `stratified`.
    """
    every = stratified(label_M, max(share, pool), seed).all_rows()
    known = stratified(label_M, share if share < pool else 0.75 * share, seed)
    others = np.setdiff1d(every, known.all_rows())
    if not len(others):
        raise errors.InputError(
            f"shares of {share:g} and {max(share, pool):g} are the same images: none "
            "is left to judge by"
        )
    return known, others
