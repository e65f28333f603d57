"""Download MNIST, CIFAR-10 or their like once, in the form that all scripts read.

    pip install -e '.[data]'
    python scripts/prepare_data.py --datasets=mnist,cifar10
    python scripts/prepare_data.py --datasets=cifar10 --png=photos
        Also its 50,000 training images as PNG, a folder a class: something to try
        train_celeba.py and lgan_generate.py on. Half a minute, 200 MB.

    python scripts/prepare_data.py --datasets=mnist --export=stacks.npz
        Also Stacked MNIST as a file for other code: the fixed list of stacks that
        --num_stacks trains on, uint8 [stacks, 28, 28, 3], and the label of each digit.

Also fashion_mnist and cifar100. They go to --data_dir, else to TFDS_DATA_DIR, else to
~/tensorflow_datasets. The other scripts look there too, and need no TensorFlow. MNIST
is 12 MB to download and 27 on disk, CIFAR-10 170 and 144. On two CPU cores MNIST takes
a minute after the download. The script reads every image back: expect 60,000 train and
10,000 test images of MNIST, 50,000 and 10,000 of CIFAR-10. It does not touch a data set
that is already prepared.
Without a network, tensorflow-datasets gives up after four minutes.
"""

import logging
import os
import pathlib
import signal
import tempfile

import early  # noqa: F401
import numpy as np
from absl import flags

from veegan_jax.common import errors, files, memory
from veegan_jax.common import flags as common_flags
from veegan_jax.data import folders, images, prepared, stacked_mnist
from veegan_jax.runtime import program

DATASETS = flags.DEFINE_string(
    "datasets", "mnist", f"data sets to prepare, of {', '.join(images.TITLES)}"
)
DATA_DIR = common_flags.define_path(
    "data_dir", None, "where they go; default TFDS_DATA_DIR, else ~/tensorflow_datasets"
)
PNG = common_flags.define_path(
    "png", None, "also write the training images of one data set there, as PNG"
)
EXPORT = common_flags.define_path(
    "export", None, "also write stacks of one data set of digits to this new .npz file"
)
STACKS = common_flags.define_number(
    "stacks", 50_000, "how many to export; 128,000 is common, too", within="[1, 10**7]"
)
DIGITS = common_flags.define_number(
    "digits", 3, "of an exported stack: 3, or 4", within="[3, 4]"
)


def export(dataset: str, path: pathlib.Path) -> None:
    """Write the fixed list of stacks of the training images to a new file.

    Raises:
      InputError: if the file cannot be written, or the memory cannot hold it.
    """
    train = images.load(dataset, "train", data_dir=DATA_DIR.value)
    num, digits = STACKS.value, DIGITS.value
    each = 2 * digits * train.image[0].size
    memory.check_samples(f"--stacks={num}", num, each)
    places = np.arange(num, dtype=np.int32)
    index_NC = np.asarray(stacked_mnist.listed(len(train.label), places, digits))
    with files.writing(path):
        files.save_atomically(
            path,
            lambda file: np.savez(
                file,
                image=np.moveaxis(train.image[index_NC, :, :, 0], 1, 3),
                label=train.label[index_NC],
                list_seed=stacked_mnist.LIST_SEED,
            ),
        )
    print(
        f"{num:,} stacks of {digits} digits of {train.source} in {path}: image, label; "
        f"the list's seed is {stacked_mnist.LIST_SEED}"
    )


def write_png(dataset: str, folder: pathlib.Path) -> None:
    """Write the training images of a prepared data set, a folder of PNG a class.

    Raises:
      InputError: if the folder cannot be written, or holds something else.
    """
    train = images.load(dataset, "train", data_dir=DATA_DIR.value)
    if os.path.lexists(folder):
        if not holds(folder, len(train.label)):
            raise errors.InputError(
                f"--png={folder} exists, is not {dataset}, and is not overwritten; "
                "give another"
            )
        print(f"{dataset} is already written in {folder}")
        return
    present, label = np.unique(train.label, return_inverse=True)
    made = folders.Classes(train.image, label, tuple(map(str, present)))
    with files.writing(folder), files.temporary(folder) as part:
        part.mkdir(parents=True)
        folders.write_folder(made, part)
        part.rename(folder)
    print(f"{dataset}: {len(train.label):,} train images in {folder}")


def holds(folder: pathlib.Path, num: int) -> bool:
    """Return whether a folder is one that `write_png` wrote, of so many images."""
    listing = folder / folders.LABELS  # of the files; a header comes first
    return listing.is_file() and len(listing.read_bytes().splitlines()) == num + 1


def prepare(dataset: str, root: pathlib.Path) -> None:
    """Download one data set and write it as array_record files.

    Raises:
      InputError: if TensorFlow is missing, the folder cannot be written, or the set
        cannot be downloaded or converted.
    """
    if not images.has_tensorflow():
        raise errors.InputError(
            f"preparing {dataset} needs TensorFlow: pip install -e '.[data]'"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):  # its name is nobody else's
            pass
    except OSError as error:
        raise errors.InputError(
            f"--data_dir={root} cannot be written ({error.strerror}); give another"
        ) from error
    # tensorflow-datasets would fail at the end, when it finds what another prepared.
    with files.alone(root / f".{dataset}.lock", f"prepares {dataset}"):
        if not images.is_prepared(dataset, str(root)):
            _download(dataset, root)


def _download(dataset: str, root: pathlib.Path) -> None:
    import tensorflow_datasets as tfds

    # Without a network there are dozens of attempts; do not log each of them.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # Its interrupted parts are then removed.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        builder = tfds.builder(dataset, data_dir=root, file_format="array_record")
        builder.download_and_prepare()
    except Exception as error:
        # Downloading, unpacking and converting raise many kinds of exceptions.
        raise errors.InputError(
            f"{dataset} could not be downloaded and prepared in {root}: {error}\nCheck "
            "the network and the space on the disk and run the same command again, or "
            "copy a prepared folder there."
        ) from error


def prepare_and_count(name: str, root: pathlib.Path) -> None:
    """Prepare one data set and read every image back."""
    prepare(name, root)
    counts = [
        f"{len(images.load(name, split, data_dir=DATA_DIR.value).label):,} {split}"
        for split in images.SPLITS
    ]
    print(f"{name}: {' and '.join(counts)} images in {root / name}")


def main() -> None:
    names = [name.strip() for name in DATASETS.value.split(",")]
    for name in names:
        if name not in images.TITLES:
            raise errors.InputError(
                f"--datasets={DATASETS.value}: {name!r} must be one of "
                f"{', '.join(images.TITLES)}"
            )
    if PNG.value is not None and len(names) > 1:
        raise errors.InputError(
            f"--png={PNG.value} takes one data set, and --datasets={DATASETS.value} "
            f"names {len(names)}; give one"
        )
    exported = files.check_output(EXPORT.value, "export", ".npz")
    if exported and names != ["mnist"]:
        raise errors.InputError(
            f"--export={exported} stacks digits: give --datasets=mnist alone"
        )
    if not exported:
        common_flags.refuse("only --export reads it", "stacks", "digits")
    root = files.user_path(prepared.data_root(DATA_DIR.value))  # else without a home: ~
    for name in names:
        if images.is_prepared(name, DATA_DIR.value):
            print(f"{name} is already prepared in {root / name}")
        else:
            prepare_and_count(name, root)
        if PNG.value is not None:
            write_png(name, pathlib.Path(PNG.value))
        if exported:
            export(name, exported)


if __name__ == "__main__":
    program.run(main)
