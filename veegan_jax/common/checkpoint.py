"""Checkpoints by orbax, and the guard that a work directory holds one run only."""

import contextlib
import datetime
import errno
import hashlib
import itertools
import json
import logging
import os
import pathlib
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from typing import Any

import filelock
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from veegan_jax.common import cluster, errors

_locks: dict[pathlib.Path, filelock.BaseFileLock] = {}  # held until the end
_prefixes = itertools.count()  # orbax keeps managers apart by them


class Checkpoints:
    """The checkpoints of one run under `directory`, the newest `keep` of them.

    With several processes all call every function and the first does the work, so
    they need no file system in common, and their number may differ from what it was
    when a checkpoint was written.
    """

    def __init__(self, directory: pathlib.Path, keep: int = 3) -> None:
        self._directory = directory.absolute()
        self._manager = None
        self._tidied = False
        if cluster.is_first():
            only_first = ocp.options.MultiprocessingOptions(
                primary_host=0,
                active_processes={0},
                barrier_sync_key_prefix=str(next(_prefixes)),
            )
            options = ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.LatestN(keep),
                enable_async_checkpointing=True,
                create=False,  # orbax does not, where one process is active
                multiprocessing_options=only_first,
            )
            with writing(self._directory):
                self._directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self._directory, options=options)

    def save(self, step: int, state: Any) -> None:
        """Writes a checkpoint in the background; it appears whole or not at all.

        Raises:
          InputError: if the disk refuses it, or refused the one before.
        """
        if self._manager and step not in self._manager.all_steps():
            arrays = _arrays(state)
            args = ocp.args.Composite(
                state=ocp.args.StandardSave(arrays),
                digest=ocp.args.JsonSave({"sha256": _digest(arrays), "keys": "data"}),
            )
            with writing(self._directory, self._kept):
                self._tidy()
                self._manager.save(step, args=args, force=True)

    def _tidy(self) -> None:
        """Deletes what saves that were killed left half written."""
        if not self._tidied:
            for path in self._directory.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(path)
            self._tidied = True

    def _kept(self) -> str:
        steps = [int(p.name) for p in self._directory.iterdir() if p.name.isdigit()]
        return f"step {max(steps)} is kept" if steps else "no step is kept yet"

    def restore(self, like: Any) -> tuple[int, Any]:
        """Reads the newest checkpoint that can be read.

        A damaged one is passed over with a warning, and the one before it is tried. If
        the run is this process's (see `claim`), the damaged one is set aside as
        `damaged-STEP`; another process's may be about to be deleted.

        Args:
          like: a state of the same shapes and types, returned when there is none.

        Returns:
          (steps taken, state).

        Raises:
          InputError: if there are checkpoints and none can be read.
        """
        found = like

        def read() -> int:
            nonlocal found
            step, found = self._restore_newest(like)
            return step

        step = cluster.first(read)
        return step, cluster.from_first(found)

    def _restore_newest(self, like: Any) -> tuple[int, Any]:
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return step, self._read(step, like)
            except Exception as error:
                # Orbax raises many kinds for a damaged file; whichever it is, the
                # checkpoint cannot be used, is kept for inspection and is named.
                path, what = self._directory / str(step), "passed over"
                if self._is_ours():
                    aside = free_name(self._directory / f"damaged-{step}")
                    path.rename(aside)
                    self._manager.reload()
                    what = f"set aside as {aside.name}"
                words = str(error).splitlines()[0][:200] if str(error) else repr(error)
                logging.warning(
                    "checkpoint %s cannot be read (%s): %s", path, words, what
                )
        if steps:
            raise errors.InputError(
                f"no checkpoint under {self._directory} can be read; give another "
                "--workdir, or move this one away to start over"
            )
        return 0, like

    def _read(self, step: int, like: Any) -> Any:
        def read(**args: Any) -> Any:
            return self._manager.restore(step, args=ocp.args.Composite(**args))

        digest = read(digest=ocp.args.JsonRestore()).digest
        # Checkpoints of before had typed keys, which need devices to be read.
        old = "keys" not in digest
        abstract = like if old else jax.eval_shape(_data, like)
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), abstract
        )
        state = read(state=ocp.args.StandardRestore(abstract)).state
        # Orbax notices a file cut short, but not one whose bytes have changed.
        if _digest(_arrays(state)) != digest["sha256"]:
            raise ValueError("its contents do not match its checksum")
        return state if old else jax.tree.map(_like, state, like)

    def _is_ours(self) -> bool:
        place = self._directory.resolve()
        return any(claimed in place.parents for claimed in _locks)

    def close(self) -> None:
        """Waits for the writes under way.

        Raises:
          InputError: if the disk refuses them.
        """
        if self._manager:
            with writing(self._directory, self._kept):
                self._manager.wait_until_finished()
            self._manager.close()


