"""Checkpoints of a run, written by orbax.

Orbax takes half a second to import, so it is imported where the first checkpoint is
written or read, and not before the first step.
"""

import functools
import hashlib
import itertools
import logging
import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from veegan_jax.common import errors, files
from veegan_jax.runtime import distributed, workdirs

_prefixes = itertools.count()  # orbax needs another one for each manager


def newest(directory: pathlib.Path) -> int:
    """Return the step of the newest checkpoint in a folder, whole or not; or 0."""
    names = (path.name for path in directory.glob("*"))
    return max((int(name) for name in names if name.isdecimal()), default=0)


class Checkpoints:
    """The newest checkpoints of one run.

    With several processes, all call every method and the main process does the work.
    So they need no common file system, and a checkpoint of any number of processes can
    be read by any other number.

    Args:
      directory: where they are.
      keep: how many are kept.
      flag: the flag that names the directory or one above it, for messages; None:
        --workdir if this process has claimed that, else no flag.
    """

    def __init__(
        self, directory: pathlib.Path, keep: int = 3, *, flag: str | None = None
    ) -> None:
        self._directory, self._flag = directory.absolute(), flag
        self._keep, self._tidied = keep, False
        if distributed.is_main_process():
            with files.writing(self._directory):
                self._directory.mkdir(parents=True, exist_ok=True)

    @functools.cached_property
    def _manager(self) -> Any:
        """Return orbax's manager; only the main process has one."""
        import orbax.checkpoint as ocp

        main_only = ocp.options.MultiprocessingOptions(
            primary_host=0,
            active_processes={0},
            barrier_sync_key_prefix=str(next(_prefixes)),
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(self._keep),
            enable_async_checkpointing=True,
            create=False,  # orbax cannot if only one process is active
            multiprocessing_options=main_only,
        )
        return ocp.CheckpointManager(self._directory, options=options)

    def save(self, step: int, state: Any) -> None:
        """Write a checkpoint in the background; it is never seen half written.

        Raises:
          InputError: if the system refuses this write or refused the one before.
        """
        if not distributed.is_main_process():
            return
        import orbax.checkpoint as ocp

        if step not in self._manager.all_steps():
            arrays = _arrays(state)
            args = ocp.args.Composite(
                state=ocp.args.StandardSave(arrays),
                digest=ocp.args.JsonSave(
                    {"sha256": _digest(arrays), "version": workdirs.VERSION}
                ),
            )
            with files.writing(self._directory, self._kept):
                self._tidy()
                self._manager.save(step, args=args, force=True)

    def _tidy(self) -> None:
        """Delete the unfinished checkpoints of killed processes."""
        if not self._tidied:
            for path in self._directory.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(path)
            self._tidied = True

    def _kept(self) -> str:
        step = newest(self._directory)
        return f"step {step} is kept" if step else "no step is kept yet"

    def restore(self, like: Any, step: int = 0) -> tuple[int, Any]:
        """Read the newest checkpoint that is not damaged, or the one of a step.

        A damaged one is passed over with a warning. If this process has claimed the
        work directory, the damaged one is renamed to `damaged-STEP`. In another
        process's directory it stays, since it may only be half deleted.

        Args:
          like: a state of the same shapes and types, or in a single process these
            alone; returned if there is no checkpoint.
          step: of the checkpoint; 0: the newest.

        Returns:
          (steps taken, state).

        Raises:
          InputError: if there are checkpoints and all are damaged, if another version
            of this code wrote them, or if there is none of the step.
        """
        found = like

        def read() -> int:
            nonlocal found
            done, found = self._restore(like, step)
            return done

        done = distributed.on_main_process(read)
        return done, distributed.from_main_process(found)

    def _restore(self, like: Any, wanted: int) -> tuple[int, Any]:
        if not any(self._directory.iterdir()):  # a new run
            return 0, like
        steps = sorted(self._manager.all_steps(), reverse=True)
        if wanted:
            if wanted not in steps:
                raise errors.InputError(
                    f"--step={wanted}: no such checkpoint in {self._directory}; it has "
                    f"{', '.join(map(str, steps[::-1])) or 'none'}"
                )
            steps = [wanted]
        for step in steps:
            try:
                return step, self._read(step, like)
            except errors.InputError:  # written by another version
                raise
            except Exception as error:
                # Orbax raises many kinds of exception for a damaged file. The
                # checkpoint is kept for inspection.
                path, what = self._directory / str(step), "passed over"
                if workdirs.is_claimed(self._directory):
                    aside = files.free_name(self._directory / f"damaged-{step}")
                    path.rename(aside)
                    self._manager.reload()
                    what = f"set aside as {aside.name}"
                why = str(error).splitlines()[0][:200] if str(error) else repr(error)
                logging.warning(
                    "checkpoint %s cannot be read (%s): %s", path, why, what
                )
        if steps:
            instead = workdirs.instead_of(self._directory, self._flag)
            raise errors.InputError(
                f"no checkpoint under {self._directory} can be read; give {instead}, "
                "or move this one away to start over"
            )
        return 0, like

    def _read(self, step: int, like: Any) -> Any:
        import orbax.checkpoint as ocp

        def read(**args: Any) -> Any:
            return self._manager.restore(step, args=ocp.args.Composite(**args))

        digest = read(digest=ocp.args.JsonRestore()).digest
        path = self._directory / str(step)
        instead = workdirs.instead_of(path, self._flag)
        workdirs.refuse_other_version(path, digest.get("version"), instead)
        abstract = jax.eval_shape(_data, like)
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), abstract
        )
        state = read(state=ocp.args.StandardRestore(abstract)).state
        # Orbax notices a truncated file, but not one whose bytes have changed.
        if _digest(_arrays(state)) != digest["sha256"]:
            raise ValueError("its contents do not match its checksum")
        return jax.tree.map(_like, state, like)

    def close(self) -> None:
        """Wait until all checkpoints are written.

        Raises:
          InputError: if the system refuses a write.
        """
        if "_manager" in vars(self):  # something was read or written
            with files.writing(self._directory, self._kept):
                self._manager.wait_until_finished()
            self._manager.close()


def _data(state: Any) -> Any:
    """Replace the typed keys of a state by their data."""

    def one(leaf: jax.Array) -> jax.Array:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    return jax.tree.map(one, state)


def _arrays(state: Any) -> Any:
    """Return a state as NumPy arrays, which orbax writes whatever the processes."""
    return jax.device_get(_data(state))


def _like(leaf: jax.Array, like: jax.Array) -> jax.Array:
    """Undo `_data` for one leaf."""
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        found = []  # `key_impl` takes no shapes, but what `eval_shape` makes of them
        jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), like)
        return jax.random.wrap_key_data(leaf, impl=found[0])
    return leaf


def _digest(arrays: Any) -> str:
    """Return the SHA-256 of the bytes of all arrays, in tree order."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(arrays):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
