"""Pixels as bytes, and as networks see them."""

from typing import Any

import jax
import jax.numpy as jnp


def to_float(image: jax.Array) -> jax.Array:
    """Turn uint8 0..255 into float32 [-1, 1]."""
    return image.astype(jnp.float32) / 127.5 - 1


def to_uint8(image: jax.Array) -> jax.Array:
    """Turn floats [-1, 1] into uint8 0..255; the inverse of `to_float`.

    Values outside are clipped. An image that is uint8 already stays as it is, so that
    images from a model and from a file are scored alike.
    """
    if image.dtype == jnp.uint8:
        return image
    return jnp.round((jnp.clip(image, -1, 1) + 1) * 127.5).astype(jnp.uint8)


def unit_to_uint8(image: Any) -> Any:
    """Turn floats [0, 1], of NumPy or JAX, into uint8 0..255; clip values outside."""
    return (255 * image.clip(0, 1)).round().astype("uint8")
