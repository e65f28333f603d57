"""A resumable training run: what trains, how, where, and what is reported.

A run trains one or more members, such as seeds, in one program. It knows no GAN: a
state is any dataclass with the fields `step` and `params`.

Dimension key: S members, T steps of an interval, B batch.
"""

import dataclasses
import functools
import logging
import pathlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from veegan_jax.common import metrics_log
from veegan_jax.cost import report as cost_report
from veegan_jax.runtime import checkpoint, distributed, loop, nan_replay, parallel

CompiledSteps = Callable[[Any], tuple[Any, Any]]  # see `parallel.run_steps`
Metrics = dict[str, np.ndarray]  # [S] each
# (steps taken, states, step metrics) -> (metrics, message); see `Run.report`.
Report = Callable[[int, Any, Metrics], tuple[Metrics, str]]


class Feed(Protocol):
    """Batches that reach the steps from outside; see `data.streams.Feed`."""

    def run_steps(self, resumed_step: int, num_steps: int) -> CompiledSteps:
        """Compile the next `num_steps` steps of a run resumed at `resumed_step`."""

    def batch_of(self, step: int) -> np.ndarray:
        """Return the whole batch of one step."""


@dataclasses.dataclass(frozen=True, eq=False)
class Init:
    """A function that returns states, and can tell their shapes without running.

    Attributes:
      program: what `jax.jit` returned.
      arguments: those of the program.
    """

    program: Any
    arguments: tuple[Any, ...]

    def __call__(self) -> Any:
        """Return the states."""
        return self.program(*self.arguments)

    def shapes(self) -> Any:
        """Return the shapes and types of the states."""
        return self.program.eval_shape(*self.arguments)


