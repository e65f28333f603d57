"""The images that the models of one run learn from, and the keys of their seeds.

Dimension key: S seeds, K classes, M images of the data set, N images of a class, X
numbers of an image.
"""

import dataclasses
import functools

import jax
import numpy as np

from lgan_jax.splits import Split
from veegan_jax.runtime import rng

# Uses of a seed's key. Only append: the place of a name decides its random numbers.
USES = ("autoencoder", "shared", "vae", "moves", "sample", "affine")
USES += ("lgan", "plain_gan", "gaussian", "mixup", "decoded", "draw")


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """The images to learn from."""

    image_MX: np.ndarray  # uint8
    shape: tuple[int, int, int]  # H, W, C
    splits: tuple[Split, ...]  # which are known, for each seed; all of equal sizes
    seeds: tuple[int, ...]

    @functools.cached_property
    def rows_SKN(self) -> np.ndarray:
        """The known images of each seed and class, padded."""
        return np.stack([split.rows_KN for split in self.splits])

    @functools.cached_property
    def count_SK(self) -> np.ndarray:
        """Return how many rows are images, not padding, for each seed and class."""
        return np.stack([split.count_K for split in self.splits])

    @property
    def num_classes(self) -> int:
        return self.count_SK.shape[1]

    def keys(self, use: str, *each: int) -> jax.Array:
        """Derive typed keys for one use.

        Args:
          use: one of `USES`.
          *each: how many keys of each seed, as a shape.

        Returns:
          [S, *each].
        """
        keys_S = jax.vmap(rng.key)(np.asarray(self.seeds, np.uint32))
        keys_S = jax.vmap(jax.random.fold_in, (0, None))(keys_S, USES.index(use))
        if not each:
            return keys_S
        return jax.vmap(lambda key: jax.random.split(key, each))(keys_S)
