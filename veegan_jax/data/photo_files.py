"""The files of photographs, and the cache of decoding them once.

Dimension key: N images, H height, W width.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import stat
import threading
from typing import Any, BinaryIO

import numpy as np

from veegan_jax.common import caches, errors, json_files
from veegan_jax.data import folders, images, prepared

REMEDY = "prepare CelebA again"
# A file's name and bytes, and the times in ns of its change and of its status' change.
# Only the last one cannot be set, so that a file in the place of another is noticed.
_State = tuple[str, int, int, int]


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A file that is not an example."""

    name: str
    kind: str  # a short reason, by which files are counted
    text: str  # the full reason


@dataclasses.dataclass(frozen=True)
class Found:
    """The outcome of decoding every file."""

    skipped: dict[int, tuple[str, str]]  # index of the file -> kind, text
    enlarged: int  # how many images are smaller than their result
    contents: str  # SHA-256 of the SHA-256 of each other file, in order


@dataclasses.dataclass(frozen=True, eq=False)
class Folder:
    """The files of a folder with an image's suffix, in order."""

    root: pathlib.Path
    names: list[str]  # relative paths, with "/"
    states: list[_State]
    skipped: tuple[Skipped, ...]  # files with another suffix or not to be opened

    @property
    def title(self) -> str:
        return f"the folder {folders.printable(self.root.name)}"

    def open(self, place: int) -> pathlib.Path:
        return self.root / self.names[place]

    def identity(self, place: np.ndarray) -> Any:
        """Return names and sizes of some files, whatever their folder and times."""
        return [self.states[p][:2] for p in place]


def list_folder(root: pathlib.Path) -> Folder:
    """Find the images in a folder and its subfolders; open none.

    Links to folders are not followed, nor are links to files elsewhere. What
    `folders.is_litter` names is ignored.

    Raises:
      InputError: if it is not a folder, or cannot be read.
    """
    folders.check_folder(root)
    root = root.resolve()
    states: list[_State] = []
    skipped: list[Skipped] = []

    pending = [""]  # not by recursion, since folders may be nested deeply
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = [
                    entry for entry in entries if not folders.is_litter(entry.name)
                ]
        except OSError as error:
            kind = f"folders cannot be read: {error.strerror}"
            skipped.append(Skipped(folder or ".", kind, kind))
            continue
        for entry in found:
            name = f"{folder}/{entry.name}" if folder else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name)
                    continue
                state = os.stat(entry.path)  # of a link: of what it leads to
                kind = _no_image(entry, state.st_mode, root)
            except FileNotFoundError:  # a broken link
                kind = "no file"
            except OSError as error:
                kind = f"cannot be read: {error.strerror}"
            if kind:
                skipped.append(Skipped(name, kind, kind))
            else:
                times = state.st_mtime_ns, state.st_ctime_ns
                states.append((name, state.st_size, *times))
    states.sort()
    skipped.sort(key=lambda one: one.name)
    return Folder(root, [state[0] for state in states], states, tuple(skipped))


def _no_image(entry: os.DirEntry, mode: int, root: pathlib.Path) -> str:
    """Return why an entry that is no folder is none of the images; "" if it is one."""
    if stat.S_ISDIR(mode):
        return "links to folders"
    if pathlib.Path(entry.name).suffix.lower() not in folders.SUFFIXES:
        return "not named as an image"
    if entry.is_symlink() and not folders.is_within(entry.path, root):
        return "links out of the folder"
    return "" if stat.S_ISREG(mode) else "no file"  # such as a pipe


