"""Read and check files of stacked images that others made.

Dimension key: N samples, H height, W width.
"""

import pathlib

import numpy as np

from veegan_jax.common import errors, files
from veegan_jax.data import images

DIGITS = ("mnist", "digits")  # the data sets of digits
RANGES = {"0,1": (0, 1), "-1,1": (-1, 1)}  # of float pixels


def read(path: pathlib.Path, value_range: str | None = None) -> np.ndarray:
    """Read stacked images [N, H, W, 3] as uint8, or as float32 in [-1, 1].

    Args:
      path: a .npy file, or an .npz file of one array.
      value_range: one of `RANGES`, for floats; None is allowed if any is negative.

    Raises:
      InputError: naming the file and what is wrong with it.
    """
    data = files.read_array(path)
    needs = "stacked images have shape [number of samples, height, width, 3]"
    if data.ndim == 4 and data.shape[1] == 3 != data.shape[3]:
        raise errors.InputError(
            f"{path} has shape {data.shape}: {needs}; transpose it: "
            "x.transpose(0, 2, 3, 1)"
        )
    if data.ndim == 3 or (data.ndim == 4 and data.shape[3] == 1):
        raise errors.InputError(
            f"{path} has shape {data.shape}, single digits: {needs}, a digit in each "
            "channel"
        )
    if data.ndim != 4 or data.shape[3] != 3 or not data.size:
        raise errors.InputError(f"{path} has shape {data.shape}: {needs}")
    return _scaled(path, data, value_range)


def _scaled(
    path: pathlib.Path, data: np.ndarray, value_range: str | None
) -> np.ndarray:
    """Return uint8 unchanged; scale floats from their stated range to [-1, 1]."""
    if data.dtype == np.uint8:
        if value_range:
            raise errors.InputError(f"{path} holds uint8: --range is for floats")
        if data.max() <= 1:
            raise errors.InputError(
                f"{path} holds uint8 of at most {data.max()}: white must be 255"
            )
        return data
    if not np.issubdtype(data.dtype, np.floating):
        raise errors.InputError(
            f"{path} holds {data.dtype}; give uint8 in 0 to 255, or floats"
        )
    finite_N = np.isfinite(data).all(axis=(1, 2, 3))
    if not finite_N.all():
        raise errors.InputError(
            f"{path}: {(~finite_N).sum()} of {len(data)} samples are not finite"
        )
    low, high = data.min(), data.max()
    if not value_range and low >= 0:
        raise errors.InputError(
            f"{path} holds floats from {low:g} to {high:g}: state --range=0,1 or "
            "--range=-1,1, or give uint8"
        )
    name = value_range or "-1,1"
    least, most = RANGES[name]
    if low < least or high > most:
        raise errors.InputError(
            f"{path} holds floats from {low:g} to {high:g}, outside --range={name}: "
            "clip or scale them, or give uint8"
        )
    return (2 * (data.astype(np.float32) - least) / (most - least) - 1).clip(-1, 1)


def dataset_of(shape: tuple[int, ...], wanted: str = "auto") -> str:
    """Return the data set whose digits have the size of stacked images.

    Args:
      shape: of the images, (N, H, W, 3).
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
        f"images of {shape[1]} x {shape[2]} pixels cannot be scored: {known} can"
    )
