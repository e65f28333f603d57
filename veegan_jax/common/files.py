"""Files: paths that users give, atomic writes, and messages for refused writes."""

import contextlib
import errno
import itertools
import logging
import os
import pathlib
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import filelock
import numpy as np

from veegan_jax.common import errors

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # or pathlib's form of one


def user_path(text: str | os.PathLike, name: str = "") -> pathlib.Path:
    """Return the path that a user gave, with `~` and `~user` as their home folders.

    Args:
      text: the path.
      name: the flag or the variable that gave it, for the message; "" if there is none.

    Raises:
      InputError: for a URL, and for a home folder that the system does not know.
    """
    given = os.fspath(text)
    shown = f"{name}={given}" if name else given
    # pathlib makes gs:/bucket of gs://bucket; a drive of Windows has one letter.
    if _URL.match(given):
        local = "" if "://" in given else f"; of a folder here, give ./{given}"
        raise errors.InputError(
            f"{shown} is a URL: only local and mounted folders can be used; mount it, "
            f"or copy it here, and give that path{local}"
        )
    path = pathlib.Path(os.path.expanduser(given))
    if given.startswith("~") and str(path).startswith("~"):
        raise errors.InputError(
            f"{shown}: the home folder of {path.parts[0]} is unknown; give the path "
            "without ~, or as ./~ if this is the name of a file"
        )
    # Without its "./" a name would mean a home folder or a URL the next time.
    odd = str(path).startswith("~") or _URL.match(str(path))
    return path.absolute() if odd else path


def variable_path(name: str) -> pathlib.Path | None:
    """Return the path in an environment variable; None if it is empty or not set.

    Raises:
      InputError: see `user_path`.
    """
    text = os.environ.get(name)
    return user_path(text, name) if text else None


def home_path(text: str) -> pathlib.Path | None:
    """Return a path that begins with ~; None if this user has no home folder.

    In a container, a user's number need not have a name or a home.
    """
    path = pathlib.Path(os.path.expanduser(text))
    return None if str(path).startswith("~") else path


def write_atomically(path: pathlib.Path, text: str) -> None:
    """Write a text file so that it is never seen half written.

    Raises:
      InputError: if the system refuses the write.
    """
    with writing(path):
        save_atomically(path, lambda file: file.write(text.encode()))


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file so that it is never seen half written.

    Raises:
      InputError: if the system refuses the write.
    """
    with writing(path):
        save_atomically(path, lambda file: np.savez(file, **arrays))


def write_compressed(path: pathlib.Path, **arrays: np.ndarray) -> None:
    """Write a compressed .npz file so that it is never seen half written.

    Raises:
      InputError: if the system refuses the write.
    """
    with writing(path):
        save_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def save_atomically(path: pathlib.Path, save: Callable[[BinaryIO], Any]) -> None:
    """Write a file so that it is never seen half written, even by several writers.

    Args:
      path: the file; its folder must exist.
      save: writes the content to the open file that it is given.

    Raises:
      OSError: if the system refuses the write.
    """
    with temporary(path) as part:
        with part.open("xb") as file:
            save(file)
        part.replace(path)


_temporaries: set[pathlib.Path] = set()
_STALE_SECONDS = 24 * 3600  # no file takes a day to write


@contextlib.contextmanager
def temporary(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Provide a free name beside `path`, for the file or folder that will replace it.

    What still has the name at the end of the block, or at `remove_temporaries`, is
    removed. So is what a process that was killed left of the same path, after a day.

    Args:
      path: the file or folder; its own folder must exist.
    """
    start = path.name[:50]  # the longest name of a file has 255 bytes
    part = path.with_name(f"{start}.{uuid.uuid4().hex}.part")
    left = re.compile(re.escape(start) + r"\.[0-9a-f]{32}\.part")
    before = time.time() - _STALE_SECONDS
    with contextlib.suppress(OSError):  # it is gone, or `part` tells the reason
        for other in path.parent.iterdir():
            if left.fullmatch(other.name) and other.lstat().st_mtime < before:
                _remove(other)
    _temporaries.add(part)
    try:
        yield part
    finally:
        _remove(part)
        _temporaries.discard(part)