def _show(done: int, state: Any, step_metrics: Metrics) -> tuple[Metrics, str]:
    """Report the steps' own metrics alone."""
    del done, state
    shown = (f"{name} {x_S.mean():.4g}" for name, x_S in step_metrics.items())
    return {}, ", ".join(shown)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """One training run; `train` runs it, `dry_run` returns its costs.

    Attributes:
      name: shown before the progress bar.
      init: returns the members' states before the first step, leaves [S, ...]. If it
        is an `Init`, the first steps compile while it does, and a run that continues
        leaves it out.
      step: one training step of one member; see `parallel.run_steps`.
      steps: how many steps the whole run takes.
      interval: steps between reports.
      labels: the name of each member, S of them.
      data: arrays that every step reads; see `parallel.run_steps`.
      feed: gives each step its batch, for data that does not fit into memory.
      compile_steps: number of steps -> a compiled function of the states, in place of
        `parallel.run_steps`.
      mode: how devices share the work; see `parallel.run_steps`.
      workdir: gets checkpoints, metrics.jsonl and TensorBoard events; None: nothing is
        kept.
      flag: the flag that names the work directory, for messages.
      keep: how many checkpoints are kept.
      save_every: seconds between checkpoints.
      report: (steps taken, states, means of the steps' own metrics over the interval)
        -> (metrics to log, short message for the progress bar). The steps' own metrics
        are logged as well, unless the report returns one of the same name. Only the
        main process calls it. By default the message shows the steps' own metrics.
      meanwhile: see `loop.train`.
      debug_nans: replay the interval in which a member became non-finite, step by
        step, and keep its arrays in the work directory.
    """

    name: str
    init: Callable[[], Any]
    step: parallel.Step
    steps: int
    interval: int
    labels: Sequence[str]
    data: Any = None
    feed: Feed | None = None
    compile_steps: Callable[[int], CompiledSteps] | None = None
    mode: str = "none"
    workdir: pathlib.Path | None = None
    flag: str = "workdir"
    keep: int = 3
    save_every: float = 30.0
    report: Report = _show
    meanwhile: Callable[[Any], None] | None = None
    debug_nans: bool = False

    def train(self) -> tuple[Any, dict[int, str]]:
        """Train all members, continuing from what the work directory holds.

        Returns:
          The final states, and for each diverged member's index a message that says
          when it diverged.

        Raises:
          InputError: if no checkpoint can be read, or the disk refuses a write.
          loop.Interrupted, loop.NonFinite: see `loop.train`.
        """
        compile_steps = self._compile_ahead()
        checkpoints = log = None
        if self.workdir:
            folder = self.workdir / "checkpoints"
            checkpoints = checkpoint.Checkpoints(folder, self.keep, flag=self.flag)
        try:
            done, state = self._start(checkpoints)
            if self.workdir and distributed.is_main_process():
                # If all have diverged, the last interval was not reported.
                reported = int(np.asarray(state.step).max())
                log = metrics_log.MetricsLog(self.workdir, reported)
            state, failures = loop.train(
                state,
                done,
                compile_steps or self._compiler(done),
                steps=self.steps,
                interval=self.interval,
                save_every=self.save_every,
                checkpoints=checkpoints,
                report=self._reporter(log),
                name=self.name,
                labels=self.labels,
                meanwhile=self.meanwhile,
            )
            self._replay_failures(state)
            return state, failures
        except loop.NonFinite as error:
            self._replay_failures(error.state)
            raise
        finally:
            if checkpoints:
                checkpoints.close()
            if log:
                log.close()

    def dry_run(self) -> str:
        """Compile the first interval and return what a step costs; train nothing."""
        # Not `jax.eval_shape`: inside a trace, jit refuses the compiler's options.
        state = self.init()
        devices = jax.devices()
        steps, batches = self.interval, []
        if self.feed:  # one batch suffices to compile, and is the least to read
            steps = 1
            part, num_parts = parallel.part(self.mode)
            batch_B = np.split(self.feed.batch_of(0), num_parts)[part]
            place = parallel.batch_placer(self.mode, devices, len(self.labels))
            batches = [place(batch_B[None])]
        lower = parallel.run_steps(
            self.step,
            steps,
            mode=self.mode,
            devices=devices,
            data=self.data,
            streamed=self.feed is not None,
            lower_only=True,
        )
        return cost_report.summarize(
            self.name,
            lower(state, *batches),
            state.params,
            mode=self.mode,
            num_steps=steps,
        )

    def _start(self, checkpoints: checkpoint.Checkpoints | None) -> tuple[int, Any]:
        """Return the steps taken and the states, of the newest checkpoint if any."""
        if not checkpoints:
            return 0, self.init()
        # Hosts that read no files need states to put those of the first host into.
        if isinstance(self.init, Init) and self._stored() and distributed.is_alone():
            done, state = checkpoints.restore(self.init.shapes())
            return (done, state) if done else (0, self.init())
        return checkpoints.restore(self.init())

    def _stored(self) -> int:
        """Return the step of the newest checkpoint, or 0."""
        return checkpoint.newest(self.workdir / "checkpoints") if self.workdir else 0

    def _compile_ahead(self) -> Callable[[int], CompiledSteps] | None:
        """Begin to compile the first interval; None if that needs the states."""
        if not isinstance(self.init, Init) or self.feed:
            return None
        compile_steps = functools.cache(self._compiler(0))
        done = self._stored()
        if done < self.steps:
            run = compile_steps(min(self.interval, self.steps - done))
            if hasattr(run, "compile_ahead"):  # not if hosts or a batch are shared
                run.compile_ahead(self.init.shapes())
        return compile_steps

    def _compiler(self, done: int) -> Callable[[int], CompiledSteps]:
        """Return a function that compiles an interval of a given number of steps."""
        if self.compile_steps:
            return self.compile_steps
        if self.feed:
            return functools.partial(self.feed.run_steps, done)
        return functools.partial(
            parallel.run_steps,
            self.step,
            mode=self.mode,
            devices=jax.devices(),
            data=self.data,
        )

    def _reporter(self, log: metrics_log.MetricsLog | None) -> loop.Report:
        """Return the loop's report, which logs the metrics and the seconds taken."""
        last = time.perf_counter()

        def report(done: int, state: Any, metrics_ST: dict[str, np.ndarray]) -> str:
            nonlocal last
            of_steps = {name: x_ST.mean(axis=1) for name, x_ST in metrics_ST.items()}
            metrics, message = self.report(done, state, of_steps)
            more = {n: x_S for n, x_S in of_steps.items() if n not in metrics}
            now = time.perf_counter()
            if log:
                log.write(done, now - last, metrics | more)
            last = now
            return message

        return report

    def _replay_failures(self, state: Any) -> None:
        """Replay the interval in which each member that stayed behind diverged."""
        workdir = self.workdir
        if not self.debug_nans or not workdir:
            return

        # The replay runs whole batches on one device, in any mode.
        def one_step(state: Any, batch: Any) -> tuple[Any, Any]:
            data = () if self.data is None else (self.data,)
            batches = (batch,) if self.feed else ()
            return self.step(*data, state, None, *batches)

        def replay() -> None:
            states = jax.device_put(state, jax.local_devices()[0])
            done_S = np.asarray(states.step)
            for s, label in enumerate(self.labels):
                done = int(done_S[s])
                if done == self.steps:
                    continue
                state_1 = jax.tree.map(lambda leaf, s=s: leaf[s], states)
                num = min(self.interval, self.steps - done)
                folder = workdir / "nonfinite" / re.sub(r"[^\w.=-]+", "-", label)
                batch_of = self.feed.batch_of if self.feed else None
                found = nan_replay.replay(one_step, state_1, num, folder, batch_of)
                logging.warning("%s became non-finite: %s", label, found)

        distributed.on_main_process(replay)
