"""Real images as uint8 arrays: MNIST, CIFAR-10 and their like, scikit-learn's digits.

Dimension key: N images, B images of a block, H height, W width, C channels.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
import tqdm

from veegan_jax.common import caches, errors
from veegan_jax.data import prepared

SHAPES = {  # height, width, channels
    "mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
    "cifar100": (32, 32, 3),
    "digits": (8, 8, 1),
}
TITLES = {  # sets that must be prepared
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
}
CLASSES = {"cifar100": 100}  # of the others: 10
SPLITS = ("train", "test")

_BLOCK = 1000  # images read at a time
_Block = tuple[np.ndarray, np.ndarray]  # uint8 [B, H, W, C], int32 [B]


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """One split of a data set, all in memory, in the order of its files."""

    dataset: str  # one of SHAPES
    split: str  # one of SPLITS
    source: str  # its origin, one line for the records
    image: np.ndarray  # uint8 [N, H, W, C], 0 to 255
    label: np.ndarray  # int32 [N], 0 to 9 (CIFAR-100: 0 to 99, its fine labels)


def load(
    dataset: str,
    split: str,
    *,
    data_dir: str | None = None,
    cache_dir: str | None = None,
) -> Images:
    """Read a split, from its cache if the files were decoded before.

    Only sets prepared as tfrecord need TensorFlow. A cache is one file, which may be
    deleted at any time.

    Args:
      dataset: one of `SHAPES`.
      split: "train" or "test". The digits have no test set, so it is every fifth image
        of each class.
      data_dir: tensorflow-datasets' folder; None: TFDS_DATA_DIR, else
        ~/tensorflow_datasets.
      cache_dir: caches are in its folder veegan_jax; None: VEEGAN_CACHE_DIR, else
        XDG_CACHE_HOME, else ~/.cache.

    Returns:
      The images.

    Raises:
      InputError: if the set or split is unknown or not prepared, or its files cannot be
        read; the message says what to do.
    """
    _check("dataset", dataset, SHAPES)
    _check("split", split, SPLITS)
    if dataset == "digits":
        return _digits(split)
    folder = prepared.find(dataset, data_dir)
    if folder is None:
        raise prepared.not_prepared(dataset, data_dir)
    kept, name = caches.Caches(cache_dir), _cache_name(folder, split)
    block = kept.read(name, functools.partial(_read_block, dataset=dataset))
    if block is None:
        image, label = block = _decode(folder, dataset, split)
        kept.write(name, lambda file: np.savez(file, image=image, label=label))
    source = f"{TITLES[dataset]} {folder.name}, tensorflow-datasets"
    return Images(dataset, split, source, *block)


def is_prepared(dataset: str, data_dir: str | None = None) -> bool:
    """Return whether `load` would find the files of a data set; do not read them.

    Raises:
      InputError: if there is no such set, or the folder cannot be listed.
    """
    _check("dataset", dataset, SHAPES)
    return dataset == "digits" or prepared.find(dataset, data_dir) is not None


def choose(
    dataset: str, data_dir: str | None = None, among: tuple[str, ...] = tuple(SHAPES)
) -> str:
    """Return the set that a name means; "auto" is MNIST if prepared, else digits.

    If a folder is named, by data_dir or TFDS_DATA_DIR, MNIST must be there. A printed
    line says that the digits take the place of MNIST.

    Args:
      dataset: "auto", or one of `among`.
      data_dir: see `load`.
      among: the sets that may be chosen.

    Raises:
      InputError: if it is no such set (the message lists them), or it is not prepared.
        Only here may the digits take its place, as the message says.
    """
    if dataset not in ("auto", *among):
        raise errors.InputError(
            f"--dataset={dataset} must be one of {', '.join(among)} or auto"
        )
    wanted = "mnist" if dataset == "auto" else dataset
    if is_prepared(wanted, data_dir):
        return wanted
    if dataset != "auto" or prepared.naming(data_dir):
        error = prepared.not_prepared(wanted, data_dir)
        raise errors.InputError(f"{error}\n--dataset=digits needs no download.")
    print(
        f"MNIST is not prepared under {prepared.data_root(None)}, so this uses "
        "scikit-learn's 8 x 8 digits; --dataset=mnist says how to prepare it",
        flush=True,
    )
    return "digits"


def has_tensorflow() -> bool:
    """Return whether TensorFlow is installed; do not import it."""
    return importlib.util.find_spec("tensorflow") is not None


def _check(kind: str, name: str, names: Any) -> None:
    if name not in names:
        raise errors.InputError(f"unknown {kind} {name!r}: one of {', '.join(names)}")


def _digits(split: str) -> Images:
    from sklearn import datasets

    digits = datasets.load_digits()
    is_label = digits.target[:, None] == np.arange(10)
    rank = np.cumsum(is_label, axis=0)[is_label]  # 1, 2, ... within each class
    chosen = (rank % 5 == 0) == (split == "test")
    image = np.rint(digits.images[chosen, :, :, None] * (255 / 16)).astype(np.uint8)
    source = "scikit-learn's bundled 8x8 digits (1,797 images, UCI optdigits)"
    label = digits.target[chosen].astype(np.int32)
    return Images("digits", split, source, image, label)


def _decode(folder: pathlib.Path, dataset: str, split: str) -> _Block:
    """Read all of a split, with a progress bar."""
    import tensorflow_datasets as tfds

    with reading(folder, REMEDY):
        builder = tfds.builder_from_directory(folder)
        total = builder.info.splits[split].num_examples
        if builder.info.file_format.value == "array_record":
            rows = _array_records(builder, split)
        elif has_tensorflow():
            rows = tfds.as_numpy(builder.as_dataset(split=split, batch_size=_BLOCK))
        else:
            raise errors.InputError(
                f"{folder} holds tfrecord files, which need TensorFlow: pip install -e "
                "'.[data]', or prepare it in another --data_dir by "
                "scripts/prepare_data.py, whose files do not"
            )
        blocks = []
        with tqdm.tqdm(total=total, desc=f"{dataset} {split}", unit=" images") as bar:
            for row in rows:
                blocks.append(_checked(row["image"], row["label"], dataset))
                bar.update(len(row["label"]))
        if not bar.n == total > 0:
            raise ValueError(f"it holds {bar.n} images of {total}")
    image, label = map(np.concatenate, zip(*blocks, strict=True))
    return image, label


def _array_records(builder: Any, split: str) -> Iterator[dict[str, Any]]:
    """Yield images and labels block by block, without TensorFlow."""
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module

    # Pillow alone decodes 1.6 times as fast as Pillow called by tfds.
    as_bytes = {"image": tfds.decode.SkipDecoding()}
    source = builder.as_data_source(split, decoders=as_bytes)
    info = builder.info.splits[split]
    end = 0
    for path, length in zip(info.filepaths, info.shard_lengths, strict=True):
        start, end = end, end + length
        with reading(path, REMEDY):
            reader = array_record_module.ArrayRecordReader(str(path))
            held = reader.num_records()
            reader.close()
            if held != length:
                raise ValueError(f"it holds {held} images, not {length}")
            for first in range(start, end, _BLOCK):
                rows = source.__getitems__(range(first, min(first + _BLOCK, end)))
                files = (io.BytesIO(row["image"]) for row in rows)
                image = np.stack([np.asarray(PIL.Image.open(file)) for file in files])
                yield {"image": image, "label": [row["label"] for row in rows]}


def _checked(image: np.ndarray, label: Any, dataset: str) -> _Block:
    """Return a block if it fits this data set, else raise ValueError."""
    label = np.asarray(label, np.int32)
    if image.ndim == 3:  # Pillow's grey images have no channel
        image = image[..., None]
    shape = (len(label), *SHAPES[dataset])
    if image.dtype != np.uint8 or image.shape != shape:
        found = f"{image.dtype} {image.shape}"
        raise ValueError(f"the images are {found}, not uint8 {shape}")
    most = CLASSES.get(dataset, 10) - 1
    if np.any((label < 0) | (label > most)):
        raise ValueError(f"a label is not in 0 to {most}")
    return image, label


REMEDY = (
    "move the folder of its version away and prepare the set again by "
    "scripts/prepare_data.py"
)


@contextlib.contextmanager
def reading(path: os.PathLike, remedy: str) -> Iterator[None]:
    """Turn exceptions of readers and decoders into one message.

    Args:
      path: the file or folder that is read.
      remedy: what to do if it is damaged.

    Raises:
      InputError: for any exception inside; it names the path and the remedy.
    """
    try:
        yield
    except errors.InputError:
        raise
    except Exception as error:
        # A damaged file raises many kinds of exception; the remedy is the same.
        reason = (str(error) or repr(error)).splitlines()[0][:200]
        raise errors.InputError(
            f"{path} cannot be read ({reason}): if it is damaged, {remedy}"
        ) from error


def _cache_name(folder: pathlib.Path, split: str) -> str:
    """Name the cache of a split; the name changes when a source file changes."""
    with reading(folder, REMEDY):
        states = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    text = repr([(name, state.st_size, state.st_mtime_ns) for name, state in states])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{folder.parent.name}-{folder.name}-{split}-{digest}.npz"


def _read_block(file: BinaryIO, dataset: str) -> _Block:
    with np.load(file, allow_pickle=False) as arrays:
        return _checked(arrays["image"], arrays["label"], dataset)