def remove_temporaries() -> None:
    """Remove what is being written; the process is about to end without clean-ups."""
    for part in tuple(_temporaries):
        _remove(part)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def load_cached(path: pathlib.Path, load: Callable[[BinaryIO], Any]) -> Any:
    """Return what `load` reads from a file that can be made again, if need be.

    A damaged file gets the suffix .damaged, with a warning.

    Args:
      path: the file.
      load: reads the open file; it raises any exception if the file is damaged.

    Returns:
      What `load` returns; None if there is no such file or it is damaged.
    """
    try:
        with path.open("rb") as file:  # NumPy leaves a damaged file open
            return load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # a damaged file raises many kinds of exception
        why = str(error)
        if "pickle" in why:  # NumPy would advise to load it unsafely
            why = "it is no file of NumPy"
        # A folder, unlike a file, cannot be put in the place of an older one.
        aside = free_name(path.with_name(path.name + ".damaged"))
        with contextlib.suppress(OSError):
            path.rename(aside)
        logging.warning("%s cannot be read (%s): set aside, made again", path, why)
        return None


def take_at_once(lock: filelock.BaseFileLock) -> None:
    """Take a lock, or warn where the file system has none: the work goes on there.

    Raises:
      filelock.Timeout: if another process has it.
      OSError: if its file cannot be written.
    """
    try:
        lock.acquire(timeout=0)
    except NotImplementedError:
        logging.warning(
            "the file system of %s knows no locks: see to it that no other process "
            "uses this folder",
            pathlib.Path(lock.lock_file).parent,
        )


@contextlib.contextmanager
def alone(path: pathlib.Path, doing: str) -> Iterator[None]:
    """Let one process at a time do something; others wait, and say why.

    Args:
      path: the file that is locked; it stays.
      doing: what is done, to follow "another process".

    Raises:
      OSError: if the file cannot be written.
    """
    lock = filelock.FileLock(path)
    try:
        take_at_once(lock)
    except filelock.Timeout:
        print(f"another process {doing}: waiting until it ends ({path})", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def free_name(path: pathlib.Path) -> pathlib.Path:
    """Return a free path: `path` itself, or with -2, -3, ... appended."""
    names = (path.with_name(f"{path.name}-{n}") for n in itertools.count(2))
    return next(p for p in itertools.chain([path], names) if not p.exists())


def check_output(
    text: str | None, flag: str, *suffixes: str, make_folder: bool = False
) -> pathlib.Path | None:
    """Refuse, before any work, a file that cannot be written at its end.

    No file that exists is overwritten: it may be the user's only copy.

    Args:
      text: the path, as `--flag` gives it; "" or None: nothing is to be written.
      flag: the flag's name.
      *suffixes: those that the file may have.
      make_folder: make its folder if need be.

    Returns:
      The path, or None.

    Raises:
      InputError: naming the flag and what to give.
    """
    if not text:
        return None
    path, shown = pathlib.Path(text), f"--{flag}={text}"
    if path.suffix.lower() not in suffixes:
        raise errors.InputError(f"{shown} must end in {', '.join(suffixes)}")
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.open("xb").close()
        path.unlink()
    except FileExistsError as error:
        raise errors.InputError(
            f"{shown} exists and is not overwritten; give another or move it away"
        ) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise errors.InputError(f"{shown}: there is no such folder") from error
    except OSError as error:
        raise errors.InputError(
            f"{shown} cannot be written ({error.strerror}); give another"
        ) from error
    return path


_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "allow larger files (ulimit -f)",
}


class Refused(errors.InputError):
    """The system refused a write, with this error number."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


@contextlib.contextmanager
def writing(
    path: pathlib.Path, kept: Callable[[], str] | None = None
) -> Iterator[None]:
    """Turn a refused write within the `with` into a message for the user.

    If blocks are nested, the message names the path of the outer one.

    Args:
      path: the file or folder that is written.
      kept: returns a text that says what is unchanged.

    Raises:
      Refused: if the system refuses the write.
    """
    try:
        yield
    except Exception as error:
        number = system_error(error)
        if number is None:
            raise
        message = refusal(path, number, kept() if kept else "")
        raise Refused(message, number) from error


def refusal(path: pathlib.Path | str, number: int, kept: str = "") -> str:
    """Return the message for a write that the system refused with an error number."""
    what_to_do = _REMEDIES.get(number, "make it possible to write there")
    kept = f"; {kept}" if kept else ""
    return (
        f"{path} cannot be written ({os.strerror(number)}){kept}: {what_to_do}, then "
        "give the same command to go on"
    )


def system_error(error: BaseException) -> int | None:
    """Return the system's error number in an exception, or None."""
    if isinstance(error, OSError):
        return error.errno
    if isinstance(error, Refused):
        return error.number
    # TensorStore, which writes arrays for orbax, has its own form.
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else None
