"""Arrays of users: chosen by name, refused before they are read, never executed."""

import io
import pickle
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from veegan_jax.common import arrays, errors, memory
from veegan_jax.data import stacked_files


def message(path, key="", check=None) -> str:
    with pytest.raises(errors.InputError) as raised:
        arrays.read(path, key, check)
    text = str(raised.value)
    assert text.startswith(str(path))
    return text.removeprefix(str(path))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("x.csv", b"1.0,2.0\n3.0,4.0\n", "text, such as CSV"),
        ("x.txt", "é 1\n".encode() * 300, "text, such as CSV"),
        ("x.json", b'{"x": [1, 2]}', "text, such as CSV"),
        ("x.npy", b"", "empty"),
        ("x.pkl", pickle.dumps([1.0, 2.0]), "a pickle"),
        ("x.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        ("x.mat", b"MATLAB 5.0 MAT-file, Platform", "a .mat file"),
        ("x.npy.gz", b"\x1f\x8b\x08" + bytes(99), "compressed by gzip"),
        ("x.png", b"\x89PNG\r\n\x1a\n", "an image"),
        ("x.npz", b"PK\x03\x04" + bytes(99), "the first part of an .npz file"),
        ("x.dat", np.arange(99, dtype=np.float32).tobytes(), "of another format"),
    ],
)
def test_other_formats_are_named_and_those_that_work(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    text = message(tmp_path / name)
    assert text.startswith(f" is not one .npy or .npz array: it is {why}")
    assert text.endswith("; save the array by numpy.save('samples.npy', array)")


def test_an_archive_of_several_arrays_is_read_by_name(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, image=np.zeros((3, 2, 2), np.uint8), label=np.arange(3), one=7.0)
    text = message(path)
    assert text.endswith(
        " holds 3 arrays: image (uint8, 3 x 2 x 2), label (int64, 3), one (float64,"
        " one number); choose one by --key=NAME"
    )
    np.testing.assert_array_equal(arrays.read(path, "label"), [0, 1, 2])
    np.testing.assert_array_equal(arrays.read(path, "label.npy"), [0, 1, 2])
    assert message(path, "labels").startswith(" holds no array 'labels', but image (ui")
    np.save(tmp_path / "x.npy", np.arange(3))
    assert message(tmp_path / "x.npy", "x") == " holds one array: leave out --key=x"


def test_a_damaged_array_is_named_and_leaves_the_others_readable(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.arange(3), y=np.full(9, 0.1))
    whole, value = path.read_bytes(), np.float64(0.1).tobytes()
    path.write_bytes(whole.replace(value, bytes(8)))
    np.testing.assert_array_equal(arrays.read(path, "x"), [0, 1, 2])
    assert message(path, "y").startswith(": its array y cannot be read: Bad CRC-32")
    assert message(path).startswith(" holds 2 arrays: x (int64, 3), y (damaged); choo")


def test_files_of_python_2_are_read_without_a_warning(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(6.0).reshape(3, 2))
    content = path.read_bytes().replace(b"(3, 2), }  ", b"(3L, 2L), }")
    path.write_bytes(content)
    np.testing.assert_array_equal(arrays.read(path), np.arange(6.0).reshape(3, 2))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("bfloat16", "bfloat16"), ("float8_e5m2", "float8"), ("float8_e4m3fn", "float8")],
)
def test_small_floats_of_jax_are_named_with_what_to_save(tmp_path, kind, name):
    path = tmp_path / "x.npy"
    np.save(path, np.ones((2, 2, 2, 3), jnp.dtype(kind)))
    with pytest.raises(errors.InputError, match=rf"{name}.*numpy\.float32"):
        stacked_files.read(path)


def test_members_that_are_no_arrays_are_left_out(tmp_path):
    """NumPy returns their bytes."""
    path = tmp_path / "x.npz"
    file = io.BytesIO()
    np.save(file, np.arange(4.0))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "text")
    assert "a zip archive without arrays" in message(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", file.getvalue())
        archive.writestr("y.npy", b"no array")
    np.testing.assert_array_equal(arrays.read(path), np.arange(4.0))
    assert "no array 'y', but x (float64, 4)" in message(path, "y")


def test_damage_is_found_before_anything_is_read(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(100.0))
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    assert "it is cut short: 792 bytes of 800" in message(path)
    path.write_bytes(whole + whole)
    assert "928 bytes follow the first array" in message(path)
    path.write_bytes(whole.replace(b"(100,)", b"(-10,)"))
    assert "its shape is (-10,)" in message(path)
    # A header of 8 TB.
    path.write_bytes(whole[:128].replace(b"(100,), }         ", b"(1000000000000,), }"))
    assert "cut short" in message(path)
    np.save(path, np.array([{}, []], dtype=object), allow_pickle=True)
    assert "it holds Python objects, which may hide a program" in message(path)
    assert message(tmp_path) == " is no file: give a .npy or .npz file"
    assert " cannot be read: No such file" in message(tmp_path / "none.npy")


def test_whatever_numpy_saves_is_read(tmp_path, generator):
    path = tmp_path / "x.npy"
    x = generator.normal(size=(3, 2))
    fields = np.array([(1, 2.0)], dtype=[("a", "i4"), ("é", "f8")])
    turned, big = np.asfortranarray(x), x.astype(">f4")
    for array in (x, turned, big, x[:0], x[0, 0], fields):
        np.save(path, array)

        def check(*header, array=array):
            assert header == (np.shape(array), array.dtype)

        np.testing.assert_array_equal(arrays.read(path, check=check), array)
        np.savez_compressed(tmp_path / "x.npz", array)
        np.testing.assert_array_equal(arrays.read(tmp_path / "x.npz"), array)


def test_rounding_beyond_a_range_is_clipped_and_black_images_are_read(tmp_path):
    path = tmp_path / "x.npy"
    for value_range, low in (("0,1", 0.0), ("-1,1", -1.0)):
        x = np.full((2, 8, 8, 3), 1 + 1e-7)
        x[0] = low - 1e-7
        np.save(path, x)
        found = stacked_files.read(path, value_range)
        assert (found[0] == -1).all() and (found[1] == 1).all()
    np.save(path, np.full((2, 8, 8, 3), 1.001))
    with pytest.raises(errors.InputError, match="outside --range=0,1"):
        stacked_files.read(path, "0,1")
    np.save(path, np.zeros((2, 8, 8, 3), np.uint8))
    assert not stacked_files.read(path).any()


def test_more_samples_than_the_memory_holds_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "total", lambda: 4 * 10**5)
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((400, 8, 8, 3), np.uint8))
    monkeypatch.setattr(np.lib.format, "read_array", None)  # nothing is read
    with pytest.raises(errors.InputError, match=r"400 samples take .* at most 118 "):
        stacked_files.read(path)


def test_the_memory_is_the_machines_or_the_containers(tmp_path, monkeypatch):
    limits = tmp_path / "memory.max", tmp_path / "none"
    monkeypatch.setattr(memory, "_LIMITS", limits)
    whole = memory.total()
    assert 10**8 < whole < 10**15
    for text, expected in (("max\n", whole), ("1000000\n", 10**6)):
        limits[0].write_text(text)
        assert memory.total() == expected
