"""Read and write a folder that has a folder of images for each class.

Dimension key: N images, H height, W width, C channels.
"""

import contextlib
import csv
import dataclasses
import hashlib
import logging
import os
import pathlib
import stat
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import PIL.Image
import PIL.ImageOps
import tqdm

from veegan_jax.common import errors

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
# Formats that are read. PIL would go by the contents alone, and run Ghostscript for
# some of them.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_DEEP = ("I", "F")  # how the names of modes begin that have more than 8 bits
LABELS = "labels.csv"
# What systems and programs put beside the images, in lower case.
_LITTER = (
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "@recycle"),
    *("#recycle", "#snapshot", "$recycle.bin", "system volume information"),
    *("lost+found", "__pycache__"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Classes:
    """Images of several classes, class by class."""

    image: np.ndarray  # uint8 [N, H, W, C], C 1 if all are grey, else 3
    label: np.ndarray  # int32 [N], indices into `names`
    names: tuple[str, ...]  # of the classes, which are those of their folders

    def sha256(self) -> str:
        """Return the digest of the pixels, labels and names."""
        digest = hashlib.sha256(repr((self.image.shape, self.names)).encode())
        for array in (self.image, self.label):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def read_classes(
    folder: pathlib.Path, *, least: int = 1, most_pixels: int = 2**24
) -> Classes:
    """Read every image; classes and files are sorted by the code points of names.

    Images are rotated by their EXIF data, and transparent pixels become black. What
    `is_litter` names and files without an image's suffix are ignored.

    Args:
      folder: holds one folder per class, each with images, all of one size.
      least: images that a class must have.
      most_pixels: largest width times height. A larger image is refused before it is
        decoded.

    Raises:
      InputError: naming the folder or file: no folder, no classes, too few images in a
        class, a folder within a class, a link that leads out or nowhere, a file or
        folder that cannot be read, several images in a file, pixels of another kind, or
        mixed sizes.
    """
    check_folder(folder)
    entries = _entries(folder)
    classes = [path for path in entries if _is_class(path)]
    if not classes:
        raise errors.InputError(
            f"--image_dir={folder} holds no folders: make one for each class, with its "
            "images in it"
        )
    beside = [path.name for path in entries if is_image(path)]
    if beside:
        logging.warning(
            "%s: %d images beside the folders of the classes are ignored (%s)",
            *(folder, len(beside), beside[0]),
        )
    files = {path.name: _files(path, folder, least) for path in classes}
    every = [path for paths in files.values() for path in paths]
    images: list[np.ndarray] = []
    for path in tqdm.tqdm(every, desc=str(folder), unit=" images"):
        images.append(_read(path, most_pixels))
        # Check each size at once, since photographs of all sizes may not fit into
        # memory.
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
    """List what is in a folder, without litter, by the code points of names."""
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise errors.InputError(
            f"{folder} cannot be read ({error.strerror}): repair or remove it"
        ) from error
    return [path for path in paths if not is_litter(path.name)]


def check_folder(folder: pathlib.Path) -> None:
    """Refuse a path, given by --image_dir, that is not a folder.

    Raises:
      InputError: naming it; also if the system refuses to say what it is.
    """
    try:
        is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except OSError as error:
        raise errors.InputError(
            f"--image_dir={printable(str(folder))} cannot be read ({error.strerror})"
        ) from error
    if not is_folder:
        raise errors.InputError(f"--image_dir={printable(str(folder))} is not a folder")


def is_litter(name: str) -> bool:
    """Return whether a file or folder is hidden, or not the user's, by its name."""
    return name.startswith(".") or name.lower() in _LITTER


def is_image(path: pathlib.Path) -> bool:
    """Return whether a file has an image's suffix; do not open it."""
    return path.suffix.lower() in SUFFIXES and not os.path.isdir(path)


def is_within(path: str | os.PathLike, root: pathlib.Path) -> bool:
    """Return whether a path leads to a place in a folder, if it is a link."""
    # Path.resolve would raise for a link to itself.
    return pathlib.Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def printable(name: str) -> str:
    """Return a path that a terminal can show, whatever its bytes are."""
    return name if name.isprintable() else repr(name)


def _is_class(path: pathlib.Path) -> bool:
    """Return whether an entry is a folder; refuse what might be one."""
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            return False
    except OSError as error:
        nowhere = isinstance(error, FileNotFoundError | NotADirectoryError)
        if nowhere and path.suffix:  # of a file, which would be ignored
            logging.warning("%s is a link that leads nowhere: it is ignored", path)
            return False
        raise errors.InputError(
            f"{path} cannot be read ({error.strerror}): repair or remove it"
        ) from error
    if os.path.samefile(path, path.parent):
        raise errors.InputError(
            f"{path} is a link to {path.parent} itself: remove the link"
        )
    return True


def _files(folder: pathlib.Path, root: pathlib.Path, least: int) -> list[pathlib.Path]:
    """List the images of one class."""
    if not folder.name.isprintable():  # a file of labels cannot hold it
        raise errors.InputError(f"{str(folder)!r}: rename it, to printable characters")
    entries = _entries(folder)
    for path in [folder, *entries]:
        # A link that leads nowhere is named when its image is read.
        if os.path.exists(path) and not is_within(path, root):
            raise errors.InputError(
                f"{path} leads out of {root}: copy it there instead"
            )
    for path in entries:
        if os.path.isdir(path) and path.is_symlink():
            raise errors.InputError(
                f"{path} is a link to a folder, within a class: remove the link"
            )
        if os.path.isdir(path):
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
    """Read an image as uint8 [H, W, 3]."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size (refused below) and metadata
            with opened(path, most_pixels) as image:
                return np.asarray(as_rgb(image))
    except Unusable as error:
        raise errors.InputError(f"{path} {error}") from error


class Unusable(Exception):
    """An image that cannot be used for training.

    Args:
      kind: a short reason, by which files are counted.
      text: the full reason, to follow the name of the file.
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
    """Open an image and check its header; the pixels are not decoded yet.

    Raises:
      Unusable: if the header shows an image that is not supported, and for every
        exception within the `with`.
    """
    try:
        # Opening a pipe would block.
        if isinstance(file, pathlib.Path) and not stat.S_ISREG(os.stat(file).st_mode):
            raise ValueError("it is no file")
        with PIL.Image.open(file, formats=_FORMATS) as image:
            _check(image, most_pixels)
            yield image
    except Unusable:
        raise
    except Exception as error:  # a damaged file raises many kinds of exception
        bomb = isinstance(error, PIL.Image.DecompressionBombError)
        kind = "too many pixels" if bomb else "cannot be read"
        reason = error.strerror if isinstance(error, OSError) else None
        text = f"cannot be read as an image ({reason or error}): repair or remove it"
        raise Unusable(kind, text) from error


def as_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Decode an opened image, rotated by its EXIF data, black where transparent."""
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image.convert("RGB")
    image = image.convert("RGBA")
    black = PIL.Image.new("RGBA", image.size, "black")
    return PIL.Image.alpha_composite(black, image).convert("RGB")


def _check(image: PIL.Image.Image, most_pixels: int) -> None:
    """Refuse an image whose header shows that it is not supported."""
    if image.width * image.height > most_pixels:
        raise Unusable(
            "too many pixels",
            f"is {image.width} x {image.height} pixels, more than {most_pixels} in "
            "all: make it smaller",
        )
    if image.mode.startswith(_DEEP):  # PIL would clip most of them at 255
        raise Unusable(
            "over 8 bits a channel",
            f"has pixels of kind {image.mode!r}, not of 8 bits a channel: convert it, "
            "choosing how its range becomes 0 to 255",
        )
    if image.mode not in _MODES:
        raise Unusable(
            "in another mode",
            f"has pixels of kind {image.mode!r}, not one of {', '.join(_MODES)}: "
            "convert it to RGB",
        )
    # Cameras add a second image (MPO) to a JPEG, for screens that show depth.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise Unusable(
            "several images",
            f"holds {image.n_frames} images: make each a file of its own",
        )


def write_folder(classes: Classes, folder: pathlib.Path) -> None:
    """Write CLASS/00000.png, ... and labels.csv, with columns file, class, label.

    Args:
      classes: the images; no class may be called `LABELS`.
      folder: exists, and has no folders of the classes' names.
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
