"""Checkpoints by orbax, and the guard that a work directory holds one run only."""

import hashlib
import json
import logging
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from veegan_jax.common import errors


class Checkpoints:
    """The checkpoints of one run under `directory`, the newest `keep` of them."""

    def __init__(self, directory: pathlib.Path, keep: int = 3) -> None:
        self._directory = directory.absolute()
        self._options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(keep),
            enable_async_checkpointing=True,
        )
        self._manager = ocp.CheckpointManager(self._directory, options=self._options)

    def save(self, step: int, state: Any) -> None:
        """Writes a checkpoint in the background; it appears whole or not at all."""
        if step not in self._manager.all_steps():
            args = ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                digest=ocp.args.JsonSave({"sha256": _digest(state)}),
            )
            self._manager.save(step, args=args, force=True)

    def restore(self, like: Any) -> tuple[int, Any]:
        """Reads the newest checkpoint that can be read.

        A damaged one is set aside as `damaged-STEP`, with a warning, and the one
        before it is tried.

        Args:
          like: a state of the same shapes and types, returned when there is none.

        Returns:
          (steps taken, state).

        Raises:
          InputError: if there are checkpoints and none can be read.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return step, self._read(step, abstract)
            except Exception as error:
                # Orbax raises many kinds for a damaged file; whichever it is, the
                # checkpoint cannot be used, is kept for inspection and is named.
                path = self._directory / str(step)
                logging.warning(
                    "checkpoint %s cannot be read (%s): set aside as damaged-%d",
                    path,
                    str(error).splitlines()[0][:200] if str(error) else repr(error),
                    step,
                )
                path.rename(self._directory / f"damaged-{step}")
                self._manager.reload()
        if steps:
            raise errors.InputError(
                f"no checkpoint under {self._directory} can be read; give another "
                "--workdir, or move this one away to start over"
            )
        return 0, like

    def _read(self, step: int, abstract: Any) -> Any:
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), digest=ocp.args.JsonRestore()
        )
        found = self._manager.restore(step, args=args)
        # Orbax notices a file cut short, but not one whose bytes have changed.
        if _digest(found.state) != found.digest["sha256"]:
            raise ValueError("its contents do not match its checksum")
        return found.state

    def close(self) -> None:
        """Waits for the writes under way."""
        self._manager.wait_until_finished()
        self._manager.close()


def _digest(state: Any) -> str:
    """SHA-256 over the bytes of every array of a state, in tree order."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def claim(
    workdir: pathlib.Path, identity: dict[str, Any], *, flag: str = "workdir"
) -> None:
    """Makes a work directory this run's, or checks that it already is.

    Args:
      workdir: created if need be.
      identity: what must be equal for the runs to be the same; JSON values.
      flag: that names the directory.

    Raises:
      InputError: if it cannot be written, or holds a run with another identity; the
        message shows each difference.
    """
    path = workdir / "config.json"
    identity = json.loads(json.dumps(identity))  # tuples become lists, as on disk
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _compare(path, json.loads(path.read_text()), identity, flag)
        probe = workdir / ".writable"
        probe.touch()
        probe.unlink()
        if not path.exists():
            write_atomically(path, json.dumps(identity, indent=1) + "\n")
    except OSError as error:
        raise errors.InputError(
            f"--{flag}={workdir} cannot be used ({error.strerror or error}); give a "
            "directory that can be written"
        ) from error
    except json.JSONDecodeError as error:
        raise errors.InputError(
            f"{path} is not a run's configuration ({error}); give another --{flag}"
        ) from error


def claimed(workdir: pathlib.Path) -> dict[str, Any]:
    """The identity of the run that a work directory holds.

    Raises:
      InputError: if it holds none.
    """
    path = workdir / "config.json"
    try:
        identity = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise errors.InputError(
            f"{workdir} is not a run's work directory: {path.name} cannot be read "
            f"({error})"
        ) from error
    return identity


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
    """Writes a file so that it is never seen half written."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text)
    temporary.replace(path)
