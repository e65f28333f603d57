"""Check the arguments of `ivom` before any work.

Dimension key: N images, X values of an image (any shape), Z latent, K starts, B batch.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from veegan_jax.common import errors
from veegan_jax.metrics import batched_lbfgs

Sample = batched_lbfgs.Sample


def check(
    sample: Sample,
    targets_NX: Any,
    *,
    latent_size: int,
    starts: int = 3,
    iterations: int = 200,
    report_at: Sequence[int] = (5, 25, 200),
    ids_N: Any = None,
    start_z_NKZ: Any = None,
    value_range: tuple[float, float] | None = (0, 1),
) -> None:
    """Refuse arguments that `ivom.ivom` cannot use; they are described there.

    Raises:
      InputError: if images, ids or starts have a wrong shape, type or range, if the
        generator does not map such z to such images, or if a count is below 1.
    """
    targets_NX = np.asarray(targets_NX)
    _check_images(targets_NX, value_range)
    counts = {"starts": starts, "iterations": iterations, "latent_size": latent_size}
    for name, value in counts.items():
        if value < 1:
            raise errors.InputError(f"{name}={value} must be at least 1")
    rising = list(report_at) == sorted(set(report_at))
    if not len(report_at) or not rising or report_at[0] < 0:
        raise errors.InputError(f"report_at={report_at} must rise, from 0 or more")
    if report_at[-1] > iterations:
        raise errors.InputError(f"report_at={report_at} exceeds {iterations=}")
    num = len(targets_NX)
    if ids_N is not None:
        ids_N = np.asarray(ids_N)
        if ids_N.shape != (num,) or not np.issubdtype(ids_N.dtype, np.integer):
            raise errors.InputError(
                f"ids have shape {ids_N.shape} and type {ids_N.dtype}; {num} images "
                f"need integers of shape ({num},)"
            )
        if ids_N.min() < 0 or ids_N.max() >= 2**32:
            raise errors.InputError("ids must be of 0 to 2**32 - 1")
    if start_z_NKZ is not None:
        shape = np.shape(start_z_NKZ)
        if len(shape) != 3 or shape[::2] != (num, latent_size) or not shape[1]:
            raise errors.InputError(
                f"starts have shape {shape}; {num} images need [{num}, number of "
                f"starts, {latent_size}]"
            )
    _check_generator(sample, targets_NX.shape[1:], latent_size)


def _check_images(x_NX: np.ndarray, value_range: tuple[float, float] | None) -> None:
    if x_NX.ndim < 2 or not x_NX.size:
        raise errors.InputError(
            f"images have shape {x_NX.shape}; give [number of images, ...]"
        )
    if not np.issubdtype(x_NX.dtype, np.floating):
        raise errors.InputError(
            f"images are {x_NX.dtype}; give floats in G's range, such as x / 255"
        )
    x_NX = x_NX.reshape(len(x_NX), -1)
    bad = np.sum(~np.isfinite(x_NX).all(axis=1))
    if bad:
        raise errors.InputError(f"{bad} of {len(x_NX)} images hold NaN or infinity")
    if value_range is None:
        return
    low, high = value_range
    slack = 1e-5 * (high - low)  # for resizing and rounding
    bad = np.sum((x_NX.min(axis=1) < low - slack) | (x_NX.max(axis=1) > high + slack))
    if bad:
        lowest, highest = x_NX.min(), x_NX.max()
        advice = "rescale them, or say value_range"
        if lowest >= 0 and 2 < highest <= 255:
            advice = "they look like 0..255: divide by 255 for (0, 1)"
        elif (low, high) == (0, 1) and lowest >= -1.01 and highest <= 1.01:
            advice = (
                "they look like -1..1: give (x + 1) / 2 of images and generator, or "
                "value_range=(-1, 1), which makes errors four times as large"
            )
        raise errors.InputError(
            f"{bad} of {len(x_NX)} images have values outside value_range="
            f"({low:g}, {high:g}), found {lowest:g} to {highest:g}; {advice}"
        )


def _check_generator(sample: Sample, shape: tuple[int, ...], latent_size: int) -> None:
    sample = sample if isinstance(sample, Partial) else Partial(sample)
    try:
        x_2X = jax.eval_shape(
            _call, sample, jax.ShapeDtypeStruct((2, latent_size), jnp.float32)
        )
    except Exception as e:  # G may raise anything if sizes do not fit
        raise errors.InputError(
            f"the generator does not take z of shape [2, {latent_size}] (latent_size="
            f"{latent_size}): {type(e).__name__}: {e}"
        ) from e
    if getattr(x_2X, "shape", None) != (2, *shape):
        found = jax.tree.map(lambda leaf: leaf.shape, x_2X)
        raise errors.InputError(
            f"the generator makes {found} of z [2, {latent_size}]; images of shape "
            f"{list(shape)} need [2, {', '.join(map(str, shape))}]"
        )
    check_floats(x_2X)


def check_floats(x: jax.ShapeDtypeStruct) -> None:
    """Refuse a generator of integers, which no gradient passes.

    Args:
      x: what `jax.eval_shape` finds for its images.

    Raises:
      InputError: naming the type.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise errors.InputError(
            f"the generator makes {x.dtype}, which has no gradient; give floats, "
            "differentiable in z: no cast to integers and no rounding"
        )


def _call(sample: Sample, z_BZ: jax.Array) -> jax.Array:
    return sample(z_BZ)
