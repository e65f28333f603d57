"""CelebA as tensorflow-datasets prepares it, read and refused."""

import io
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from support.image_sets import smooth
from tensorflow_datasets.proto import tf_example_pb2

from veegan_jax.common import errors
from veegan_jax.data import photos


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No data or cache of whoever runs the tests."""
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "unset"))


def names(found):
    return [found.name(index) for index in range(len(found))]


def celeba(root, image, shards=(3, 2), *, file_format="array_record", garbage=()):
    """Writes images as CelebA's train split, in tensorflow-datasets' own format."""
    folder = root / "celeb_a" / "2.1.0"
    folder.mkdir(parents=True)
    features = {
        "image": tfds.features.Image(shape=(218, 178, 3), encoding_format="jpeg"),
        "attributes": tfds.features.FeaturesDict({"Smiling": np.bool_}),
    }
    rows = iter(enumerate(image))
    for number, length in enumerate(shards):
        end = f"{number:05d}-of-{len(shards):05d}"
        path = folder / f"celeb_a-train.array_record-{end}"
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        for _ in range(length):
            row, pixels = next(rows)
            file = io.BytesIO()
            PIL.Image.fromarray(pixels).save(file, "JPEG")
            example = tf_example_pb2.Example()
            feature = example.features.feature
            content = b"no image" if row in garbage else file.getvalue()
            feature["image"].bytes_list.value.append(content)
            feature["attributes/Smiling"].int64_list.value.append(row % 2)
            writer.write(example.SerializeToString())
        writer.close()
    split = {
        "name": "train",
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "numBytes": "1",
        "shardLengths": [str(length) for length in shards],
    }
    record = {"name": "celeb_a", "version": "2.1.0", "fileFormat": file_format}
    (folder / "dataset_info.json").write_text(json.dumps(record | {"splits": [split]}))
    tfds.features.FeaturesDict(features).save_config(folder)
    return folder


def faces(number=5):
    return np.stack([smooth(218, 178, seed) for seed in range(number)])


def by_hand(pixels, size):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG")
    square = PIL.Image.open(file).crop((0, 20, 178, 198))
    return np.asarray(square.resize((size, size), PIL.Image.Resampling.BICUBIC))


@pytest.mark.parametrize("memory", [0, photos.MEMORY])
def test_celeba_is_read_from_where_it_was_prepared(tmp_path, memory):
    images = faces()
    celeba(tmp_path, images, garbage=(1,))
    rule = photos.Rule(size=48)  # half the file's pixels would not do
    contents = set()
    for _ in range(2):  # decoded, from the cache
        found = photos.from_celeba(str(tmp_path), rule=rule, memory=memory)
        assert names(found) == [f"train[{n}]" for n in (0, 2, 3, 4)]
        expected = np.stack([by_hand(images[n], 48) for n in (4, 0, 2)])
        np.testing.assert_array_equal(found.take([3, 0, 1])[0], expected)
        assert found.report() == "skipped 1 files: 1 cannot be read (train[1])"
        title = "CelebA's train split (2.1.0, tensorflow-datasets)"
        assert found.source == f"4 images of {title}"
        copy = pickle.loads(pickle.dumps(found))
        np.testing.assert_array_equal(copy.take([3, 0, 1])[0], expected)
        assert copy.sha256() == found.sha256()
        contents.add(found.contents)
    celeba(tmp_path / "more", faces(6)[1:], garbage=(0,))
    other = photos.from_celeba(str(tmp_path / "more"), rule=rule, memory=memory)
    assert len(contents) == 1 and other.contents not in contents


def test_celeba_needs_no_tensorflow(tmp_path):
    celeba(tmp_path, faces())
    code = """
import sys
from veegan_jax.data import photos
print(photos.from_celeba(rule=photos.Rule(size=48)).take([2])[0].sum())
assert "tensorflow" not in sys.modules
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"TFDS_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) == by_hand(faces()[2], 48).sum()


def test_celeba_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match=r"not prepared under .*--image_dir"):
        photos.from_celeba()
    folder = celeba(tmp_path, faces())
    with pytest.raises(errors.InputError, match="no split 'tests': one of train"):
        photos.from_celeba(str(tmp_path), split="tests")
    with pytest.raises(errors.InputError, match="5 usable images; at least 6"):
        photos.from_celeba(str(tmp_path), least=6)
    (shard,) = folder.glob("*00001-of-*")
    whole = shard.read_bytes()
    for content in (whole[: len(whole) // 2], b"", next(folder.glob("*0-of-*"))):
        if not isinstance(content, bytes):
            content = content.read_bytes()
        shard.write_bytes(content)
        with pytest.raises(errors.InputError, match=r"00001-of-00002 cannot be read"):
            photos.from_celeba(str(tmp_path))
    shutil.rmtree(folder)
    celeba(tmp_path, faces(), file_format="tfrecord")
    with pytest.raises(errors.InputError, match="holds tfrecord files, which"):
        photos.from_celeba(str(tmp_path))


def test_a_record_that_is_damaged_later_is_replaced(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    celeba(tmp_path, faces())
    found = photos.from_celeba(str(tmp_path), rule=photos.Rule(size=48), memory=0)
    expected = found.take([0])[0]

    class Damaged:
        def __getitem__(self, place):
            if place == 4:
                raise RuntimeError("damaged")
            return source[place]

    source = found.files._open_source()
    monkeypatch.setattr(found.files, "_source", Damaged())
    image, replaced = found.take([4])
    np.testing.assert_array_equal(image, expected)
    assert replaced.tolist() == [True]
