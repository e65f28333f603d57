"""Pixels as bytes, and as networks see them."""

import jax
import jax.numpy as jnp


def to_float(image: jax.Array) -> jax.Array:
    """uint8 0..255 -> float32 [-1, 1]."""
    return image.astype(jnp.float32) / 127.5 - 1


def to_uint8(image: jax.Array) -> jax.Array:
    """float [-1, 1] -> uint8 0..255, values beyond cut off; uint8 stays as it is.

    The inverse of `to_float`: a model in memory and the file of its images are one.
    """
    if image.dtype == jnp.uint8:
        return image
    return jnp.round((jnp.clip(image, -1, 1) + 1) * 127.5).astype(jnp.uint8)
