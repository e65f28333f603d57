"""Two processes that begin at once, where the files made on first use are missing."""

import shutil
import threading
import types
from concurrent import futures

import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl.testing import flagsaver
from support import programs, tiny
from support.image_sets import write

from veegan_jax.common import errors, files
from veegan_jax.data import images, photos
from veegan_jax.runtime import workdirs

PATIENCE = 60  # seconds, for what takes none


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "veegan_jax"


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("prepare_data")


def at_once(function):
    """What two calls return that begin together."""
    with futures.ThreadPoolExecutor(2) as threads:
        return [f.result() for f in [threads.submit(function) for _ in range(2)]]


def meet(monkeypatch, module):
    """Both decode: neither finds the other's cache."""
    barrier, decode = threading.Barrier(2, timeout=PATIENCE), module._decode

    def decode_together(*args):
        barrier.wait()
        made = decode(*args)
        barrier.wait()
        return made

    monkeypatch.setattr(module, "_decode", decode_together)


def test_two_decode_a_data_set(tmp_path, cache, monkeypatch):
    written = write(tmp_path)["train"][0]
    with monkeypatch.context() as patch:
        meet(patch, images)
        for found in at_once(lambda: images.load("mnist", "train", data_dir=tmp_path)):
            np.testing.assert_array_equal(found.image, written)
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(images, "_decode", None)
    found = images.load("mnist", "train", data_dir=tmp_path)
    np.testing.assert_array_equal(found.image, written)


def test_two_decode_photographs(tmp_path, cache, monkeypatch):
    (tmp_path / "photos").mkdir()
    folder = tiny.write_photos(tmp_path / "photos")
    with monkeypatch.context() as patch:
        meet(patch, photos)
        first, second = at_once(lambda: photos.from_folder(folder))
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]
    monkeypatch.setattr(photos, "_decode", None)
    for other in (second, photos.from_folder(folder)):
        np.testing.assert_array_equal(other.image, first.image)
        assert other.contents == first.contents


def test_two_prepare_a_data_set_and_one_waits(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(images, "has_tensorflow", lambda: True)
    waits, downloads, told = threading.Event(), [], []

    def download():
        downloads.append("mnist")
        assert waits.wait(PATIENCE)
        write(tmp_path)

    builder = types.SimpleNamespace(download_and_prepare=download)
    monkeypatch.setattr(tfds, "builder", lambda *_, **__: builder)

    def tell(text, flush):
        told.append(text)
        waits.set()

    monkeypatch.setattr(files, "print", tell, raising=False)
    # Only the main thread may set handlers; the script's main is called in two.
    monkeypatch.setattr(script.signal, "signal", lambda *_: None)
    with flagsaver.flagsaver(datasets="mnist", data_dir=str(tmp_path)):
        at_once(script.main)
    lock = tmp_path / ".mnist.lock"
    words = f"another process prepares mnist: waiting until it ends ({lock})"
    assert (told, downloads) == ([words], ["mnist"])
    line = f"mnist: 12 train and 12 test images in {tmp_path / 'mnist'}"
    assert capsys.readouterr().out.splitlines() == [line, line]


def test_another_run_that_came_first_is_compared(tmp_path, monkeypatch):
    """The other one ends between the first look and the lock."""
    lock = workdirs._lock

    def lock_late(workdir, flag):
        shutil.copy(tmp_path / "other" / "config.json", workdir)
        lock(workdir, flag)

    workdirs.claim(tmp_path / "other", {"method": "gan"})
    monkeypatch.setattr(workdirs, "_lock", lock_late)
    with pytest.raises(errors.InputError, match="method: gan there, ali now"):
        workdirs.claim(tmp_path / "run", {"method": "ali"})
