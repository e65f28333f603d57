"""The folder of what can be made again at any time, and small files in it."""

import functools
import logging
import pathlib
from collections.abc import Callable
from typing import Any, BinaryIO

from veegan_jax.common import files


def folder(cache_dir: str | None = None) -> pathlib.Path | None:
    """Return the project's folder of caches; None if this user has no home folder.

    Args:
      cache_dir: the folder that it is in; None: VEEGAN_CACHE_DIR, else XDG_CACHE_HOME,
        else ~/.cache.

    Raises:
      InputError: if it is named by a URL.
    """
    named = (
        files.user_path(cache_dir, "cache_dir")
        if cache_dir
        else files.variable_path("VEEGAN_CACHE_DIR")
        or files.variable_path("XDG_CACHE_HOME")
        or files.home_path("~/.cache")
    )
    return named / "veegan_jax" if named else None


class Caches:
    """Files of decoded images and the like. Without them, all works and takes longer.

    Args:
      cache_dir: see `folder`.

    Raises:
      InputError: if the folder is named by a URL.
    """

    def __init__(self, cache_dir: str | None) -> None:
        self._folder = folder(cache_dir)

    def read(self, name: str, load: Callable[[BinaryIO], Any]) -> Any:
        """Return what `load` reads from a cache; None if there is none."""
        return self._folder and files.load_cached(self._folder / name, load)

    def write(self, name: str, save: Callable[[BinaryIO], Any]) -> None:
        """Keep a cache for the next run; if the system refuses it, warn and go on."""
        if self._folder is None:
            _warn_once("~/.cache", "this user has no home folder")
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            files.save_atomically(self._folder / name, save)
        except OSError as error:
            _warn_once(self._folder, error.strerror or error)


@functools.cache
def _warn_once(folder: pathlib.Path | str, why: Any) -> None:
    logging.warning(
        "decoded images and measured accuracies cannot be kept in %s (%s), so every "
        "run makes them again: set VEEGAN_CACHE_DIR to a folder that can be written",
        *(folder, why),
    )
