"""Files appear whole or not at all; damaged caches are set aside; pixels round."""

import errno
import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from veegan_jax.common import errors, files
from veegan_jax.data import pixels


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.npz"
    files.write_arrays(path, {"x": np.arange(3)})

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        files.save_atomically(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    np.testing.assert_array_equal(np.load(path)["x"], [0, 1, 2])


def test_what_is_being_written_is_removed_when_the_process_is_stopped(tmp_path):
    """As by Ctrl-C, which ends a script without any clean-up."""
    with files.temporary(tmp_path / "images") as part:
        (part / "class").mkdir(parents=True)
        (part / "class" / "0.png").touch()
        with files.temporary(tmp_path / ("ä" * 120)) as other:
            other.touch()
            files.remove_temporaries()
            assert list(tmp_path.iterdir()) == []
    part.mkdir()
    files.remove_temporaries()  # it was given back
    assert list(tmp_path.iterdir()) == [part]


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path):
    kept = tmp_path / "a.npz.00000000000000000000000000000000.part"
    old = [
        tmp_path / f"{name}.{32 * '1'}.part" for name in ("a.npz", "b.npz", "aa.npz")
    ]
    for path in (kept, *old):
        path.touch()
    for path in old:
        os.utime(path, (0, 0))
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    assert set(tmp_path.iterdir()) == {kept, *old[1:], tmp_path / "a.npz"}


def test_a_refused_write_names_the_path_of_the_user(tmp_path):
    with (
        pytest.raises(files.Refused, match=r"^out cannot be written \(File too la"),
        files.writing(pathlib.Path("out")),
        files.writing(pathlib.Path("out.part/1.png")),
    ):
        raise OSError(errno.EFBIG, "")


def test_text_is_replaced_and_a_refused_write_names_the_file(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("one", "two ±"):
        files.write_atomically(path, text)
        assert path.read_text("utf-8") == text
    missing = tmp_path / "no" / "a.txt"
    with pytest.raises(errors.InputError, match="cannot be written"):
        files.write_atomically(missing, "x")


def test_a_damaged_cache_is_set_aside_with_a_warning(tmp_path, caplog):
    path = tmp_path / "cache"
    assert files.load_cached(path, lambda file: file.read()) is None
    path.write_bytes(b"content")
    assert files.load_cached(path, lambda file: file.read()) == b"content"

    def refuse(file):
        raise ValueError("too short")

    assert files.load_cached(path, refuse) is None
    assert "cache cannot be read (too short): set aside" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["cache.damaged"]
    # NumPy's advice to load it unsafely is not passed on.
    path.write_bytes(b"no array")
    assert files.load_cached(path, lambda file: np.load(file)) is None
    assert "it is no file of NumPy" in caplog.text and "unsafe" not in caplog.text
    path.mkdir()
    (path / "x").touch()
    assert files.load_cached(path, refuse) is None
    names = ["cache.damaged", "cache.damaged-2", "cache.damaged-3"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


@pytest.mark.parametrize("array", [np.float32, jnp.float32])
def test_unit_pixels_round_to_the_nearest_and_are_clipped(array):
    image = array([-0.1, 0.0, 0.499 / 255, 0.501 / 255, 0.5, 1.0, 1.2])
    found = pixels.unit_to_uint8(image)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [0, 0, 0, 1, 128, 255, 255])


def test_where_no_file_can_be_locked_the_work_goes_on_with_a_warning(tmp_path, caplog):
    class Lock:
        lock_file = str(tmp_path / "a.lock")

        def acquire(self, timeout):
            raise NotImplementedError

    files.take_at_once(Lock())
    assert f"the file system of {tmp_path} knows no locks" in caplog.text
