"""A folder with a folder of images for each class: read and written as uint8 arrays.

Dimension key: N images, H height, W width, C channels.
"""

import contextlib
import csv
import dataclasses
import hashlib
import logging
import pathlib
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import PIL.Image
import PIL.ImageOps
import tqdm

from veegan_jax.common import errors

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
# Of files so named. PIL would go by the contents alone, and run Ghostscript for some.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
# The rest has more than 8 bits a pixel, and PIL cuts most of them off at 255.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
LABELS = "labels.csv"


@dataclasses.dataclass(frozen=True, eq=False)
class Classes:
    """Images of several classes, class by class."""

    image: np.ndarray  # uint8 [N, H, W, C], C 1 if all are grey, else 3
    label: np.ndarray  # int32 [N], places in `names`
    names: tuple[str, ...]  # of the classes: their folders'

    def sha256(self) -> str:
        """Of the pixels, labels and names; any that differ show."""
        digest = hashlib.sha256(repr((self.image.shape, self.names)).encode())
        for array in (self.image, self.label):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def read_classes(
    folder: pathlib.Path, *, least: int = 1, most_pixels: int = 2**24
) -> Classes:
    """Read every image; classes and their files are taken by name, in code points.

    Images are turned as their EXIF data says; what is transparent is black. Hidden
    files and those without an image's suffix are passed over.

    Args:
      folder: holds one folder per class, each holding images, all of one size.
      least: images that a class must have.
      most_pixels: width times height that an image may have. A larger one is refused
        before it is unpacked.

    Raises:
      InputError: naming the folder or file: no folder or no classes in it, a class
        with too few images or folders of its own, a link that leads out, a file that
        cannot be read, has several pictures or over 8 bits a pixel, mixed sizes.
    """
    if not folder.is_dir():
        raise errors.InputError(f"--image_dir={folder} is not a folder")
    entries = _entries(folder)
    classes = [path for path in entries if path.is_dir()]
    if not classes:
        raise errors.InputError(
            f"--image_dir={folder} holds no folders: make one for each class, with its "
            "images in it"
        )
    beside = [path.name for path in entries if is_image(path)]
    if beside:
        logging.warning(
            "%s: %d images beside the folders of the classes are passed over (%s)",
            *(folder, len(beside), beside[0]),
        )
    files = {path.name: _files(path, folder, least) for path in classes}
    every = [path for paths in files.values() for path in paths]
    images: list[np.ndarray] = []
    for path in tqdm.tqdm(every, desc=str(folder), unit=" images"):
        images.append(_read(path, most_pixels))
        # At once: a folder of photographs of all sizes may not fit into memory.
        if images[-1].shape != images[0].shape:
            (height, width), (rows, columns) = (
                image.shape[:2] for image in (images[-1], images[0])
            )
            raise errors.InputError(
                f"{path} is {width} x {height} pixels, {every[0]} {columns} x {rows}: "
                "make all images one size"
            )
    image = np.stack(images)
    if (image == image[..., :1]).all():
        image = image[..., :1]
    label = np.repeat(
        np.arange(len(files), dtype=np.int32), [*map(len, files.values())]
    )
    return Classes(image, label, tuple(files))


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
    """What a folder holds that is not hidden, in the order of its code points."""
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise errors.InputError(
            f"{folder} cannot be read ({error.strerror})"
        ) from error
    return [path for path in paths if not path.name.startswith(".")]


