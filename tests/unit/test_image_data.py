"""Real images, read from tiny sets in tensorflow-datasets' own format, offline."""

import importlib.machinery
import importlib.util
import json
import logging
import os
import pathlib
import sys
import types

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl.testing import flagsaver
from sklearn import datasets
from support import programs
from support.image_sets import LIKE_THEM, SHAPES, write

from veegan_jax.common import errors
from veegan_jax.data import folders, images, pixels, stacked_mnist


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No data or cache of whoever runs the tests."""
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "unset"))


def load(root, dataset="mnist", split="train"):
    return images.load(dataset, split, data_dir=str(root))


def check(found: images.Images, expected):
    np.testing.assert_array_equal(found.image, expected[0])
    np.testing.assert_array_equal(found.label, expected[1])
    assert (found.image.dtype, found.label.dtype) == (np.uint8, np.int32)


@pytest.mark.parametrize("dataset", SHAPES | LIKE_THEM)
@pytest.mark.parametrize("block", [4, 1000])
def test_images_are_those_written_in_their_order(tmp_path, monkeypatch, dataset, block):
    monkeypatch.setattr(images, "_BLOCK", block)
    written = write(tmp_path, dataset)
    for split, expected in written.items():
        found = load(tmp_path, dataset, split)
        check(found, expected)
        assert (found.dataset, found.split) == (dataset, split)
    assert found.source.endswith("3.0.1, tensorflow-datasets")


def test_the_newest_version_is_read_and_a_half_prepared_one_is_not(tmp_path):
    expected = write(tmp_path)
    (tmp_path / "mnist" / "10.0.0").mkdir()
    (tmp_path / "mnist" / "4.0.0.incomplete").mkdir()
    check(load(tmp_path), expected["train"])
    (tmp_path / "mnist" / "3.0.1").rename(tmp_path / "mnist" / "10.0.1")
    newer = write(tmp_path, seed=1)  # 3.0.1 again, older than 10.0.1
    assert "10.0.1" in load(tmp_path).source
    assert not np.array_equal(newer["train"][0], load(tmp_path).image)


def _caches(tmp_path):
    return sorted(p.name for p in (tmp_path / "cache" / "veegan_jax").iterdir())


def test_a_second_load_does_not_read_the_source(tmp_path):
    expected = write(tmp_path, shards=(12,))["train"]
    check(load(tmp_path), expected)
    [path] = (tmp_path / "mnist" / "3.0.1").glob("*train*")
    times = path.stat()
    path.write_bytes(b"x" * times.st_size)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    check(load(tmp_path), expected)
    [name] = _caches(tmp_path)  # no temporary file is left
    assert name.startswith("mnist-3.0.1-train-")
    os.utime(path)
    with pytest.raises(errors.InputError, match="cannot be read"):
        load(tmp_path)


def test_changed_sources_are_decoded_again(tmp_path):
    first = write(tmp_path)["train"]
    check(load(tmp_path), first)
    changed = write(tmp_path, seed=1)["train"]
    check(load(tmp_path), changed)
    assert len(_caches(tmp_path)) == 2


@pytest.mark.parametrize("harm", ["cut", "empty", "flip", "foreign", "pickle"])
def test_a_damaged_cache_is_set_aside(tmp_path, caplog, harm):
    expected = write(tmp_path)["train"]
    load(tmp_path)
    [name] = _caches(tmp_path)
    path = tmp_path / "cache" / "veegan_jax" / name
    data = bytearray(path.read_bytes())
    if harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "flip":
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
    elif harm == "foreign":
        np.savez(path, image=np.zeros((3, 8, 8), np.uint8), label=np.zeros(3, np.int32))
    else:
        np.savez(path, image=np.array([{}]), label=np.zeros(1, np.int32))
    with caplog.at_level(logging.WARNING):
        check(load(tmp_path), expected)
    assert name in caplog.text and "set aside" in caplog.text
    assert _caches(tmp_path) == [name, name + ".damaged"]
    caplog.clear()
    check(load(tmp_path), expected)
    assert not caplog.text


def test_without_a_place_for_the_cache_images_are_there_still(
    tmp_path, caplog, monkeypatch
):
    (tmp_path / "file").touch()
    expected = write(tmp_path)["train"]
    for cache in ("file", "denied"):
        monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path / cache))
        if cache == "denied":  # root may write anywhere, so it is made up
            monkeypatch.setattr(np, "savez", _deny)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            check(load(tmp_path), expected)
        assert "VEEGAN_CACHE_DIR" in caplog.text and cache in caplog.text
    assert not list((tmp_path / "denied" / "veegan_jax").iterdir())


def _deny(*arguments, **named):
    raise PermissionError(13, "Permission denied", str(arguments or named))


def test_the_cache_is_where_it_was_said(tmp_path, monkeypatch):
    write(tmp_path)
    images.load("mnist", "test", data_dir=tmp_path, cache_dir=tmp_path / "given")
    monkeypatch.delenv("VEEGAN_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load(tmp_path)
    for place, split in (("given", "test"), ("xdg", "train")):
        [path] = (tmp_path / place / "veegan_jax").iterdir()
        assert split in path.name


@pytest.mark.parametrize("harm", ["cut", "short", "flip", "missing", "fewer", "shape"])
def test_a_damaged_source_is_named(tmp_path, harm):
    write(tmp_path, shape=(28, 27, 1) if harm == "shape" else None)
    folder = tmp_path / "mnist" / "3.0.1"
    path = folder / "mnist-train.array_record-00001-of-00002"
    data = bytearray(path.read_bytes())
    if harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "short":
        path.write_bytes(data[:100])
    elif harm == "flip":
        where = data.index(b"PNG") if b"PNG" in data else len(data) // 8
        data[where + 40] ^= 0xFF
        path.write_bytes(data)
    elif harm == "missing":
        path.unlink()
    elif harm == "fewer":
        record = json.loads((folder / "dataset_info.json").read_text())
        record["splits"][0]["shardLengths"] = ["7", "6"]
        (folder / "dataset_info.json").write_text(json.dumps(record))
    with pytest.raises(errors.InputError, match="cannot be read") as caught:
        load(tmp_path)
    message = str(caught.value)
    assert str(folder if harm == "shape" else path) in message
    assert "scripts/prepare_data.py" in message and "\n" not in message
    details = {"fewer": "5 images, not 6", "shape": "(7, 28, 27, 1), not uint8"}
    assert details.get(harm, "") in message
    assert not (tmp_path / "cache").exists()


def test_a_garbled_description_is_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "mnist" / "3.0.1" / "dataset_info.json"
    for text in ("{", '{"name": "mnist", "splits": []}'):
        path.write_text(text)
        with pytest.raises(errors.InputError, match="cannot be read") as caught:
            load(tmp_path)
        assert str(path.parent) in str(caught.value)


def test_not_prepared_says_what_to_type(tmp_path):
    (tmp_path / "empty").mkdir()
    for where in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(errors.InputError) as caught:
            load(where, "cifar10")
        message = str(caught.value)
        assert "cifar10 is not prepared under " + str(where) in message
        assert f"--datasets=cifar10 --data_dir={where}" in message
        assert "TFDS_DATA_DIR" in message and "--dataset=digits" not in message
        assert "pip install -e '.[data]'" in message


def test_tfrecord_without_tensorflow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    write(tmp_path, info={"fileFormat": "tfrecord"})
    with pytest.raises(errors.InputError, match=r"tfrecord.*pip install") as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert not images.is_prepared("mnist", str(tmp_path / "file"))
    with pytest.raises(errors.InputError, match=r"file, .* names, which is a file: "):
        load(tmp_path / "file")
    monkeypatch.setattr(pathlib.Path, "iterdir", _deny)
    with pytest.raises(errors.InputError, match=r"mnist.*Permission denied"):
        load(tmp_path)


def test_names_are_checked_and_auto_is_mnist_if_prepared(tmp_path):
    write(tmp_path)
    assert images.choose("auto", str(tmp_path)) == "mnist"
    with pytest.raises(errors.InputError, match=r"(?s)cifar10 is not .*dataset=digits"):
        images.choose("cifar10")
    assert images.is_prepared("digits") and not images.is_prepared("mnist")
    assert not images.is_prepared("cifar10", str(tmp_path))
    with pytest.raises(errors.InputError, match="=svhn must be one of mnist, fash"):
        images.choose("svhn")
    with pytest.raises(errors.InputError, match="dataset 'auto': one of mnist"):
        images.load("auto", "train")
    with pytest.raises(errors.InputError, match="split 'valid': one of train, test"):
        images.load("digits", "valid")


def test_digits_are_scikit_learns_in_two_stratified_parts():
    raw = datasets.load_digits()
    counts = dict.fromkeys(range(10), 0)
    expected = {"train": [], "test": []}
    for picture, label in zip(raw.images, raw.target, strict=True):
        counts[label] += 1
        part = "test" if counts[label] % 5 == 0 else "train"
        expected[part].append((picture, label))
    total = 0
    for split, rows in expected.items():
        found = images.load("digits", split)
        pictures, labels = zip(*rows, strict=True)
        assert found.image.shape == (len(rows), 8, 8, 1)
        assert found.image.dtype == np.uint8 and found.label.dtype == np.int32
        np.testing.assert_array_equal(found.label, labels)
        error = found.image[..., 0] - np.stack(pictures) * 255 / 16
        assert abs(error).max() <= 0.5
        assert (found.image.min(), found.image.max()) == (0, 255)
        shares = np.bincount(found.label) / np.bincount(raw.target)
        np.testing.assert_allclose(shares, 0.2 if split == "test" else 0.8, atol=0.02)
        total += len(rows)
    assert total == 1797


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("prepare_data")


@pytest.fixture
def stand_in(monkeypatch):
    """A tensorflow that is found and a builder that does as it is told."""
    module = types.ModuleType("tensorflow")
    module.__spec__ = importlib.machinery.ModuleSpec("tensorflow", None)
    monkeypatch.setitem(sys.modules, "tensorflow", module)

    def behave(download):
        def builder(name, *, data_dir, file_format):
            assert file_format == "array_record"
            return types.SimpleNamespace(
                download_and_prepare=lambda: download(data_dir, name)
            )

        monkeypatch.setattr(tfds, "builder", builder)

    return behave


def prepare(script, datasets, root):
    with flagsaver.flagsaver(datasets=datasets, data_dir=str(root)):
        script.main()


def test_prepare_data_prepares_once_and_says_what_is_there(
    script, stand_in, tmp_path, capsys
):
    stand_in(write)
    prepare(script, "mnist,cifar10", tmp_path)
    lines = [f"{n}: 12 train and 12 test images in {tmp_path / n}" for n in SHAPES]
    assert capsys.readouterr().out.splitlines() == lines
    stand_in(_deny)
    prepare(script, "mnist", tmp_path)
    assert f"mnist is already prepared in {tmp_path}" in capsys.readouterr().out


def test_prepare_data_exports_the_stacks_that_runs_train_on(script, tmp_path, capsys):
    write(tmp_path, "mnist")
    path = tmp_path / "stacks.npz"
    with flagsaver.flagsaver(export=str(path), stacks=40):
        prepare(script, "mnist", tmp_path)
        assert "40 stacks of 3 digits" in capsys.readouterr().out
        with pytest.raises(errors.InputError, match=r"--export=.*exists"):
            prepare(script, "mnist", tmp_path)
    train = images.load("mnist", "train", data_dir=str(tmp_path))
    digits = train.image[..., 0]
    drawn = stacked_mnist.sample(digits, jax.random.key(3), 500, num_stacks=40)
    with np.load(path) as file:
        listed = {x.tobytes() for x in file["image"]}
        assert file["image"].shape == (40, 28, 28, 3) and file["list_seed"] == 1000
        for image, labels in zip(file["image"], file["label"], strict=True):
            for channel, label in zip(np.moveaxis(image, 2, 0), labels, strict=True):
                same_N = (digits == channel).all(axis=(1, 2))
                assert (train.label[same_N] == label).any()
    assert {np.asarray(pixels.to_uint8(x)).tobytes() for x in drawn} == listed


def test_prepare_data_exports_digits_alone(script, tmp_path):
    for given, names, why in (
        ({"export": str(tmp_path / "x.npz")}, "cifar10", "give --datasets=mnist alone"),
        ({"stacks": 7}, "mnist", "--stacks=7: only --export reads it"),
    ):
        with (
            flagsaver.flagsaver(**given),
            pytest.raises(errors.InputError, match=why),
        ):
            prepare(script, names, tmp_path)


def test_prepare_data_writes_one_set_as_png(script, tmp_path, capsys):
    write(tmp_path, "cifar10")
    folder = tmp_path / "photos"
    with flagsaver.flagsaver(png=str(folder)):
        prepare(script, "cifar10", tmp_path)
        found = folders.read_classes(folder)
        train = images.load("cifar10", "train", data_dir=str(tmp_path))
        order = np.argsort(train.label, kind="stable")
        np.testing.assert_array_equal(found.image, train.image[order])
        labels = [int(found.names[label]) for label in found.label]
        np.testing.assert_array_equal(labels, train.label[order])
        prepare(script, "cifar10", tmp_path)
        assert f"already written in {folder}" in capsys.readouterr().out
        (folder / folders.LABELS).write_text("file,class,label\n")
        with pytest.raises(errors.InputError, match="photos exists, is not cifar10"):
            prepare(script, "cifar10", tmp_path)
        with pytest.raises(errors.InputError, match="takes one data set"):
            prepare(script, "mnist,cifar10", tmp_path)


def test_prepare_data_notices_a_set_that_cannot_be_read(script, stand_in, tmp_path):
    def cut_short(root, name):
        write(root, name)
        path = next((root / name / "3.0.1").glob("*train*"))
        path.write_bytes(path.read_bytes()[:70000])

    stand_in(cut_short)
    with pytest.raises(errors.InputError, match=r"train.*cannot be read"):
        prepare(script, "mnist", tmp_path)


def test_prepare_data_says_what_is_missing(script, stand_in, tmp_path, monkeypatch):
    stand_in(_deny)
    with pytest.raises(errors.InputError, match=r"Permission denied.*\n.*network"):
        prepare(script, "mnist", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(script.tempfile, "TemporaryFile", _deny)
        with pytest.raises(errors.InputError, match=r"new cannot be written .Permiss"):
            prepare(script, "mnist", tmp_path / "new")
    for names in ("digits", "mnist,svhn", ""):
        with pytest.raises(
            errors.InputError, match="must be one of mnist, fashion_mnist"
        ):
            prepare(script, names, tmp_path)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(errors.InputError, match=r"TensorFlow: pip install -e '.\[data"):
        prepare(script, "mnist", tmp_path)