class Records:
    """The images of one split of a set prepared as array_record files.

    Args:
      folder: the folder of the set's version.
      split: the name of the split.

    Raises:
      InputError: if there is no such split, or its files have another format.
    """

    skipped: tuple[Skipped, ...] = ()

    def __init__(self, folder: pathlib.Path, split: str) -> None:
        import tensorflow_datasets as tfds

        self.folder = folder
        self.split = split
        self.title = f"CelebA's {split} split ({folder.name}, tensorflow-datasets)"
        self._lock = threading.Lock()
        self._source: Any = None
        with images.reading(folder, REMEDY):
            info = tfds.builder_from_directory(folder).info
            if split not in info.splits:
                raise errors.InputError(
                    f"{folder} has no split {split!r}: one of {', '.join(info.splits)}"
                )
            if info.file_format.value != "array_record":
                raise errors.InputError(
                    f"{folder} holds {info.file_format.value} files, which cannot be "
                    "read in any order: prepare it in another --data_dir by\n"
                    "  tfds build celeb_a --file_format=array_record --data_dir=...\n"
                    "or give a folder of its images by --image_dir"
                )
            shards = info.splits[split]
            self._paths = [str(path) for path in shards.filepaths]
            self.states = [
                _checked_shard(pathlib.Path(path), length)
                for path, length in zip(self._paths, shards.shard_lengths, strict=True)
            ]
            self.names = [f"{split}[{n}]" for n in range(shards.num_examples)]

    def open(self, place: int) -> BinaryIO:
        """Return the file of one image.

        Raises:
          folders.Unusable: if its record cannot be read.
        """
        from tensorflow_datasets.proto import tf_example_pb2

        try:
            with self._lock:
                if self._source is None:
                    self._source = self._open_source()
                record = self._source[int(place)]
            feature = tf_example_pb2.Example.FromString(record).features.feature
            (content,) = feature["image"].bytes_list.value
            return io.BytesIO(content)
        except Exception as error:  # a damaged record raises many kinds of exception
            kind, text = "cannot be read", f"cannot be read: {error!r:.200}"
            raise folders.Unusable(kind, text) from error

    def _open_source(self) -> Any:
        """Open the raw records; tfds would also decode 50 numbers for each face."""
        from array_record.python import array_record_data_source

        return array_record_data_source.ArrayRecordDataSource(self._paths)

    def identity(self, place: np.ndarray) -> Any:
        """Return shards and indices of some images, whatever their folder and times."""
        return self.split, [state[:2] for state in self.states], place.tolist()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_source": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def find_celeba(data_dir: str | None, split: str) -> Records:
    """Find CelebA in tensorflow-datasets' folder.

    Raises:
      InputError: if it is not there; the message says what to do.
    """
    folder = prepared.find("celeb_a", data_dir)
    if folder is None:
        raise errors.InputError(
            f"{prepared.missing('celeb_a', data_dir)}, or any folder of images by "
            "--image_dir"
        )
    return Records(folder, split)


def _checked_shard(path: pathlib.Path, length: int) -> _State:
    from array_record.python import array_record_module

    with images.reading(path, REMEDY):
        reader = array_record_module.ArrayRecordReader(str(path))
        held = reader.num_records()
        reader.close()
        if held != length:
            raise ValueError(f"it holds {held} images, not {length}")
        state = path.stat()
    return path.name, state.st_size, state.st_mtime_ns, state.st_ctime_ns


class Cache:
    """The cached outcome of decoding some files by some rule.

    Args:
      key: identifies the files and the rule.
      cache_dir: see `images.load`.
    """

    def __init__(self, key: Any, cache_dir: str | None) -> None:
        digest = hashlib.sha256(repr(key).encode(errors="surrogateescape"))
        name = f"photos-{digest.hexdigest()[:16]}"
        self._index, self._images = f"{name}.json", f"{name}.npy"
        self._caches = caches.Caches(cache_dir)

    def read(self, total: int) -> Found | None:
        """Return the outcome that was written for so many files, or None."""

        def load(file: BinaryIO) -> Found:
            record = json_files.parse(file.read())
            skipped = {int(p): (str(k), str(t)) for p, k, t in record["skipped"]}
            if record["total"] != total or not all(0 <= p < total for p in skipped):
                raise ValueError("it is of other files")
            return Found(skipped, int(record["enlarged"]), str(record["contents"]))

        return self._caches.read(self._index, load)

    def read_images(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return the images of this shape that were written, or None."""

        def load(file: BinaryIO) -> np.ndarray:
            image = np.load(file, allow_pickle=False)
            if image.dtype != np.uint8 or image.shape != shape:
                raise ValueError(f"it holds {image.dtype} {image.shape}, not {shape}")
            return image

        return self._caches.read(self._images, load)

    def write(self, found: Found, total: int, image: np.ndarray | None) -> None:
        """Keep all for the next run; if the system refuses it, warn and go on."""
        rows = [[place, *why] for place, why in sorted(found.skipped.items())]
        record = dataclasses.asdict(found) | {"total": total, "skipped": rows}
        if image is not None:
            self._caches.write(self._images, lambda file: np.save(file, image))
        index = json.dumps(record).encode()
        self._caches.write(self._index, lambda file: file.write(index))


def sha256(file: pathlib.Path | BinaryIO) -> bytes:
    """Return the digest of what `Folder.open` or `Records.open` returned.

    Raises:
      folders.Unusable: if it cannot be read.
    """
    try:
        with file.open("rb") if isinstance(file, pathlib.Path) else file as content:
            content.seek(0)
            return hashlib.file_digest(content, "sha256").digest()
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
        raise folders.Unusable("cannot be read", text) from error
