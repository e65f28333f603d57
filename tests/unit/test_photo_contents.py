"""Photographs in the place of others of equal name, size and time are others."""

import os
import shutil

import numpy as np
import PIL.Image
import pytest
from support import tiny

from veegan_jax.common import errors
from veegan_jax.data import photos
from veegan_jax.experiments import faces
from veegan_jax.presets import resolve
from veegan_jax.runtime import workdirs


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of images, and no cache of whoever runs the tests."""
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    folder = tiny.write_photos(tmp_path / "data")
    PIL.Image.new("RGB", (9, 9), (1, 2, 3)).save(folder / "00.bmp")
    return folder


def read(data, **options):
    return faces.read(faces.Options(image_dir=str(data), **options), 8, 4)


def exchange(path):
    """Another image in the place of one, and nothing else that differs."""
    old = path.stat()
    PIL.Image.new("RGB", (9, 9), (1, 2, 4)).save(path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    new = path.stat()
    assert (new.st_size, new.st_mtime_ns) == (old.st_size, old.st_mtime_ns)


@pytest.mark.parametrize("memory_mib", [0, 100])
def test_an_image_in_the_place_of_another_is_noticed(data, memory_mib):
    first = read(data, memory_mib=memory_mib)
    exchange(data / "00.bmp")
    second = read(data, memory_mib=memory_mib)
    assert second.sha256() == first.sha256()  # names and sizes alone
    assert second.contents != first.contents
    np.testing.assert_array_equal(second.take([0])[0][0, 0, 0], (1, 2, 4))


def test_contents_do_not_depend_on_place_memory_or_damage(data, tmp_path, monkeypatch):
    first = read(data)
    copy = shutil.copytree(data, tmp_path / "copy")
    assert read(copy).contents == read(data, memory_mib=0).contents == first.contents
    for name in ("99.png", "notes.txt"):
        (copy / name).write_bytes(b"no image, still")
    assert read(copy).contents == first.contents
    # The cache holds them: nothing is read a second time.
    monkeypatch.setattr(photos, "_decode", None)
    assert read(data).contents == first.contents


def test_a_run_is_not_continued_on_other_contents(data, tmp_path):
    where = faces.Options(image_dir=str(data))
    config = resolve.resolve("gan", "faces", "quick", **tiny.FACES)
    first = read(data)
    faces.check(config, where, tmp_path / "run", first)
    identity = {"images": len(first), "sha256": first.sha256()}
    # A run that was begun before contents were compared goes on.
    workdirs.claim(tmp_path / "old" / "data", identity)
    exchange(data / "00.bmp")
    second = read(data)
    words = (
        rf"^--image_dir={data} --crop=\S+: the images are not those .* began with "
        r"\(as many, but others\): put them back or give .*, or give another --workdir$"
    )
    with pytest.raises(errors.InputError, match=words):
        faces.check(config, where, tmp_path / "run", second)
    measure = (str(data), 0, config, "")
    with pytest.raises(errors.InputError, match="was trained on other images"):
        faces.load_for_evaluation(tmp_path / "run", *measure)
    faces.check(config, where, tmp_path / "old", second)
    assert workdirs.claimed(tmp_path / "old" / "data") == identity
    faces.load_for_evaluation(tmp_path / "old", *measure)
    (data / "00.bmp").unlink()
    with pytest.raises(errors.InputError, match=r"\(images: 44 then, 43 now\): put"):
        faces.check(config, where, tmp_path / "old", read(data))
    (tmp_path / "old" / "data" / "config.json").unlink()
    with pytest.raises(errors.InputError, match=r"config\.json, which .* put it back$"):
        faces.load_for_evaluation(tmp_path / "old", *measure)
