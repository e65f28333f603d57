"""Compiled programs, kept in the user's cache folder for the next start of a script.

XLA compiles for seconds what then runs for milliseconds.
"""

import contextlib
import functools
import hashlib
import logging
import os
import pathlib
import platform
import re
from typing import Any

import jax

from veegan_jax.common import caches, files
from veegan_jax.runtime import compat, distributed

MAX_BYTES = 2**30  # a run keeps some 10 MB
_config: Any = jax.config  # its settings are not in its type


def keep() -> None:
    """Keep compiled programs from now on, unless the user set JAX's own cache.

    Raises:
      InputError: if the folder of caches is named by a URL.
    """
    if _config.jax_compilation_cache_dir or not _config.jax_enable_compilation_cache:
        return
    folder = caches.folder()
    if folder is None:
        _warn_once("~/.cache", "this user has no home folder")
        return
    # Dozens of programs compile for .05 s each, and are read in .001 s.
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    compat.use_compilation_cache(Programs(folder / "compiled"))


class Programs:
    """A folder of compiled programs, for `compat.use_compilation_cache`.

    Processes and hosts may share it. JAX's own class lets others see half a file,
    never replaces a damaged one, and if it is bounded, one process killed between two
    writes ends the writes of all.

    Args:
      folder: where they are; it is made when the first one is written.
      max_bytes: when they take more, those not used for longest are removed.
    """

    def __init__(self, folder: pathlib.Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = folder  # JAX logs it
        self._max_bytes, self._room = max_bytes, 0  # room: looked for at first use
        self._refused = False

    def get(self, key: str) -> bytes | None:
        """Return the program of JAX's key; None if it is to be compiled."""
        path = self._file(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, program = content[:32], content[32:]
        if hashlib.sha256(program).digest() != digest:
            logging.warning("%s is damaged: that program is compiled again", path)
            return None
        with contextlib.suppress(OSError):  # it may be read only
            os.utime(path)  # marks it as used
        return program

    def put(self, key: str, program: bytes) -> None:
        """Keep a program; if the system refuses it, warn once and go on."""
        if self._refused or len(program) > self._max_bytes:
            return
        content = hashlib.sha256(program).digest() + program
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(len(content))
            files.save_atomically(self._file(key), lambda file: file.write(content))
        except OSError as error:
            self._refused = True
            _warn_once(self._path, error.strerror or error)

    def _file(self, key: str) -> pathlib.Path:
        return self._path / f"{machine()}-{key[-200:]}"  # a name has 255 bytes

    def _make_room(self, size: int) -> None:
        self._room -= size
        if self._room >= 0:
            return
        found = []
        for entry in os.scandir(self._path):
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                stat = entry.stat()
                found.append((stat.st_mtime, stat.st_size, entry.path))
        total = sum(bytes_each for _, bytes_each, _ in found) + size
        if total > self._max_bytes:
            for _, bytes_each, name in sorted(found):
                pathlib.Path(name).unlink(missing_ok=True)
                total -= bytes_each
                if total <= 0.75 * self._max_bytes:
                    break
        self._room = self._max_bytes - total


@functools.cache
def machine() -> str:
    """Return a short name of this kind of CPU; hosts may share a home folder.

    XLA's code for CPUs uses the instructions and the number of cores of the machine
    that compiles it. JAX's key has a fingerprint of the devices, which need not tell
    all of them.
    """
    told = [platform.machine(), platform.processor(), str(distributed.cpu_cores())]
    with contextlib.suppress(OSError):  # there is none outside Linux
        first = pathlib.Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
        told += re.findall(
            r"(?m)^(?:vendor_id|cpu family|model|stepping|flags|Features|CPU \w+)\b.*$",
            first,
        )
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]


@functools.cache
def _warn_once(folder: pathlib.Path | str, why: Any) -> None:
    logging.warning(
        "compiled programs cannot be kept in %s (%s), so every start compiles them: "
        "set VEEGAN_CACHE_DIR to a folder that can be written, or give "
        "--nokeep_compiled",
        *(folder, why),
    )
