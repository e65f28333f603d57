"""Stacked MNIST: three digits drawn at random as the channels of one image.

The digits stay on the device as uint8, and stacks are drawn where they are used: inside
the compiled steps.

Dimension key: B batch, N digits, H height, W width.
"""

import jax
import jax.numpy as jnp

from veegan_jax.data import pixels
from veegan_jax.runtime import rng

LIST_SEED = 1000  # of the fixed lists: the same stacks for every run


def sample(
    digits_NHW: jax.Array,
    key: jax.Array,
    batch: int,
    *,
    num_stacks: int = 0,
    axis_name: str | None = None,
) -> jax.Array:
    """Draw stacks, each a function of the key and of its global index alone.

    Args:
      digits_NHW: uint8 digits, e.g. all 60,000 of MNIST's training set.
      key: one typed threefry key.
      batch: stacks on this device.
      num_stacks: 0 draws three digits afresh for every stack; otherwise stacks come,
        with replacement, from a fixed list of so many (50,000 and 128,000 are in
        use), which is the same for every key.
      axis_name: the mapped batch axis, or None.

    Returns:
      float32 [B, H, W, 3] in [-1, 1].
    """
    index_B3 = indices(
        len(digits_NHW), key, batch, num_stacks=num_stacks, axis_name=axis_name
    )
    return pixels.to_float(jnp.moveaxis(digits_NHW[index_B3], 1, -1))


def indices(
    num_digits: int,
    key: jax.Array,
    batch: int,
    *,
    num_stacks: int = 0,
    axis_name: str | None = None,
) -> jax.Array:
    """Which digits `sample` stacks: int32 [B, 3]."""
    if num_stacks:
        stack_B = rng.index(key, batch, num_stacks, axis_name=axis_name)
        keys_3 = jax.random.split(jax.random.key(LIST_SEED), 3)
        columns = [rng.index_at(k, stack_B, num_digits) for k in keys_3]
    else:
        keys_3 = jax.random.split(key, 3)
        columns = [rng.index(k, batch, num_digits, axis_name=axis_name) for k in keys_3]
    return jnp.stack(columns, axis=1)
