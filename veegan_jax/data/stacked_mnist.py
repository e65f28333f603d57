"""Stacked MNIST: digits drawn at random as the channels of one image, three or four.

The digits stay on the device as uint8, and the compiled steps draw the stacks.

Dimension key: B batch, N digits, H height, W width, C channels.
"""

import jax
import jax.numpy as jnp

from veegan_jax.data import pixels
from veegan_jax.runtime import numerics, rng

CHANNELS = (3, 4)  # digits of a stack
LIST_SEED = 1000  # of the fixed lists, so that every run has the same stacks


@numerics.standard
def sample(
    digits_NHW: jax.Array,
    key: jax.Array,
    batch: int,
    *,
    channels: int = 3,
    num_stacks: int = 0,
    axis_name: str | None = None,
) -> jax.Array:
    """Draw stacks; the key and its global index determine each stack.

    Args:
      digits_NHW: uint8 digits, e.g. all 60,000 of MNIST's training set.
      key: one typed threefry key.
      batch: stacks on this device.
      channels: digits of a stack.
      num_stacks: 0: draw new digits for every stack. Otherwise draw stacks, with
        replacement, from a fixed list of this length, the same for every key
        (published work uses 50,000 and 128,000).
      axis_name: the mapped batch axis, or None.

    Returns:
      float32 [B, H, W, C] in [-1, 1].
    """
    index_BC = indices(
        len(digits_NHW),
        key,
        batch,
        channels=channels,
        num_stacks=num_stacks,
        axis_name=axis_name,
    )
    return pixels.to_float(jnp.moveaxis(digits_NHW[index_BC], 1, -1))


@numerics.standard
def indices(
    num_digits: int,
    key: jax.Array,
    batch: int,
    *,
    channels: int = 3,
    num_stacks: int = 0,
    axis_name: str | None = None,
) -> jax.Array:
    """Return the indices of the digits that `sample` stacks: int32 [B, C]."""
    if num_stacks:
        stack_B = rng.index(key, batch, num_stacks, axis_name=axis_name)
        return listed(num_digits, stack_B, channels)
    keys_C = jax.random.split(key, channels)
    columns = [rng.index(k, batch, num_digits, axis_name=axis_name) for k in keys_C]
    return jnp.stack(columns, axis=1)


@numerics.standard
def listed(num_digits: int, stack_B: jax.Array, channels: int = 3) -> jax.Array:
    """Return the digits of stacks of the fixed list: int32 [B, C].

    Args:
      num_digits: how many there are to choose from.
      stack_B: places in the list, int32; a longer list begins as a shorter one.
      channels: digits of a stack.
    """
    keys_C = jax.random.split(rng.key(LIST_SEED), channels)
    return jnp.stack([rng.index_at(k, stack_B, num_digits) for k in keys_C], axis=1)
