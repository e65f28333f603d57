"""Encodings, or moves between them, centred and scaled: what the samplers learn from.

A move is the difference of two encodings of one class. It is as likely as its opposite,
and so is a random combination of a basis, while encodings are skewed. A move that turns
a seven into another may also turn a nine into another, so all classes share moves.

Dimension key: N encodings, padded; d their size; K classes, M moves.
"""

import jax
import jax.numpy as jnp
from flax import struct

from veegan_jax.runtime import rng


@struct.dataclass
class Encodings:
    """y = center + scale * unit. Rows of `unit` from `count` on are padding."""

    unit: jax.Array  # float32 [N, d], mean 0 and variance 1 over the first `count`
    count: jax.Array  # int32 []
    center: jax.Array  # float32 [d]
    scale: jax.Array  # float32 [d]

    def weight(self) -> jax.Array:
        """Return 1 for encodings and 0 for padding, [N]."""
        return (jnp.arange(len(self.unit)) < self.count).astype(jnp.float32)

    def restore(self, unit_Bd: jax.Array) -> jax.Array:
        """Convert unit encodings [B, d] to the autoencoder's own units."""
        return self.center[None] + self.scale[None] * unit_Bd


def standardize(y_Nd: jax.Array, count: jax.Array) -> Encodings:
    """Centre and scale each dimension of the first `count` rows.

    A dimension that does not vary is not scaled.
    """
    weight_N1 = (jnp.arange(len(y_Nd)) < count)[:, None].astype(y_Nd.dtype)
    center_d = jnp.sum(weight_N1 * y_Nd, axis=0) / count
    centred_Nd = weight_N1 * (y_Nd - center_d[None])
    std_d = jnp.sqrt(jnp.sum(centred_Nd**2, axis=0) / count)
    scale_d = jnp.where(std_d > 1e-6, std_d, 1.0)
    return Encodings(centred_Nd / scale_d[None], count, center_d, scale_d)


def moves(
    key: jax.Array, y_KNd: jax.Array, count_K: jax.Array, num_moves: int
) -> Encodings:
    """Draw differences of two different encodings of a class; classes are uniform.

    Args:
      key: one typed key.
      y_KNd: encodings of every class, padded.
      count_K: how many of them are not padding; at least 2 for a move to exist.
      num_moves: M.

    Returns:
      The moves, centred (their mean is 0 up to chance) and scaled.
    """
    key_class, key_from, key_to = jax.random.split(key, 3)
    k_M = rng.index(key_class, num_moves, len(y_KNd))
    count_M = count_K[k_M]
    start_M = rng.index(key_from, num_moves, count_M)
    # Not the same encoding: all others are equally likely.
    further_M = 1 + rng.index(key_to, num_moves, jnp.maximum(count_M - 1, 1))
    end_M = (start_M + further_M) % count_M
    move_Md = y_KNd[k_M, end_M] - y_KNd[k_M, start_M]
    return standardize(move_Md, jnp.int32(num_moves))
