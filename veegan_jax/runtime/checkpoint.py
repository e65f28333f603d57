"""Checkpoints by orbax."""

import hashlib
import itertools
import logging
import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from veegan_jax.common import errors, files
from veegan_jax.runtime import distributed, workdirs

_prefixes = itertools.count()  # orbax keeps managers apart by them


class Checkpoints:
    """The checkpoints of one run under `directory`, the newest `keep` of them.

    `flag` is the flag that names the directory or one above it, for messages. With
    several processes all call every function and the first does the work, so
    they need no file system in common, and their number may differ from what it was
    when a checkpoint was written.
    """

    def __init__(
        self, directory: pathlib.Path, keep: int = 3, *, flag: str = "workdir"
    ) -> None:
        self._directory, self._flag = directory.absolute(), flag
        self._manager: Any = None  # orbax's; None where another process does the work
        self._tidied = False
        if distributed.is_main_process():
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
            with files.writing(self._directory):
                self._directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self._directory, options=options)

    def save(self, step: int, state: Any) -> None:
        """Write a checkpoint in the background; it appears whole or not at all.

        Raises:
          InputError: if the disk refuses it, or refused the one before.
        """
        if self._manager and step not in self._manager.all_steps():
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
        """Delete what saves that were killed left half written."""
        if not self._tidied:
            for path in self._directory.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(path)
            self._tidied = True

    def _kept(self) -> str:
        steps = [int(p.name) for p in self._directory.iterdir() if p.name.isdigit()]
        return f"step {max(steps)} is kept" if steps else "no step is kept yet"

    def restore(self, like: Any) -> tuple[int, Any]:
        """Read the newest checkpoint that can be read.

        A damaged one is passed over with a warning, and the one before it is tried. If
        the run is this process's (see `claim`), the damaged one is set aside as
        `damaged-STEP`; another process's may be about to be deleted.

        Args:
          like: a state of the same shapes and types, returned when there is none.

        Returns:
          (steps taken, state).

        Raises:
          InputError: if there are checkpoints and none can be read, or if another
            version of this code wrote them.
        """
        found = like

        def read() -> int:
            nonlocal found
            step, found = self._restore_newest(like)
            return step

        step = distributed.on_main_process(read)
        return step, distributed.from_main_process(found)

    def _restore_newest(self, like: Any) -> tuple[int, Any]:
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return step, self._read(step, like)
            except errors.InputError:  # another version's
                raise
            except Exception as error:
                # Orbax raises many kinds for a damaged file; whichever it is, the
                # checkpoint cannot be used, is kept for inspection and is named.
                path, what = self._directory / str(step), "passed over"
                if workdirs.is_claimed(self._directory):
                    aside = files.free_name(self._directory / f"damaged-{step}")
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
                f"--{self._flag}, or move this one away to start over"
            )
        return 0, like

    def _read(self, step: int, like: Any) -> Any:
        def read(**args: Any) -> Any:
            return self._manager.restore(step, args=ocp.args.Composite(**args))

        digest = read(digest=ocp.args.JsonRestore()).digest
        path = self._directory / str(step)
        workdirs.refuse_other_version(path, digest.get("version"), self._flag)
        abstract = jax.eval_shape(_data, like)
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), abstract
        )
        state = read(state=ocp.args.StandardRestore(abstract)).state
        # Orbax notices a file cut short, but not one whose bytes have changed.
        if _digest(_arrays(state)) != digest["sha256"]:
            raise ValueError("its contents do not match its checksum")
        return jax.tree.map(_like, state, like)

    def close(self) -> None:
        """Wait for the writes under way.

        Raises:
          InputError: if the disk refuses them.
        """
        if self._manager:
            with files.writing(self._directory, self._kept):
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
