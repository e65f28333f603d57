"""Does it drop modes of 1,000? Scores stacked digits made by any model.

    python scripts/eval_stacked_mnist.py images.npy

The argument is the work directory of train_stacked_mnist.py, or a .npy, or an .npz of
one array (else --key names it), of shape [number of samples, 28, 28, 3 or 4]: uint8 in
0 to 255, or floats in --range. The script prints each metric beside the oracle, which
is the score of stacks of real test digits, and beside the floor, which is the expected
score of true samples without errors of the classifier. The papers score 26,000 samples:
eleven seconds on two CPU cores. Compare KLs and Vendi scores only for the same number
of samples and the same classifier. Images of 32 x 32 pixels are taken for MNIST's with
a padding of two, which is cut off. Images of 8 x 8 pixels are scored as stacks of
scikit-learn's digits. Files that exist are not overwritten.
"""

import os
import pathlib

import early  # noqa: F401
import numpy as np
from absl import flags

from veegan_jax.classifier import files as classifier_files
from veegan_jax.common import figures, files, plots, records
from veegan_jax.common import flags as common_flags
from veegan_jax.data import images, pixels, stacked_files
from veegan_jax.metrics import stacked_mnist as stacked_mnist_metrics
from veegan_jax.runtime import program

DATASET = flags.DEFINE_string(
    "dataset", "auto", "mnist (28 x 28), digits (8 x 8), or auto: by the images' size"
)
CLASSIFIER = common_flags.define_path(
    "classifier", None, "file of the classifier (default: the pinned one)"
)
RANGE = flags.DEFINE_enum(
    "range",
    None,
    list(stacked_files.RANGES),
    "of float pixels (default: -1,1 if any is negative)",
)
SAMPLES = common_flags.define_number(
    "samples",
    0,
    "how many, from a work directory; 0: 26 for each mode",
    within="[0, inf)",
)
STEP = common_flags.define_number(
    "step", 0, "of a work directory's checkpoint; 0: the newest", within="[0, inf)"
)
OUTPUT = common_flags.define_path(
    "output", None, "also write the record to this new JSON file"
)
KEY = flags.DEFINE_string("key", "", "name of the array, in an .npz of several")
FIGURE = common_flags.define_path(
    "figure", None, "also draw images to this new file, PNG, PDF or SVG"
)
DATA_DIR = common_flags.define_path(
    "data_dir", None, "tensorflow-datasets' folder (default: TFDS_DATA_DIR)"
)


def from_run(workdir: pathlib.Path) -> np.ndarray:
    """Draw `--samples` stacked images from a run of train_stacked_mnist.py."""
    from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment

    return stacked_mnist_experiment.load_samples(workdir, SAMPLES.value, STEP.value)


def main(name: str) -> None:
    output = files.check_output(OUTPUT.value, "output", ".json")
    figure = files.check_output(FIGURE.value, "figure", *figures.SUFFIXES)
    path = pathlib.Path(name)
    label = figures.one_line(path.absolute().name)
    if os.path.isdir(path):  # Path.is_dir would raise for some names
        common_flags.refuse("samples of a run are uint8", "range", "key")
        x_NHWC = from_run(path)
    else:
        common_flags.refuse("all images of a file are scored", "samples", "step")
        x_NHWC = stacked_files.read(path, RANGE.value, KEY.value)
    x_NHWC, cut = stacked_files.cropped(x_NHWC)
    dataset = stacked_files.dataset_of(x_NHWC.shape, DATASET.value)
    if dataset == "digits":
        common_flags.refuse("the digits come with scikit-learn", "data_dir")
    file = pathlib.Path(CLASSIFIER.value) if CLASSIFIER.value else None
    classifier = classifier_files.ready(dataset, file, DATA_DIR.value)
    truth = stacked_mnist_metrics.truth(
        classifier, len(x_NHWC), DATA_DIR.value, x_NHWC.shape[-1]
    )
    record = stacked_mnist_metrics.make_record(x_NHWC, truth)
    print(
        f"{len(x_NHWC)} samples of stacked {dataset}; classifier of "
        f"{classifier.test_accuracy:.2f} % on test images, {classifier.sha256[:12]}\n"
    )
    if cut:
        print(f"{cut}\n")
    print(stacked_mnist_metrics.table(record, label))
    if output:
        records.write(output, {**records.provenance(), "file": name, **record})
    if figure:
        test = images.load(dataset, "test", data_dir=DATA_DIR.value)
        rows = {
            label: np.asarray(pixels.to_uint8(x_NHWC[:64])),
            "real": stacked_mnist_metrics.oracle_images(test, 64, x_NHWC.shape[-1]),
        }
        plots.image_grid(rows, figure)


if __name__ == "__main__":
    program.run(main, "file of images: eval_stacked_mnist.py images.npy")
