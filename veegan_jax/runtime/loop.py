"""The training loop: one short function around compiled intervals of many steps."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import tqdm

from veegan_jax.runtime import checkpoint, compat, distributed

Report = Callable[[int, Any, dict[str, np.ndarray]], str]


class Interrupted(Exception):
    """A signal asked to stop; the run is saved and the same command goes on."""


class NonFinite(Exception):
    """Every seed has diverged; the last good states are saved.

    Args:
      message: when each seed diverged.
      state: their last good states.
    """

    def __init__(self, message: str, state: Any = None) -> None:
        super().__init__(message)
        self.state = state


def train(
    state: Any,
    done: int,
    compile_steps: Callable[[int], Callable[[Any], tuple[Any, Any]]],
    *,
    steps: int,
    interval: int,
    save_every: float,
    checkpoints: checkpoint.Checkpoints | None,
    report: Report,
    name: str,
    labels: Sequence[str] | None = None,
    meanwhile: Callable[[Any], None] | None = None,
) -> tuple[Any, dict[int, str]]:
    """Train from step `done` to `steps`.

    Args:
      state: leaves [seeds, ...], with a field `step` [seeds].
      done: steps taken so far; a seed with another count has failed before.
      compile_steps: number of steps -> a compiled function of the state; see
        `parallel.run_steps`.
      steps: how many steps the whole run takes.
      interval: steps between reports. Checkpoints fall on its multiples only, so that
        a resumed run computes the same programs as an uninterrupted one.
      save_every: seconds between checkpoints.
      checkpoints: where the run is saved; None: nothing is kept.
      report: called with (step, state, metrics [seeds, interval]) after every interval,
        in the main process only; returns a short message for the progress bar.
      name: shown before the progress bar.
      labels: the names of the members of the leading axis, if they are not seeds.
      meanwhile: called once, in the main process only, while the devices take the first
        steps, with the state that they will return: to compile what reports run.

    Returns:
      The state, and for each diverged seed's index a message that says when.

    Raises:
      Interrupted: after SIGTERM or SIGINT, once the run is saved.
      NonFinite: when the last finite seed diverges, once the run is saved.
    """
    failures = _failures(np.asarray(state.step), done)
    labels = labels or [f"seed {s}" for s in range(len(np.asarray(state.step)))]
    compiled: dict[int, Callable[[Any], tuple[Any, Any]]] = {}
    stop = StopFlag()
    saved_time = time.perf_counter()
    bar = tqdm.tqdm(
        total=steps,
        initial=done,
        desc=name,
        unit=" steps",
        dynamic_ncols=True,
        disable=not distributed.is_main_process(),
    )
    compat.use_monotonic_clock(bar)
    with stop, bar:
        while done < steps:
            num = min(interval, steps - done)
            if num not in compiled:
                compiled[num] = compile_steps(num)
            state, metrics = compiled[num](state)
            if meanwhile and distributed.is_main_process():
                meanwhile(state)  # JAX does not wait for the steps
                meanwhile = None
            metrics = jax.tree.map(np.asarray, metrics)
            done += num
            for seed, message in _new_failures(state, metrics, failures, done, num):
                failures[seed] = message
                if distributed.is_main_process():
                    logging.warning("%s %s; the others go on", labels[seed], message)
            if len(failures) == len(labels):
                if checkpoints:
                    checkpoints.save(done, state)
                raise NonFinite(
                    "; ".join(f"{labels[s]} {failures[s]}" for s in failures), state
                )
            if distributed.is_main_process():
                bar.set_postfix_str(report(done, state, metrics), refresh=False)
            bar.update(num)
            late = time.perf_counter() - saved_time > save_every
            # A signal may reach one process only, or each at another step.
            signals = filter(None, distributed.share(stop.requested))
            signal_name = next(signals, "")
            if checkpoints and (late or done == steps or signal_name):
                checkpoints.save(done, state)
                saved_time = time.perf_counter()
            if signal_name and done < steps:
                kept = (
                    "saved; give the same command to go on"
                    if checkpoints
                    else "and nothing was kept"
                )
                raise Interrupted(
                    f"stopped by {signal_name} at step {done} of {steps}, {kept}"
                )
    return state, failures


def _failures(step_S: np.ndarray, done: int) -> dict[int, str]:
    return {
        seed: f"became non-finite after step {step}"
        for seed, step in enumerate(step_S.tolist())
        if step != done
    }


def _new_failures(state, metrics, failures, done, num):
    """Yield the seeds that diverged in this interval, each with a message."""
    for seed in _failures(np.asarray(state.step), done):
        if seed in failures:
            continue
        finite_T = np.ones(num, bool)
        for values_ST in metrics.values():
            finite_T &= np.isfinite(values_ST[seed])
        at = f", first at step {done - num + np.argmin(finite_T) + 1}"
        where = "" if finite_T.all() else at
        yield (
            seed,
            f"became non-finite in steps {done - num + 1} to {done}{where}; its state "
            f"stays that of step {done - num}",
        )


class StopFlag:
    """A context in which SIGTERM and the first SIGINT only set `requested`.

    Clusters send SIGTERM several times, and none may end a save. After the first,
    further SIGTERMs are ignored, even outside the context. A second SIGINT acts as
    usual.

    Python lets only the main thread handle signals. In another one, such as a web
    server's, they are left to the program. So is a signal whose handler is not
    Python's, since it could not be put back.
    """

    def __init__(self) -> None:
        self.requested = ""
        self._old: dict[int, Any] = {}

    def _handle(self, number: int, frame: Any) -> None:
        del frame
        self.requested = self.requested or signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, self._old[number])

    def __enter__(self) -> "StopFlag":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not None:
                    self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, old in self._old.items():
            if number != signal.SIGTERM or self.requested != signal.SIGTERM.name:
                signal.signal(number, old)
