"""Seeds that diverged: a command goes on without them, and says so at its end.

Its exit status is then 1, after everything is written; see `runtime.program`.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from veegan_jax.methods.base import TrainState
from veegan_jax.runtime import loop


def attempt(
    workdir: pathlib.Path, failed: list[str], train: Callable[[], dict[str, Any]]
) -> dict[str, Any] | None:
    """Carry out one run of a command, which goes on with the others if it diverges.

    Args:
      workdir: of the run.
      failed: gets a line for each seed that diverged, or one for all of them.
      train: returns the run's record.

    Returns:
      The record; None if no seed is left.
    """
    try:
        record = train()
    except loop.NonFinite as error:
        failed.append(f"{workdir}: {error}")
        return None
    failed += lines(workdir, record)
    return record


def raise_any(failed: Sequence[str]) -> None:
    """End a command in which seeds diverged, after all is written.

    Raises:
      loop.NonFinite: if there is any line.
    """
    if failed:
        raise loop.NonFinite("\n".join(failed))


def lines(workdir: pathlib.Path, record: dict[str, Any]) -> list[str]:
    """Return one line for each seed of a record that diverged."""
    return [
        f"{workdir}: seed {seed['seed']} {seed['failed']}"
        for seed in record.get("per_seed", ())
        if "failed" in seed
    ]


def failed_before(state: TrainState, done: int) -> dict[str, str]:
    """Return a record's "failed" of one seed, if it diverged before step `done`."""
    step = int(state.step)
    return {} if step == done else {"failed": f"became non-finite after step {step}"}
