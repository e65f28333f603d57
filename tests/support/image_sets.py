"""Tiny image data sets in tensorflow-datasets' own format."""

import io
import json
import pathlib

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.proto import tf_example_pb2

SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
LIKE_THEM = {"fashion_mnist": (28, 28, 1), "cifar100": (32, 32, 3)}


def write(
    root: pathlib.Path, dataset="mnist", shards=(7, 5), *, seed=0, shape=None, info=None
):
    """Writes `sum(shards)` random images to both splits; returns split -> arrays."""
    random = np.random.default_rng(seed)
    shapes = SHAPES | LIKE_THEM
    shape = shape or shapes[dataset]
    classes = 100 if dataset == "cifar100" else 10
    folder = root / dataset / "3.0.1"
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for split in ("train", "test"):
        image = random.integers(0, 256, (sum(shards), *shape), np.uint8)
        label = random.integers(0, classes, sum(shards))
        written[split] = image, label
        rows = iter(zip(image, label, strict=True))
        for number, length in enumerate(shards):
            end = f"{number:05d}-of-{len(shards):05d}"
            path = folder / f"{dataset}-{split}.array_record-{end}"
            writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
            for _ in range(length):
                writer.write(_example(*next(rows)))
            writer.close()
    record = {
        "name": dataset,
        "version": "3.0.1",
        "fileFormat": "array_record",
        "splits": [
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": "1",
                "shardLengths": [str(length) for length in shards],
            }
            for split in written
        ],
    }
    (folder / "dataset_info.json").write_text(json.dumps(record | (info or {})))
    features = {"image": tfds.features.Image(shape=shapes[dataset])}
    features["label"] = tfds.features.ClassLabel(num_classes=classes)
    tfds.features.FeaturesDict(features).save_config(folder)
    return written


def _example(image: np.ndarray, label: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(image.squeeze()).save(file, "PNG")
    example = tf_example_pb2.Example()
    example.features.feature["image"].bytes_list.value.append(file.getvalue())
    example.features.feature["label"].int64_list.value.append(int(label))
    return example.SerializeToString()


def smooth(height, width, seed=0):
    """uint8 [H, W, 3] that JPEG keeps and every filter agrees on."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(3 * x + 2 * y + seed + c) for c in range(3)]
    return np.uint8(np.rint(127.5 + 120 * np.stack(waves, axis=-1)))
