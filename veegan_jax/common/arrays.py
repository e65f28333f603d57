"""Arrays that users give, in .npy and .npz files; nothing in a file is executed."""

import math
import pathlib
import warnings
import zipfile
from collections.abc import Callable
from typing import IO

import numpy as np

from veegan_jax.common import errors

# Is called before an array is read; raises InputError if it cannot be used.
Check = Callable[[tuple[int, ...], np.dtype], None]

_SAVE = "save the array by numpy.save('samples.npy', array)"
_PICKLES = f"Python objects, which may hide a program: {_SAVE}, of numbers"
_FLOATS = "array.astype(numpy.float32)"
_SMALL = {"|V2": "bfloat16", "|V1": "float8 or int4"}  # types of JAX in NumPy's files
# What other formats begin with.
_FORMATS = {
    b"\x89HDF": "HDF5, as .h5 files and new .mat files are",
    b"MATLAB": "a .mat file",
    b"\x80": "a pickle, as .pkl files and old .pt files are",
    b"PK": "the first part of an .npz file or of another zip archive",
    b"\x1f\x8b": "compressed by gzip",
    b"PAR1": "a Parquet file",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
}


def read(path: pathlib.Path, key: str = "", check: Check | None = None) -> np.ndarray:
    """Read an array of a .npy or .npz file.

    Args:
      path: the file.
      key: the name of the array in an .npz file; "" if it holds only one.
      check: is called with the shape and type before the array is read.

    Raises:
      InputError: naming the file and what is wrong with it.
    """
    try:
        if path.exists() and not path.is_file():
            raise errors.InputError(f"{path} is no file: give a .npy or .npz file")
        with path.open("rb") as file:
            start = file.read(512)
            file.seek(0)
            if start.startswith(np.lib.format.MAGIC_PREFIX):
                if key:
                    raise errors.InputError(
                        f"{path} holds one array: leave out --key={key}"
                    )
                return _read(file, path.stat().st_size, check)
            if not zipfile.is_zipfile(file):
                raise ValueError(f"it is {_format(start)}; {_SAVE}")
            with zipfile.ZipFile(file) as archive:
                return _read_member(path, archive, key, check)
    except errors.InputError:
        raise
    except OSError as error:
        raise errors.InputError(
            f"{path} cannot be read: {error.strerror or error}"
        ) from error
    except Exception as error:  # a damaged file raises many kinds of exception
        raise errors.InputError(
            f"{path} is not one .npy or .npz array: {error}"
        ) from error


def type_name(dtype: np.dtype) -> str:
    """Return the name of a type, of which NumPy's files may keep the size alone."""
    return _SMALL.get(str(dtype), str(dtype))


def as_float32(dtype: np.dtype) -> str:
    """Return the remedy for numbers that are not floats, or "" for no numbers."""
    numbers = np.issubdtype(dtype, np.integer) or str(dtype) in _SMALL
    return f": save {_FLOATS}" if numbers else ""


def _read(file: IO[bytes], size: int, check: Check | None) -> np.ndarray:
    """Read a file in the format of .npy, of `size` bytes."""
    shape, dtype = _header(file)
    if dtype.hasobject:
        raise ValueError(f"it holds {_PICKLES}")
    needed, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if held < needed:
        raise ValueError(f"it is cut short: {held} bytes of {needed}")
    if held > needed:
        raise ValueError(f"{held - needed} bytes follow the first array; save one")
    if check:
        check(shape, dtype)
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Python 2 wrote the header
        return np.lib.format.read_array(file, allow_pickle=False)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and type at the start of a file in the format of .npy."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):  # 2 has room for more fields, 3 for letters in their names
        read = np.lib.format.read_array_header_2_0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Python 2 wrote the header
            shape, _, dtype = read(file)
    except ValueError as error:
        if "'<f1'" in str(error):  # a float8 of JAX
            raise ValueError(f"NumPy cannot read its float8: save {_FLOATS}") from error
        raise
    if any(n < 0 for n in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, dtype


def _read_member(
    path: pathlib.Path, archive: zipfile.ZipFile, key: str, check: Check | None
) -> np.ndarray:
    """Read an array of an .npz file; the others may be damaged."""
    member = _choose(path, archive, key)
    try:
        with archive.open(member) as file:
            return _read(file, member.file_size, check)
    except (errors.InputError, OSError):
        raise
    except Exception as error:  # a damaged file raises many kinds of exception
        raise errors.InputError(
            f"{path}: its array {_name(member)} cannot be read: {error}"
        ) from error


def _choose(path: pathlib.Path, archive: zipfile.ZipFile, key: str) -> zipfile.ZipInfo:
    """Return the member of an .npz file that holds the array."""
    # Names with and without .npy mean the same: other programs show them with it.
    named = [m for m in archive.infolist() if key in (_name(m), m.filename)]
    if key and named and _describe(archive, named[0]):
        return named[0]
    found, described = [], []
    for member in archive.infolist():
        if kind := _describe(archive, member):
            found.append(member)
            described.append(f"{_name(member)} ({kind})")
    if not found:
        raise ValueError(f"it is a zip archive without arrays, as .pt files; {_SAVE}")
    if key or len(found) > 1:
        more = ", ..." if described[9:] else ""
        names = ", ".join(described[:9]) + more
        kind = f"no array {key!r}, but" if key else f"{len(found)} arrays:"
        raise errors.InputError(
            f"{path} holds {kind} {names}; choose one by --key=NAME"
        )
    return found[0]


def _name(member: zipfile.ZipInfo) -> str:
    """Return the name that numpy.savez was given."""
    return member.filename.removesuffix(".npy")


def _describe(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    """Return the type and shape of an array; "" if the member is not one."""
    try:
        with archive.open(member) as file:
            if file.read(6) != np.lib.format.MAGIC_PREFIX:
                return ""
            file.seek(0)
            shape, dtype = _header(file)
    except Exception:  # a damaged file raises many kinds of exception
        return "damaged" if member.filename.endswith(".npy") else ""
    return f"{type_name(dtype)}, {' x '.join(map(str, shape)) or 'one number'}"


def _format(start: bytes) -> str:
    """Describe the format of a file that begins with these bytes."""
    if not start:
        return "empty"
    for first, name in _FORMATS.items():
        if start.startswith(first):
            return name
    letters = start.decode("utf-8", "ignore")
    whole = len(letters.encode()) >= len(start) - 3  # the last one may be cut
    if whole and "".join(letters.split()).isprintable():
        return "text, such as CSV, which numpy.loadtxt(file, delimiter=',') reads"
    return "of another format, or raw numbers, which numpy.memmap and fromfile read"
