"""Noise as a function of the key and of an example's global index.

Dimension key: B rows (examples) on this device, Z columns.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p

from veegan_jax.runtime import numerics, parallel


def key(seed: jax.typing.ArrayLike) -> jax.Array:
    """Return the typed key of a seed, whatever kind of keys is the user's default."""
    return jax.random.key(seed, impl=numerics.IMPLEMENTATION)


def typed(key: jax.Array) -> jax.Array:
    """Return a key as a typed one; the older kind (`jax.random.PRNGKey`) is bits."""
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    words = jnp.asarray(key, jnp.uint32)[..., :2]  # rbg's begin with a threefry key
    return jax.random.wrap_key_data(words, impl=numerics.IMPLEMENTATION)


def normal(
    key: jax.Array, shape: tuple[int, ...], *, axis_name: str | None = None
) -> jax.Array:
    """Draw standard normals whose row i depends only on the key and i's global index.

    Under a mapped axis each device draws its own rows of one global array, so 1, 4
    and 8 devices see the same noise. Both words of each threefry block are used
    (`jax.random.normal` xors them into one), which makes this 1.6 times faster on
    CPU, where normals are a tenth of a training step.

    Args:
      key: one typed threefry key (`jax.random.key`).
      shape: (rows on this device, columns).
      axis_name: the mapped batch axis, or None on a single device.

    Returns:
      float32 [rows, columns].

    Source: threefry-2x32-20, Salmon et al. 2011; inverse-CDF normals as in JAX.
    """
    return parallel.shard_examples(_bits_to_normal(_bits(key, shape, axis_name)))


def uniform(key: jax.Array, rows: int, *, axis_name: str | None = None) -> jax.Array:
    """Draw uniform numbers in [0, 1) by the same rule as `normal`.

    Args:
      key: one typed threefry key.
      rows: examples on this device.
      axis_name: the mapped batch axis, or None.

    Returns:
      float32 [rows], multiples of 2**-24.
    """
    bits = _bits(key, (rows, 1), axis_name)[:, 0]
    return parallel.shard_examples((bits >> 8).astype(jnp.float32) * 2.0**-24)


def keep(
    key: jax.Array, shape: tuple[int, ...], rate: float, *, axis_name: str | None = None
) -> jax.Array:
    """Draw the units that dropout keeps, by the same rule as `normal`.

    Args:
      key: one typed threefry key.
      shape: (rows on this device, columns).
      rate: share of the units that are dropped, in [0, 1).
      axis_name: the mapped batch axis, or None.

    Returns:
      bool [rows, columns], True with probability 1 - rate.
    """
    threshold = jnp.uint32(round(rate * 2**32))
    return parallel.shard_examples(_bits(key, shape, axis_name) >= threshold)


def index(
    key: jax.Array, rows: int, num_choices: int, *, axis_name: str | None = None
) -> jax.Array:
    """Draw uniform integers in [0, num_choices) by the same rule as `normal`.

    Args:
      key: one typed threefry key.
      rows: examples on this device.
      num_choices: the number of choices; the bias is below num_choices / 2**32.
      axis_name: the mapped batch axis, or None.

    Returns:
      int32 [rows].
    """
    first_row = 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows
    count = jax.lax.iota(jnp.uint32, rows) + jnp.uint32(first_row)
    return parallel.shard_examples(index_at(key, count, num_choices))


def index_at(key: jax.Array, position: jax.Array, num_choices: int) -> jax.Array:
    """Return entries of an endless list of uniform integers in [0, num_choices).

    Args:
      key: one typed threefry key; it defines the list.
      position: which entries, integers of any shape.
      num_choices: the number of choices; the bias is below num_choices / 2**32.

    Returns:
      int32, in the shape of `position`.
    """
    word, _ = _blocks(key, position.astype(jnp.uint32))
    return (word % jnp.uint32(num_choices)).astype(jnp.int32)


def _bits(key: jax.Array, shape: tuple[int, ...], axis_name: str | None) -> jax.Array:
    """Return 32 random bits for each row and column, by the rows' global index."""
    rows, columns = shape
    half = -(-columns // 2)
    first_row = 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows
    count = jax.lax.iota(jnp.uint32, rows * half) + jnp.uint32(first_row * half)
    words = _blocks(key, count)
    bits = jnp.concatenate([word.reshape(rows, half) for word in words], axis=1)
    return bits[:, :columns]


def _blocks(key: jax.Array, count: jax.Array) -> list[jax.Array]:
    """Return two random words for every count."""
    key_0, key_1 = jax.random.key_data(key)
    # `count ^ count` is zeros with the batching of count, as the primitive needs.
    return threefry2x32_p.bind(key_0, key_1, count ^ count, count)


def _bits_to_normal(bits: jax.Array) -> jax.Array:
    # 23 random mantissa bits give a float in [1, 2), hence a uniform in (-1, 1).
    mantissa = (bits >> 9) | jnp.uint32(0x3F800000)
    unit = jax.lax.bitcast_convert_type(mantissa, jnp.float32) - 1.0
    low = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(low, unit * (1 - low) + low)
    return np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform)