def is_image(path: pathlib.Path) -> bool:
    """Whether it is named as an image is; it is not opened."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def _files(folder: pathlib.Path, root: pathlib.Path, least: int) -> list[pathlib.Path]:
    """The images of one class."""
    if not folder.name.isprintable():  # nor can it be written to a file of labels
        raise errors.InputError(f"{str(folder)!r}: rename it, to printable characters")
    entries = _entries(folder)
    for path in [folder, *entries]:
        if not path.resolve().is_relative_to(root.resolve()):
            raise errors.InputError(
                f"{path} leads out of {root}: copy it there instead"
            )
    for path in entries:
        if path.is_dir():
            raise errors.InputError(
                f"{path} is a folder within a class: move its images to {folder}, or "
                "the folder elsewhere"
            )
    paths = [path for path in entries if is_image(path)]
    if len(paths) < least:
        raise errors.InputError(
            f"class {folder.name!r} has {len(paths)} images ({', '.join(SUFFIXES)}) in "
            f"{folder}; at least {least} are needed"
        )
    return paths


def _read(path: pathlib.Path, most_pixels: int) -> np.ndarray:
    """uint8 [H, W, 3]."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size, refused below, and of metadata
            with opened(path, most_pixels) as image:
                return np.asarray(as_rgb(image))
    except Unusable as error:
        raise errors.InputError(f"{path} {error}") from error


class Unusable(Exception):
    """An image that cannot be learned from.

    Args:
      kind: the reason in a few words, to count by.
      text: the whole of it; comes after the name of the file.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.kind = kind
        self.text = text

    def __str__(self) -> str:
        return self.text


@contextlib.contextmanager
def opened(
    file: pathlib.Path | BinaryIO, most_pixels: int
) -> Iterator[PIL.Image.Image]:
    """Open an image whose header tells nothing against it; it is not unpacked yet.

    Raises:
      Unusable: for one whose header does, and in place of whatever goes wrong within
        the `with`.
    """
    if isinstance(file, pathlib.Path) and not file.is_file():
        # A pipe would be waited for.
        text = "cannot be read as an image: it is no file"
        raise Unusable("cannot be read", text)
    try:
        with PIL.Image.open(file, formats=_FORMATS) as image:
            _check(image, most_pixels)
            yield image
    except Unusable:
        raise
    except Exception as error:  # a damaged file raises many kinds, by where it is cut
        bomb = isinstance(error, PIL.Image.DecompressionBombError)
        kind = "too many pixels" if bomb else "cannot be read"
        text = f"cannot be read as an image ({error}): mend or remove it"
        raise Unusable(kind, text) from error


def as_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Unpacks an opened image, turned as its EXIF data says, black if transparent."""
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image.convert("RGB")
    image = image.convert("RGBA")
    black = PIL.Image.new("RGBA", image.size, "black")
    return PIL.Image.alpha_composite(black, image).convert("RGB")


def _check(image: PIL.Image.Image, most_pixels: int) -> None:
    """Refuse an image whose header shows that it is not one we read."""
    if image.width * image.height > most_pixels:
        raise Unusable(
            "too many pixels",
            f"is {image.width} x {image.height} pixels, more than {most_pixels} in "
            "all: make it smaller",
        )
    if image.mode not in _MODES:
        raise Unusable(
            "over 8 bits a channel",
            f"has pixels of kind {image.mode!r}, not of 8 bits a channel: convert it, "
            "choosing how its range becomes 0 to 255",
        )
    # Cameras add a second picture (MPO) to a JPEG, for screens that show depth.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise Unusable(
            "several pictures",
            f"holds {image.n_frames} pictures: make each a file of its own",
        )


def write_folder(classes: Classes, folder: pathlib.Path) -> None:
    """Write CLASS/00000.png, ... and labels.csv, with columns file, class, label.

    Args:
      classes: what to write; no class may be called `LABELS`.
      folder: exists, without folders of the classes' names.
    """
    with (folder / LABELS).open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["file", "class", "label"])
        for label, name in enumerate(classes.names):
            (folder / name).mkdir()
            for number, image in enumerate(classes.image[classes.label == label]):
                path = folder / name / f"{number:05d}.png"
                grey = image.shape[-1] == 1
                PIL.Image.fromarray(image[..., 0] if grey else image).save(path)
                lines.writerow([path.relative_to(folder).as_posix(), name, label])


def write_npz(classes: Classes, path: pathlib.Path) -> None:
    """Write arrays image, label and names, which need no pickle to be read."""
    names = np.array(classes.names)
    np.savez_compressed(path, image=classes.image, label=classes.label, names=names)