def _data(state: Any) -> Any:
    """A state with the words of its typed keys in their place."""

    def one(leaf: jax.Array) -> jax.Array:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    return jax.tree.map(one, state)


def _arrays(state: Any) -> Any:
    """A state as NumPy's arrays: orbax writes them from any number of processes."""
    return jax.device_get(_data(state))


def _like(leaf: jax.Array, like: jax.Array) -> jax.Array:
    """The inverse of `_data`, for one leaf."""
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(like))
    return leaf


def _digest(arrays: Any) -> str:
    """SHA-256 over the bytes of every array, in tree order."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(arrays):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def claim(
    workdir: pathlib.Path, identity: dict[str, Any], *, flag: str = "workdir"
) -> None:
    """Makes a work directory this run's until the process ends, and no other's.

    Args:
      workdir: created if need be.
      identity: what must be equal for the runs to be the same; JSON values.
      flag: that names the directory.

    Raises:
      InputError: if it cannot be written, is in use by another process, or holds a
        run with another identity; the message shows each difference.
    """
    cluster.first(lambda: _claim(workdir, identity, flag))


def _claim(workdir: pathlib.Path, identity: dict[str, Any], flag: str) -> None:
    _check_name(workdir, flag)
    path = workdir / "config.json"
    identity = json.loads(json.dumps(identity))  # tuples become lists, as on disk
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _compare(path, _identity(path, flag), identity, flag)
        elif (workdir / "checkpoints").exists():
            raise errors.InputError(
                f"--{flag}={workdir} holds checkpoints, but {path.name}, which says of "
                f"what run, is missing: put it back, or give another --{flag}"
            )
        _lock(workdir, flag)
        if not path.exists():
            write_atomically(path, json.dumps(identity, indent=1) + "\n")
    except OSError as error:
        why = "it is a file" if os.path.isfile(workdir) else error.strerror or error
        raise errors.InputError(
            f"--{flag}={workdir} cannot be used ({why}); give a directory that can be "
            "written"
        ) from error


def _identity(path: pathlib.Path, flag: str) -> dict[str, Any]:
    try:
        identity = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(identity, dict):
            raise ValueError(f"it holds a {type(identity).__name__}")
    except ValueError as error:  # of JSON, or of UTF-8
        raise errors.InputError(
            f"{path} is not a run's configuration ({error}): put it back as it was, or "
            f"give another --{flag}"
        ) from error
    return identity


def claimed(workdir: pathlib.Path) -> dict[str, Any]:
    """The identity of the run that a work directory holds.

    Raises:
      InputError: if it holds none.
    """
    return cluster.first(lambda: _claimed(workdir))


def _claimed(workdir: pathlib.Path) -> dict[str, Any]:
    _check_name(workdir, "workdir")
    path = workdir / "config.json"
    try:
        return _identity(path, "workdir")
    except OSError as error:
        raise errors.InputError(
            f"{workdir} is not a run's work directory: {path.name} cannot be read "
            f"({error.strerror or error}); give one that a training script filled"
        ) from error


def _check_name(workdir: pathlib.Path, flag: str) -> None:
    """Refuses what TensorStore, which writes the arrays, has no name for."""
    try:
        str(workdir.absolute()).encode()
    except UnicodeEncodeError as error:
        raise errors.InputError(
            f"--{flag}={workdir}: this name is not UTF-8 for a program with this "
            "locale; set PYTHONUTF8=1, or give a name of plain letters"
        ) from error


def places() -> list[pathlib.Path]:
    """The directories that this process has claimed."""
    return list(_locks)


def _lock(workdir: pathlib.Path, flag: str) -> None:
    """Keeps other processes out of a directory until this one ends, however it does.

    Raises:
      InputError: if another one is in it.
      OSError: if it cannot be written.
    """
    place = workdir.resolve()
    if place in _locks:
        return
    holder = workdir / ".in_use.json"
    lock = filelock.FileLock(workdir / ".in_use.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        who = "another process"
        # Written a moment after the lock is taken.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(holder.read_text(encoding="utf-8"))
            who = "process {process} on {host}, since {since}".format(**told)
        raise errors.InputError(
            f"--{flag}={workdir} is in use by {who}: wait until it ends, or give "
            f"another --{flag}"
        ) from None
    except NotImplementedError:
        logging.warning(
            "the file system of %s knows no locks: see to it that no other run uses it",
            workdir,
        )
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    told = {"process": os.getpid(), "host": socket.gethostname(), "since": now}
    write_atomically(holder, json.dumps(told) + "\n")
    _locks[place] = lock


def _compare(
    path: pathlib.Path, theirs: dict[str, Any], ours: dict[str, Any], flag: str
) -> None:
    names = sorted(set(theirs) | set(ours))
    differing = [n for n in names if theirs.get(n) != ours.get(n)]
    if differing:
        lines = [f"  {n}: {theirs.get(n)} there, {ours.get(n)} now" for n in differing]
        raise errors.InputError(
            f"--{flag}={path.parent} holds a different run:\n"
            + "\n".join(lines)
            + f"\nGive another --{flag}, or the flags of the run it holds."
        )


def write_atomically(path: pathlib.Path, text: str) -> None:
    """Writes a file so that it is never seen half written.

    Raises:
      InputError: if the disk refuses it.
    """
    temporary = path.with_name(path.name + ".part")
    with writing(path):
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def free_name(path: pathlib.Path) -> pathlib.Path:
    """A name that nothing has: that of `path`, or with -2, -3, ... behind it."""
    names = (path.with_name(f"{path.name}-{n}") for n in itertools.count(2))
    return next(p for p in itertools.chain([path], names) if not p.exists())


_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "allow larger files (ulimit -f)",
}


@contextlib.contextmanager
def writing(
    path: pathlib.Path, kept: Callable[[], str] | None = None
) -> Iterator[None]:
    """Around a write: what the disk refuses is told to whoever runs the script.

    Args:
      path: what is written.
      kept: says what is as it was, if that needs saying.

    Raises:
      InputError: if the system refuses the write.
    """
    try:
        yield
    except Exception as error:
        number = system_error(error)
        if number is None:
            raise
        words = refusal(path, number, kept() if kept else "")
        raise errors.InputError(words) from error


def refusal(path: pathlib.Path | str, number: int, kept: str = "") -> str:
    """What to tell of a write that the system refused with an error number."""
    what_to_do = _REMEDIES.get(number, "make it possible to write there")
    kept = f"; {kept}" if kept else ""
    return (
        f"{path} cannot be written ({os.strerror(number)}){kept}: {what_to_do}, then "
        "give the same command to go on"
    )


def system_error(error: BaseException) -> int | None:
    """The error number of the system behind an exception, if that is what it is."""
    if isinstance(error, OSError):
        return error.errno
    # TensorStore, which writes the arrays for orbax, has a form of its own.
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else None
