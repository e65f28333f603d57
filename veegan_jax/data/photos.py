"""Photographs of any size as square uint8 images, from any folder or from CelebA.

An image is rotated by its EXIF data; grey becomes three channels, transparent pixels
become black. The largest centred square, or one of a given side, is resized by Pillow's
bicubic filter. Its support grows with the reduction, so there are no aliases (Parmar et
al. 2022, "On aliased resizing"). JPEGs far larger than needed are decoded at 1/2, 1/4
or 1/8 of their size, never below twice the final size.

Dimension key: N images, B images of a batch, H height, W width.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import pathlib
import warnings
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import PIL.Image
import tqdm

from veegan_jax.common import errors
from veegan_jax.data import folders, photo_files
from veegan_jax.runtime import distributed

MOST_PIXELS = 2**26  # of a file: 67 million, more than most cameras have
MEMORY = 2**32  # bytes; all of CelebA has 2.5e9 at 64 x 64
_BLOCK = 64  # files that a thread decodes at a time
_TRIES = 10  # files in a row that may have become unreadable
_NAMED = 3  # files named for each reason
_VERSION = 2  # of the rule above; caches of other versions are not read


@dataclasses.dataclass(frozen=True)
class Rule:
    """How a file becomes an image of the data set."""

    size: int = 64  # height and width of the result
    crop: int = 0  # side of the centred square, in the file's pixels; 0: the largest
    most_pixels: int = MOST_PIXELS  # a file with more is refused before it is decoded

    def __post_init__(self) -> None:
        if self.size < 1:
            raise errors.InputError(f"--image_size={self.size} must be at least 1")
        if self.crop < 0:
            raise errors.InputError(f"--crop={self.crop} must be at least 0")

    def read(self, file: pathlib.Path | BinaryIO) -> tuple[np.ndarray, bool]:
        """Decode one file.

        Returns:
          uint8 [H, W, 3], and whether the image was enlarged.

        Raises:
          folders.Unusable: if the file is not a supported image.
        """
        with folders.opened(file, self.most_pixels) as image:
            side, width = self.crop or min(image.size), image.width
            if min(image.size) < side:
                raise folders.Unusable(
                    "smaller than the crop",
                    f"is {image.width} x {image.height} pixels, less than "
                    f"--crop={self.crop}",
                )
            # Pillow takes the largest reduction that leaves at least this size.
            least = [-(-length * 2 * self.size // side) for length in image.size]
            image.draft(None, least)
            reduction = round(width / image.width)
            image = folders.as_rgb(image)
            kept = min(round(side / reduction), *image.size)
            left, top = (image.width - kept) // 2, (image.height - kept) // 2
            image = image.crop((left, top, left + kept, top + kept))
            image = image.resize((self.size, self.size), PIL.Image.Resampling.BICUBIC)
            return np.asarray(image), side < self.size


@dataclasses.dataclass(frozen=True, eq=False)
class Photos:
    """A fixed list of examples: the files that could be read when it was made."""

    source: str  # their origin, one line for the records
    files: photo_files.Folder | photo_files.Records  # all, usable or not
    place: np.ndarray  # int64 [N], indices of the usable files
    rule: Rule
    skipped: tuple[photo_files.Skipped, ...]  # unusable files, and files of other kinds
    enlarged: int  # how many of the N are smaller than the result
    contents: str  # SHA-256 of the bytes of all usable files, also those of no example
    image: np.ndarray | None = None  # uint8 [N, H, W, 3] if all are in memory

    def __len__(self) -> int:
        return len(self.place)

    def name(self, index: int) -> str:
        """Return the printable name of an example's file."""
        return folders.printable(self.files.names[self.place[index]])

    def take(self, index_B: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Read examples.

        A file that can no longer be read does not stop a run; the next readable example
        takes its place.

        Args:
          index_B: examples, in [0, N).

        Returns:
          uint8 [B, H, W, 3], and bool [B]: True where another example took the place.

        Raises:
          InputError: if ten in a row cannot be read, as after losing a disk.
        """
        index_B = np.asarray(index_B)
        if self.image is not None:
            return self.image[index_B], np.zeros(len(index_B), bool)
        size = self.rule.size
        image = np.empty((len(index_B), size, size, 3), np.uint8)
        replaced = np.zeros(len(index_B), bool)
        for row, index in enumerate(index_B.tolist()):
            image[row], replaced[row] = self._read_near(index)
        return image, replaced

    def _read_near(self, index: int) -> tuple[np.ndarray, bool]:
        for offset in range(_TRIES):
            place = self.place[(index + offset) % len(self)]
            try:
                return self.rule.read(self.files.open(place))[0], offset > 0
            except folders.Unusable as error:
                reason = error
        raise errors.InputError(
            f"{self.name(index)} and {_TRIES - 1} more of {self.source} can no longer "
            f"be read ({reason}): is it still there?"
        )

    def sha256(self) -> str:
        """Return the digest of the names and sizes of the files and of their rule.

        `contents` tells files apart that have these in common.
        """
        text = repr((self.rule, self.files.identity(self.place)))
        return hashlib.sha256(text.encode()).hexdigest()

    def report(self) -> str:
        """Return the skipped files by reason, a few by name; "" if there are none."""
        return _report(self.skipped, self.enlarged, len(self), self.rule.size)


def from_folder(
    folder: pathlib.Path,
    *,
    rule: Rule | None = None,
    least: int = 1,
    memory: int = MEMORY,
    cache_dir: str | None = None,
    given_by: str = "--image_dir=",
) -> Photos:
    """Read all images of a folder and its subfolders, sorted by code points of paths.

    Every file is decoded once, in threads, to find out which are usable, so that the
    index of an example is fixed. A cache keeps the outcome, and the images if they are
    held in memory, until a file changes; it may be deleted at any time. Files that
    are no images, are damaged or lead out by a link are skipped and listed by
    `Photos.report`. What `folders.is_litter` names is ignored.

    Args:
      folder: any.
      rule: how a file becomes an image; None: the largest square, 64 x 64.
      least: images needed.
      memory: bytes. If the images take more, they are not held in memory but decoded
        when needed. The examples are the same.
      cache_dir: see `images.load`.
      given_by: the start of a message on the folder; "" for an argument.

    Raises:
      InputError: if it is not a folder, or has too few usable images.
    """
    files = photo_files.list_folder(folder)
    start = f"{given_by}{folders.printable(str(folder))} has"
    if not files.names:
        raise errors.InputError(
            f"{start} no images ({', '.join(folders.SUFFIXES)}){_told(files.skipped)}"
        )
    return _read(files, start, rule or Rule(), least, memory, cache_dir)


def from_celeba(
    data_dir: str | None = None,
    *,
    split: str = "train",
    rule: Rule | None = None,
    least: int = 1,
    memory: int = MEMORY,
    cache_dir: str | None = None,
) -> Photos:
    """Read CelebA as tensorflow-datasets prepared it, in array_record files.

    Args:
      data_dir: tensorflow-datasets' folder; see `images.load`.
      split: "train", "validation" or "test".
      rule, least, memory, cache_dir: see `from_folder`.

    Raises:
      InputError: if CelebA is not prepared so, its files are damaged, or it has too few
        usable images.
    """
    files = photo_files.find_celeba(data_dir, split)
    start = f"CelebA's {split} split has"
    return _read(files, start, rule or Rule(), least, memory, cache_dir)


def _read(files, start, rule, least, memory, cache_dir) -> Photos:
    """Read the files of `from_folder` or `from_celeba`, through the cache."""
    bytes_ = len(files.names) * rule.size**2 * 3
    cache = photo_files.Cache((_VERSION, rule, files.states), cache_dir)
    found = cache.read(len(files.names))
    image = None
    if found is not None and bytes_ <= memory:
        kept = len(files.names) - len(found.skipped)
        image = cache.read_images((kept, rule.size, rule.size, 3))
    if found is None or (image is None and bytes_ <= memory):
        found, image = _decode(files, rule, bytes_ <= memory)
        cache.write(found, len(files.names), image)
    place = np.delete(np.arange(len(files.names)), [*found.skipped])
    skipped = [
        photo_files.Skipped(files.names[place], *why)
        for place, why in found.skipped.items()
    ]
    skipped = (*files.skipped, *skipped)
    if len(place) < least:
        raise errors.InputError(
            f"{start} {len(place)} usable images; at least {least} are needed"
            f"{_told(skipped)}"
        )
    source = f"{len(place)} images of {files.title}"
    return Photos(
        source, files, place, rule, skipped, found.enlarged, found.contents, image
    )


def _decode(
    files: photo_files.Folder | photo_files.Records, rule: Rule, keep: bool
) -> tuple[photo_files.Found, np.ndarray | None]:
    """Decode every file in threads, since Pillow releases Python's lock."""
    total = len(files.names)
    image = np.empty((total, rule.size, rule.size, 3), np.uint8) if keep else None

    def block(first: int) -> tuple[dict[int, tuple[str, str]], int, bytes]:
        skipped, enlarged, digests = {}, 0, b""
        for place in range(first, min(first + _BLOCK, total)):
            try:
                file = files.open(place)
                pixels, small = rule.read(file)
                digests += photo_files.sha256(file)
                enlarged += small
                if image is not None:
                    image[place] = pixels
            except folders.Unusable as error:
                skipped[place] = error.kind, error.text
        return skipped, enlarged, digests

    skipped, enlarged, contents = {}, 0, hashlib.sha256()
    threads = concurrent.futures.ThreadPoolExecutor(distributed.cpu_cores())
    # All threads share the filters of warnings, so they are set around all of them.
    with warnings.catch_warnings(), tqdm.tqdm(total=total, unit=" images") as bar:
        warnings.simplefilter("ignore")
        try:
            for more, small, digests in threads.map(block, range(0, total, _BLOCK)):
                skipped |= more
                enlarged += small
                contents.update(digests)
                bar.update(min(_BLOCK, total - bar.n))
        finally:
            threads.shutdown(cancel_futures=True)
    if image is not None and skipped:
        kept = np.delete(np.arange(total), [*skipped])
        for row, place in enumerate(kept.tolist()):  # in place, to save memory
            image[row] = image[place]
        image = image[: len(kept)]
    return photo_files.Found(skipped, enlarged, contents.hexdigest()), image


def _report(
    skipped: Sequence[photo_files.Skipped], enlarged: int, total: int, size: int
) -> str:
    by_kind = collections.defaultdict(list)
    for one in skipped:
        by_kind[one.kind].append(folders.printable(one.name))
    parts = [
        f"{len(names)} {kind} ({', '.join(names[:_NAMED])}"
        f"{', ...' if len(names) > _NAMED else ''})"
        for kind, names in sorted(by_kind.items())
    ]
    lines = [f"skipped {len(skipped)} files: {'; '.join(parts)}"] if parts else []
    if enlarged:
        lines.append(
            f"{enlarged} of {total} images are smaller than {size} x {size} pixels and "
            "were enlarged"
        )
    return "\n".join(lines)


def _told(skipped: Sequence[photo_files.Skipped]) -> str:
    report = _report(skipped, 0, 0, 0)
    return f"\n{report}" if report else ""
