"""Work directories: each holds one run, and one process uses it at a time."""

import contextlib
import datetime
import json
import os
import pathlib
import socket
from collections.abc import Collection
from typing import Any

import filelock

from veegan_jax.common import errors, figures, files, json_files
from veegan_jax.runtime import distributed

# The version of the files in a work directory, checkpoints included. Raise it when
# older code cannot read new files or new code cannot read older ones.
VERSION = 2

# Files of a run. Without its configuration they may be the user's own.
_WRITTEN = ("checkpoints", "metrics.jsonl", "results.json", "samples.npz")

# Names in an identity that tell its images, not its flags.
_IMAGES = {"images", "sha256", "contents_sha256", "classes", "images_sha256"}

_locks: dict[pathlib.Path, filelock.BaseFileLock] = {}  # held until the end


def claim(
    workdir: pathlib.Path,
    identity: dict[str, Any],
    *,
    flag: str = "workdir",
    source: str = "",
    newer: Collection[str] = (),
) -> None:
    """Reserve a work directory for this run until the process ends.

    Args:
      workdir: created if need be.
      identity: two runs are the same if these are equal; values of JSON types.
      flag: the flag that names the directory.
      source: the flags that name the images, if the identity has names of `_IMAGES`.
      newer: names of the identity that earlier versions did not write. A directory
        without them goes on.

    Raises:
      InputError: if the directory cannot be written, is in use by another process, or
        holds a run with another identity, when the message shows each difference;
        or if matplotlib cannot draw.
    """
    distributed.on_main_process(lambda: _claim(workdir, identity, flag, source, newer))


def _claim(
    workdir: pathlib.Path,
    identity: dict[str, Any],
    flag: str,
    source: str,
    newer: Collection[str],
) -> None:
    _check_name(workdir, f"--{flag}")
    instead = f"another --{flag}"
    figures.check()  # figures are drawn when all the work is done
    path = workdir / "config.json"
    identity = json.loads(json.dumps(identity))  # tuples become lists, as in the file
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _compare(path, _identity(path, instead), identity, flag, source, newer)
        elif held := [name for name in _WRITTEN if (workdir / name).exists()]:
            raise errors.InputError(
                f"--{flag}={workdir} holds {held[0]}, but {path.name}, which says of "
                f"what run, is missing: put it back, or give {instead}"
            )
        _lock(workdir, flag)
        if path.exists():  # perhaps since then
            _compare(path, _identity(path, instead), identity, flag, source, newer)
        else:
            text = json.dumps({"version": VERSION, **identity}, indent=1)
            files.write_atomically(path, text + "\n")
    except OSError as error:
        why = "it is a file" if os.path.isfile(workdir) else error.strerror or error
        raise errors.InputError(
            f"--{flag}={workdir} cannot be used ({why}); give a directory that can be "
            "written"
        ) from error


def _identity(path: pathlib.Path, instead: str) -> dict[str, Any]:
    identity = json_files.read(path, f"put it back as it was, or give {instead}")
    refuse_other_version(path, identity.pop("version", None), instead)
    return identity


def refuse_other_version(path: pathlib.Path, found: Any, instead: str) -> None:
    """Refuse a file or folder that another version of this code wrote.

    Args:
      path: the file or folder.
      found: the version that it states; None if it states none.
      instead: what to give, such as "another --workdir".

    Raises:
      InputError: unless the version is `VERSION`.
    """
    if found is not None and type(found) is not int:
        raise errors.InputError(
            f"{path} cannot be read (its version is {found!r}, not a whole number): "
            f"put it back as it was, or give {instead}"
        )
    if found != VERSION:
        stated = "an earlier version" if found is None else f"version {found}"
        raise errors.InputError(
            f"{path} was written by {stated} of this code, which reads version "
            f"{VERSION}: give {instead}"
        )


def claimed(workdir: pathlib.Path) -> dict[str, Any]:
    """Return the identity of the run in a work directory.

    Raises:
      InputError: if the directory holds no run.
    """
    return distributed.on_main_process(lambda: _claimed(workdir))


