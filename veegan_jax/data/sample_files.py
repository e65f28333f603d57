"""Samples or features of any model: arrays of any framework, or folders of images.

Dimension key: N examples, H height, W width, C channels, F features.
"""

import pathlib

import numpy as np

from veegan_jax.common import arrays, errors, memory
from veegan_jax.data import photos

LAYOUTS = ("auto", "NHWC", "NCHW", "NHW")
RANGES = {"auto": (0, 0), "0,1": (0, 1), "-1,1": (-1, 1), "0,255": (0, 255)}
_CHANNELS = (1, 3, 4)
_SLACK = 1e-5  # rounding beyond a range


def read(
    path: pathlib.Path,
    *,
    key: str = "",
    layout: str = "auto",
    value_range: str = "auto",
    image_size: int = 32,
) -> tuple[np.ndarray, str]:
    """Read features [N, F], or images [N, H, W, C] with pixels in [0, 1].

    Args:
      path: a .npy or .npz file, or a folder of images.
      key: the name of the array in an .npz file that holds several.
      layout: one of `LAYOUTS`; auto takes an axis of 1, 3 or 4 for the channels.
      value_range: one of `RANGES`; auto takes the smallest that fits.
      image_size: to which the images of a folder are scaled.

    Returns:
      float32, and what was taken for what, a line for the user.

    Raises:
      InputError: naming the file and what is wrong with it.
    """
    if path.is_dir():
        found = photos.from_folder(
            path, rule=photos.Rule(image_size), least=2, given_by=""
        )
        image, _ = found.take(range(len(found)))
        how = f"{len(found)} images of a folder, at {image_size} x {image_size} pixels"
        return image.astype(np.float32) / 255, how

    def check(shape: tuple[int, ...], dtype: np.dtype) -> None:
        if len(shape) not in (2, 3, 4) or 0 in shape:
            raise errors.InputError(
                f"{path} has shape {shape}; give features [N, F], or images [N, H, W, "
                "C], [N, C, H, W] or [N, H, W]"
            )
        if not (np.issubdtype(dtype, np.floating) or np.issubdtype(dtype, np.integer)):
            raise errors.InputError(
                f"{path} holds {arrays.type_name(dtype)}, not numbers"
                + arrays.as_float32(dtype)
            )
        each = int(np.prod(shape[1:])) * (dtype.itemsize + 8)
        memory.check_samples(path, shape[0], each)

    data = arrays.read(path, key, check)
    finite_N = np.isfinite(data.reshape(len(data), -1)).all(axis=1)
    if not finite_N.all():
        raise errors.InputError(
            f"{path}: {(~finite_N).sum()} of {len(data)} examples are not finite"
        )
    if data.ndim == 2:
        return data.astype(np.float32), f"{len(data)} features of {data.shape[1]}"
    layout = _layout(path, data.shape, layout)
    if layout == "NCHW":
        data = data.transpose(0, 2, 3, 1)
    if layout == "NHW":
        data = data[..., None]
    value_range = _range(path, data, value_range)
    low, high = RANGES[value_range]
    image = ((data.astype(np.float32) - low) / (high - low)).clip(0, 1)
    return image, f"{len(data)} images, {layout}, pixels in [{value_range}]"


def _layout(path: pathlib.Path, shape: tuple[int, ...], wanted: str) -> str:
    if wanted not in LAYOUTS:
        raise errors.InputError(
            f"--layout={wanted} must be one of {', '.join(LAYOUTS)}"
        )
    fits = []
    if len(shape) == 3:
        fits = ["NHW"]
    else:
        fits += ["NHWC"] if shape[3] in _CHANNELS else []
        fits += ["NCHW"] if shape[1] in _CHANNELS else []
    if wanted != "auto":
        if len(wanted) != len(shape):
            raise errors.InputError(
                f"--layout={wanted} has {len(wanted)} axes; {path} has shape {shape}"
            )
        return wanted
    if len(fits) != 1:
        why = "either axis may be the channels" if fits else "no axis has 1, 3 or 4"
        raise errors.InputError(
            f"{path} has shape {shape}: {why}; say --layout=NHWC or --layout=NCHW"
        )
    return fits[0]


def _range(path: pathlib.Path, data: np.ndarray, wanted: str) -> str:
    if wanted not in RANGES:
        raise errors.InputError(f"--range={wanted} must be one of {', '.join(RANGES)}")
    low, high = float(data.min()), float(data.max())

    def fits(name: str) -> bool:
        least, most = RANGES[name]
        return least - _SLACK <= low and high <= most + _SLACK

    if wanted != "auto":
        if not fits(wanted):
            raise errors.InputError(
                f"{path} holds pixels from {low:g} to {high:g}, outside "
                f"--range={wanted}: clip or scale them, or state another range"
            )
        return wanted
    if np.issubdtype(data.dtype, np.integer):
        names = ["0,255"]
    else:
        names = ["0,1", "-1,1", "0,255"]
    found = [name for name in names if fits(name)]
    if not found:
        raise errors.InputError(
            f"{path} holds pixels from {low:g} to {high:g}: scale them to [0, 1]"
        )
    return found[0]
