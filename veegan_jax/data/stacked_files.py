"""Read and check files of stacked images that others made.

Dimension key: N samples, H height, W width, C channels (3, or 4).
"""

import functools
import math
import pathlib

import numpy as np

from veegan_jax.common import arrays, errors, memory
from veegan_jax.data import images, stacked_mnist

DIGITS = ("mnist", "digits")  # the data sets of digits
RANGES = {"0,1": (0, 1), "-1,1": (-1, 1)}  # of float pixels
_PADDED, _PADDING = 32, 2  # height of digits that are padded, and by how much
_SLACK = 1e-5  # rounding beyond a range


def read(
    path: pathlib.Path, value_range: str | None = None, key: str = ""
) -> np.ndarray:
    """Read stacked images [N, H, W, C] as uint8, or as float32 in [-1, 1].

    Args:
      path: a .npy or .npz file.
      value_range: one of `RANGES`, for floats; None is allowed if any is negative.
      key: the name of the array in an .npz file that holds several.

    Raises:
      InputError: naming the file and what is wrong with it.
    """
    data = arrays.read(path, key, functools.partial(_check, path))
    return _scaled(path, data, value_range)


def _check(path: pathlib.Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuse an array of another shape or type, or larger than the memory."""
    needs = "stacked images have shape [number of samples, height, width, 3 or 4]"
    counts = stacked_mnist.CHANNELS
    if len(shape) == 4 and shape[1] in counts and shape[3] not in counts:
        raise errors.InputError(
            f"{path} has shape {shape}: {needs}; transpose it: x.transpose(0, 2, 3, 1)"
        )
    if len(shape) == 3 or (len(shape) == 4 and shape[3] == 1):
        raise errors.InputError(
            f"{path} has shape {shape}, single digits: {needs}, a digit in each channel"
        )
    if len(shape) != 4 or shape[3] not in counts or not math.prod(shape):
        raise errors.InputError(f"{path} has shape {shape}: {needs}")
    if dtype != np.uint8 and not np.issubdtype(dtype, np.floating):
        raise errors.InputError(
            f"{path} holds {arrays.type_name(dtype)}; give uint8 in 0 to 255, or "
            "floats, as numpy.float32"
        )
    memory.check_samples(path, shape[0], bytes_each(shape[1:], dtype.itemsize))


def bytes_each(shape: tuple[int, ...], itemsize: int = 1) -> int:
    """Estimate the memory in which one stacked image is scored, from below.

    The process itself takes half a gigabyte more.

    Args:
      shape: of the image.
      itemsize: bytes of a number in its file.
    """
    # uint8 is copied once; floats are checked, and scaled in float32.
    copies = 1 if itemsize == 1 else 5
    # And what the classifier finds in each digit, with one copy: float32.
    return math.prod(shape) * (itemsize + copies) + 1_000 * shape[-1]


def _scaled(
    path: pathlib.Path, data: np.ndarray, value_range: str | None
) -> np.ndarray:
    """Return uint8 unchanged; scale floats from their stated range to [-1, 1]."""
    if data.dtype == np.uint8:
        if value_range:
            raise errors.InputError(f"{path} holds uint8: --range is for floats")
        if data.max() == 1:  # of 0, all is black: so a collapsed model may draw
            raise errors.InputError(
                f"{path} holds uint8 of at most 1: white must be 255"
            )
        return data
    finite_N = np.isfinite(data).all(axis=(1, 2, 3))
    if not finite_N.all():
        raise errors.InputError(
            f"{path}: {(~finite_N).sum()} of {len(data)} samples are not finite"
        )
    low, high = data.min(), data.max()
    if not value_range and low >= -_SLACK:
        raise errors.InputError(
            f"{path} holds floats from {low:g} to {high:g}: state --range=0,1 or "
            "--range=-1,1, or give uint8"
        )
    name = value_range or "-1,1"
    least, most = RANGES[name]
    if low < least - _SLACK or high > most + _SLACK:
        raise errors.InputError(
            f"{path} holds floats from {low:g} to {high:g}, outside --range={name}: "
            "clip or scale them, or give uint8"
        )
    return (2 * (data.astype(np.float32) - least) / (most - least) - 1).clip(-1, 1)


def cropped(x_NHWC: np.ndarray) -> tuple[np.ndarray, str]:
    """Cut 32 x 32 images to MNIST's 28 x 28, as the padding of many models needs.

    Returns:
      The images, and what was cut off in words; "" for images of another size.
    """
    if x_NHWC.shape[1:3] != (_PADDED, _PADDED):
        return x_NHWC, ""
    inner = slice(_PADDING, _PADDED - _PADDING)
    kept = x_NHWC[:, inner, inner]
    low, high = (0, 255) if x_NHWC.dtype == np.uint8 else (-1, 1)
    total, inside = (x.sum(dtype=np.float64) for x in (x_NHWC, kept))
    edge = (total - inside) / (x_NHWC.size - kept.size)
    bright = 100 * (edge - low) / (high - low)
    return kept, (
        f"Images of {_PADDED} x {_PADDED} are scored without their outer {_PADDING} "
        f"pixels, MNIST's padding. Those have {bright:.2g} % of white in the mean; of "
        "padded digits they have none."
    )


def dataset_of(shape: tuple[int, ...], wanted: str = "auto") -> str:
    """Return the data set whose digits have the size of stacked images.

    Args:
      shape: of the images, (N, H, W, C).
      wanted: the data set that it must be, or "auto".

    Raises:
      InputError: if no data set has this size, or not the wanted one.
    """
    sizes = {d: images.SHAPES[d][:2] for d in DIGITS}
    if wanted not in ("auto", *sizes):
        raise errors.InputError(
            f"--dataset={wanted} must be one of auto, {', '.join(sizes)}"
        )
    names = list(sizes) if wanted == "auto" else [wanted]
    for name in names:
        if sizes[name] == tuple(shape[1:3]):
            return name
    known = " or ".join(f"{sizes[d][0]} x {sizes[d][1]} ({d})" for d in names)
    raise errors.InputError(
        f"images of {shape[1]} x {shape[2]} pixels cannot be scored: {known} can, and "
        f"padded digits of {_PADDED} x {_PADDED}"
    )