def _claimed(workdir: pathlib.Path) -> dict[str, Any]:
    _check_name(workdir, "")  # scripts that read a run may have no flag for it
    path = workdir / "config.json"
    if not os.path.exists(path):  # pathlib's raises if a folder cannot be searched
        raise errors.InputError(
            f"{workdir} is not a run's work directory: it has no {path.name} that can "
            "be read; give one that a training script filled"
        )
    return _identity(path, "another work directory")


def _check_name(workdir: pathlib.Path, name: str) -> None:
    """Refuse a URL, and a name that TensorStore, which writes, cannot encode."""
    files.user_path(workdir, name)
    try:
        str(workdir.absolute()).encode()
    except UnicodeEncodeError as error:
        raise errors.InputError(
            f"{name}{'=' if name else ''}{workdir}: this name is not UTF-8 for a "
            "program with this locale; set PYTHONUTF8=1, or give a name of plain "
            "letters"
        ) from error


def is_claimed(path: pathlib.Path) -> bool:
    """Return whether a path lies in a directory that this process has claimed."""
    return any(claimed in path.resolve().parents for claimed in _locks)


def instead_of(path: pathlib.Path, flag: str | None) -> str:
    """Return what to give instead of a path in a work directory, for messages.

    Scripts that read a run, which they have not claimed, may have no flag for it.
    """
    if flag is None and is_claimed(path):
        flag = "workdir"
    return f"another --{flag}" if flag else "another work directory"


def places() -> list[pathlib.Path]:
    """Return the directories that this process has claimed."""
    return list(_locks)


def _lock(workdir: pathlib.Path, flag: str) -> None:
    """Lock a directory until this process ends, however it ends.

    Raises:
      InputError: if another process has locked it.
      OSError: if it cannot be written.
    """
    place = workdir.resolve()
    if place in _locks:
        return
    holder = workdir / ".in_use.json"
    lock = filelock.FileLock(workdir / ".in_use.lock")
    try:
        files.take_at_once(lock)
    except filelock.Timeout:
        who = "another process"
        # The holder writes this file just after it takes the lock.
        with contextlib.suppress(errors.InputError, KeyError):
            found = json_files.read(holder, "")
            who = "process {process} on {host}, since {since}".format(**found)
        raise errors.InputError(
            f"--{flag}={workdir} is in use by {who}: wait until it ends, or give "
            f"another --{flag}"
        ) from None
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    owner = {"process": os.getpid(), "host": socket.gethostname(), "since": now}
    files.write_atomically(holder, json.dumps(owner) + "\n")
    _locks[place] = lock


def _compare(
    path: pathlib.Path,
    theirs: dict[str, Any],
    ours: dict[str, Any],
    flag: str,
    source: str,
    newer: Collection[str],
) -> None:
    ours = {n: v for n, v in ours.items() if n in theirs or n not in newer}
    theirs, ours = json_files.flat(theirs), json_files.flat(ours)
    names = sorted(set(theirs) | set(ours))
    differing = [n for n in names if theirs.get(n) != ours.get(n)]
    if source and differing and {n.split(".")[0] for n in differing} <= _IMAGES:
        counts = [
            f"{n}: {theirs.get(n, 0)} then, {ours.get(n, 0)} now"
            for n in differing
            if not n.endswith("sha256")  # tells a user nothing
        ]
        raise errors.InputError(
            f"{source}: the images are not those that the run in {path.parent} began "
            f"with ({', '.join(counts) or 'as many, but others'}): put them back or "
            f"give the flags of that run, or give another --{flag}"
        )
    if differing:
        lines = [f"  {n}: {theirs.get(n)} there, {ours.get(n)} now" for n in differing]
        raise errors.InputError(
            f"--{flag}={path.parent} holds a different run:\n"
            + "\n".join(lines)
            + f"\nGive another --{flag}, or the flags of the run it holds."
        )
