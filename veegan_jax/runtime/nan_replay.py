"""Find the step at which a run became non-finite, by repeating its last steps.

Training puts a seed that diverged back to the state before the interval. From there
this module takes one step at a time, keeps the arrays before and after the step that
fails, and lets JAX name the line of code.
"""

import json
import pathlib
import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from veegan_jax.common import files

Step = Callable[[Any, Any], tuple[Any, dict[str, jax.Array]]]


def replay(
    step: Step,
    state: Any,
    num_steps: int,
    folder: pathlib.Path,
    batch_of: Callable[[int], Any] | None = None,
) -> str:
    """Take steps one at a time until a value is not finite, and keep the arrays.

    Args:
      step: (state, batch) -> (state, metrics), of one seed.
      state: the state before the interval in which the seed diverged.
      num_steps: steps of the interval.
      folder: gets step-N/ with before.npz, after.npz (arrays named by their path in
        the state) and report.txt; see `_report`.
      batch_of: returns a step's batch, if the step takes one.

    Returns:
      A message that says where it became non-finite.
    """
    first = int(state.step)
    one = jax.jit(step)
    history: list[dict[str, float]] = []
    for number in range(first, first + num_steps):
        batch = batch_of(number) if batch_of else None
        new, metrics = one(state, batch)
        history.append({n: float(v) for n, v in metrics.items()})
        if _bad(new) or _bad(metrics):
            path = folder / f"step-{number + 1}"
            with files.writing(path):
                path.mkdir(parents=True, exist_ok=True)
            files.write_arrays(path / "before.npz", arrays(state))
            files.write_arrays(path / "after.npz", arrays(new))
            where = _blame(step, state, batch)
            text = _report(number + 1, where, history, state, new)
            files.write_atomically(path / "report.txt", text)
            return f"first at step {number + 1}, {where[0]}: arrays are in {path}"
        state = new
    last = ", ".join(f"{name} {value:.4g}" for name, value in history[-1].items())
    return (
        f"not again in steps {first + 1} to {first + num_steps} taken one at a time, "
        f"which round otherwise (at the end: {last})"
    )


def arrays(tree: Any) -> dict[str, np.ndarray]:
    """Return path -> array for every leaf; typed keys as their data."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(
            jax.random.key_data(leaf)
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            else leaf
        )
        for path, leaf in flat
    }


def _bad(tree: Any) -> list[str]:
    return [
        name
        for name, array in arrays(tree).items()
        if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all()
    ]


def _blame(step: Step, state: Any, batch: Any) -> tuple[str, str]:
    """Name the operation that made the first bad value, and return its traceback."""
    with jax.debug_nans(True), jax.debug_infs(True):
        try:
            jax.block_until_ready(jax.jit(step)(state, batch))
        except FloatingPointError as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [f for f in frames if "site-packages" not in f.filename]
            last = ours[-1]  # this file's own frames come first
            line = f"{pathlib.Path(last.filename).name}:{last.lineno}"
            what = str(error).splitlines()[0].rstrip(".")
            return f"{what} ({line})", "".join(traceback.format_list(ours))
    return "by no single operation", ""


def _report(
    number: int,
    where: tuple[str, str],
    history: list[dict[str, float]],
    before: Any,
    after: Any,
) -> str:
    """List the step, the operation, the last metrics and every non-finite array."""
    lines = [f"step {number}: {where[0]}", "", where[1], "metrics of the last steps"]
    start = number - len(history)
    for i, metrics in list(enumerate(history, start + 1))[-10:]:
        lines.append(f"  step {i}: {json.dumps(metrics)}")
    lines += ["", "arrays after it: not finite, of all; largest size before it"]
    old = arrays(before)
    for name, array in arrays(after).items():
        if not np.issubdtype(array.dtype, np.inexact):
            continue
        bad = int(np.sum(~np.isfinite(array)))
        largest = np.abs(old[name]).max(initial=0)
        lines.append(f"  {name}: {bad} of {array.size}; {largest:.4g}")
    return "\n".join(lines) + "\n"
