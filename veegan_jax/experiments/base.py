"""What every experiment shares: options, initial states, resumable training.

Dimension key: S seeds.
"""

import dataclasses
import functools
import logging
import pathlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors, records
from veegan_jax.config import Config
from veegan_jax.cost import report as cost_report
from veegan_jax.methods.base import TrainState
from veegan_jax.presets import resolve
from veegan_jax.runtime import (
    checkpoint,
    distributed,
    loop,
    nan_replay,
    parallel,
    workdirs,
)

# Uses of a state's key other than the steps', which fold in 0, 1, 2, ...
DATA, EVALUATION = 2**32 - 1, 2**32 - 2


class DryRun(Exception):
    """What a run would cost; it was not carried out."""


Report = Callable[[int, TrainState], tuple[dict[str, np.ndarray], str]]


def option(default: Any, text: str, group: str = "run") -> Any:
    """A field of `Options` that is also a flag."""
    metadata = {"group": group, "help": text}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Options:
    """Where and how to run: nothing here changes a seed's numbers but rounding."""

    preset: str = option("quick", "named configuration to start from", "main")
    seeds: int = option(5, "independent runs, all in one program")
    first_seed: int = option(0, "seeds are first_seed, first_seed + 1, ...")
    samples: int = option(2500, "generated samples to score, per seed")
    parallel: str = option(
        "none", "none: seeds spread over devices; jit or pmap: each batch split"
    )
    interval: int = option(0, "steps between evaluations; 0: a fiftieth of the run")
    save_every: float = option(30.0, "seconds between checkpoints")
    dry_run: bool = option(
        False,
        "compile; print parameters, arithmetic, memory and communication of a step; "
        "train nothing, write nothing",
    )
    debug_nans: bool = option(
        False,
        "take the steps in which a seed became non-finite once more, one at a time, "
        "and keep the arrays: also of a run that has ended",
    )

    def __post_init__(self) -> None:
        for name in ("seeds", "samples"):
            if getattr(self, name) < 1:
                raise errors.InputError(
                    f"--{name}={getattr(self, name)} must be at least 1"
                )
        if self.first_seed < 0:
            raise errors.InputError(
                f"--first_seed={self.first_seed} must be at least 0"
            )
        if self.interval < 0:
            raise errors.InputError(f"--interval={self.interval} must be at least 0")
        if self.parallel not in parallel.MODES:
            raise errors.InputError(
                f"--parallel={self.parallel!r} must be one of "
                f"{', '.join(parallel.MODES)}"
            )

    def seed_numbers(self) -> range:
        """The seeds of the run."""
        return range(self.first_seed, self.first_seed + self.seeds)


def plan(
    options: Options,
    changes: Mapping[str, Any],
    datasets: Sequence[str],
    workdir: str | None,
    rows: Sequence[str] = resolve.ROWS,
    folder: str = "",
) -> list[tuple[pathlib.Path, Config]]:
    """Make the list of runs that a script's flags ask for.

    Args:
      options: its preset.
      changes: "method", if one was named ("all": every one of `rows`), and the fields
        that differ from the preset.
      datasets: to train on, one after the other.
      workdir: of the run, or of the folder of several; None: runs/DATASET/PRESET.
      rows: what "all" stands for.
      folder: takes the dataset's place in the folder's name.

    Returns:
      Work directory and configuration of each run: runs/DATASET/PRESET/METHOD.

    Raises:
      InputError: for a method or a configuration that does not exist.
    """
    changes = dict(changes)
    method = changes.pop("method", resolve.METHOD)
    names = rows if method == "all" else (method,)
    runs = []
    for dataset in datasets:
        for name in names:
            path = pathlib.Path("runs", folder or dataset, options.preset, name)
            if workdir:
                path = pathlib.Path(workdir)
                path /= dataset if len(datasets) > 1 else ""
                path /= name if len(names) > 1 else ""
            config = resolve.resolve(name, dataset, options.preset, **changes)
            runs.append((path, config))
    return runs


def check(
    workdir: pathlib.Path,
    config: Config,
    options: Options,
    more: dict[str, Any] | None = None,
) -> None:
    """Refuses, before any work, a run that could not be carried out.

    Args:
      workdir: of the run.
      config: what to train.
      options: how to run it.
      more: what else makes the run what it is, JSON values.

    Raises:
      InputError: for a batch that the devices do not divide into whole packs, or a
        work directory that cannot be written or holds another run.
    """
    devices = len(jax.devices())
    parallel.check(options.parallel, config.batch_size, devices)
    pack = config.objective.pack
    if options.parallel != "none" and config.batch_size % (devices * pack):
        raise errors.InputError(
            f"--batch_size={config.batch_size} does not divide into packs of {pack} on "
            f"{devices} devices; give a multiple of {devices * pack}"
        )
    identity = configs.to_json(config)
    identity |= {"seeds": options.seeds, "first_seed": options.first_seed}
    if not options.dry_run:
        workdirs.claim(workdir, identity | (more or {}))


def init_seeds(seeds: Sequence[int], config: Config) -> TrainState:
    """Initial states of all seeds, leaves [S, ...]; seed s starts from key(s)."""
    # The mixtures' takes seconds, and their records rest on its very rounding.
    convolutional = len(config.example_shape()) > 1
    options = parallel.compile_options_of_init() if convolutional else None
    return jax.jit(_init(config), compiler_options=options)(_keys(seeds))


def _init(config: Config) -> Callable[[jax.Array], TrainState]:
    return jax.vmap(functools.partial(methods.get(config.method).init, config=config))


def _keys(seeds: Sequence[int]) -> jax.Array:
    return jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))


def train(
    config: Config,
    options: Options,
    workdir: pathlib.Path,
    step: parallel.Step,
    report: Report,
    *,
    data: Any = None,
    reports: int = 50,
    run_steps: Callable[..., Any] | None = None,
    batch_of: Callable[[int], Any] | None = None,
    initial: Any = None,
    labels: Sequence[str] | None = None,
) -> tuple[Any, dict[int, str]]:
    """Trains all seeds, going on from what the work directory holds.

    Args:
      config: what to train.
      options: how to run it.
      workdir: gets checkpoints, metrics.jsonl and TensorBoard events.
      step: draws a batch and takes one training step.
      report: (steps taken, state) -> figures [S] to log, and words for the bar; only
        the first process calls it.
      data: see `parallel.run_steps`.
      reports: how many, unless the options set an interval.
      run_steps: (steps taken, number of steps) -> a function of the state, in place of
        `parallel.run_steps`, for data that comes batch by batch.
      batch_of: then, the whole batch of a step.
      initial: the states to start from, if they are not those of `init_seeds`.
      labels: what they are called, if they are not seeds.

    Returns:
      The final states and the seeds that diverged, as `loop.train` does.

    Raises:
      DryRun: instead of training, if the options say so.
      loop.Interrupted, loop.NonFinite: see `loop.train`.
    """
    interval = options.interval or max(1, config.steps // reports)
    if options.dry_run:
        raise DryRun(
            _describe(config, options, step, interval, data, batch_of, initial)
        )
    checkpoints = checkpoint.Checkpoints(workdir / "checkpoints")
    if initial is None:
        initial = init_seeds(options.seed_numbers(), config)
    resumed_step, state = checkpoints.restore(initial)
    log = (
        records.MetricsLog(workdir, resumed_step)
        if distributed.is_main_process()
        else None
    )
    clock = [time.perf_counter()]

    def report_and_log(done, state, losses):
        metrics, words = report(done, state)
        metrics |= {name: values.mean(axis=1) for name, values in losses.items()}
        clock.append(time.perf_counter())
        log.write(done, clock[-1] - clock[-2], metrics)
        return words

    compile_steps = functools.partial(
        parallel.run_steps,
        step,
        mode=options.parallel,
        devices=jax.devices(),
        data=data,
    )
    if run_steps is not None:
        compile_steps = functools.partial(run_steps, resumed_step)

    def explain(state: TrainState) -> None:
        if options.debug_nans:
            names = labels or [f"seed {seed}" for seed in options.seed_numbers()]
            _explain(step, state, names, config, interval, workdir, data, batch_of)

    try:
        state, failures = loop.train(
            state,
            resumed_step,
            compile_steps,
            steps=config.steps,
            interval=interval,
            save_every=options.save_every,
            checkpoints=checkpoints,
            report=report_and_log,
            name=f"{config.dataset} {config.method}",
            labels=labels,
        )
        explain(state)
        return state, failures
    except loop.NonFinite as error:
        explain(error.state)
        raise
    finally:
        checkpoints.close()
        if log:
            log.close()


def _describe(
    config: Config,
    options: Options,
    step: parallel.Step,
    interval: int,
    data: Any,
    batch_of: Callable[[int], Any] | None,
    initial: Any,
) -> str:
    """What `--dry_run` prints of a run: its first interval, compiled and not run."""
    seeds = options.seed_numbers()
    if initial is None:
        shapes = jax.eval_shape(_init(config), _keys(seeds))
        initial = cost_report.zeros(shapes)
    devices = jax.devices()
    steps, batches = interval, []
    if batch_of is not None:  # a group of one batch, which is the least
        steps = 1
        own, of_all = parallel.part(options.parallel)
        batch = np.split(batch_of(0), of_all)[own]
        place = parallel.batch_placer(options.parallel, devices, options.seeds)
        batches = [place(batch[None])]
    run = parallel.run_steps(
        step,
        steps,
        mode=options.parallel,
        devices=devices,
        data=data,
        streamed=batch_of is not None,
        lower_only=True,
    )
    state = getattr(initial, "state", initial)  # of a sweep's members
    return cost_report.summarize(
        f"{config.dataset} {config.method}",
        run(initial, *batches),
        state.params,
        mode=options.parallel,
        num_steps=steps,
    )


def _explain(
    step: parallel.Step,
    state: Any,
    names: Sequence[str],
    config: Config,
    interval: int,
    workdir: pathlib.Path,
    data: Any,
    batch_of: Callable[[int], Any] | None,
) -> None:
    """Replays the interval in which each seed that stayed behind became non-finite."""

    def one_step(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
        bound = step if data is None else functools.partial(step, data)
        return bound(state, None, *([] if batch_of is None else [batch]))

    def replay() -> None:
        states = jax.device_put(state, jax.local_devices()[0])
        done_S = np.asarray(states.step)
        for s, name in enumerate(names):
            done = int(done_S[s])
            if done == config.steps:
                continue
            state_1 = jax.tree.map(lambda leaf, s=s: leaf[s], states)
            num = min(interval, config.steps - done)
            folder = workdir / "nonfinite" / re.sub(r"[^\w.=-]+", "-", name)
            found = nan_replay.replay(one_step, state_1, num, folder, batch_of)
            logging.warning("%s became non-finite: %s", name, found)

    distributed.on_main_process(replay)


def configuration(workdir: pathlib.Path) -> tuple[Config, range]:
    """Return the configuration and the seeds of the run that a work directory holds.

    Raises:
      InputError: if it holds none, or one of another version.
    """
    identity = workdirs.claimed(workdir)
    objective = methods.objective_class(identity.get("method", ""))
    try:
        seeds = identity.pop("seeds"), identity.pop("first_seed")
        config = configs.from_json(identity, objective)
    except (KeyError, TypeError, ValueError) as error:
        raise errors.InputError(
            f"{workdir / 'config.json'} was written by another version ({error!r}): "
            "train again, in another --workdir"
        ) from error
    return config, range(seeds[1], seeds[1] + seeds[0])


def restore(workdir: pathlib.Path) -> tuple[Config, range, int, TrainState]:
    """A finished or interrupted run, from its work directory alone.

    Returns:
      Its configuration, its seeds, the steps taken and the states [S, ...].

    Raises:
      InputError: if it holds no run, or one without a checkpoint.
    """
    config, seeds = configuration(workdir)
    checkpoints = checkpoint.Checkpoints(workdir / "checkpoints")
    try:
        done, state = checkpoints.restore(init_seeds(seeds, config))
    finally:
        checkpoints.close()
    if not done:
        raise errors.InputError(f"{workdir} holds no checkpoint yet; train it first")
    return config, seeds, done, state


def by_seed(
    metrics: dict[str, np.ndarray],
    names: Sequence[str],
    options: Options,
    failures: dict[int, str],
) -> dict[str, Any]:
    """The part of a record that tells of the seeds: each, their mean and spread.

    Args:
      figures: [S] each.
      names: those to keep.
      options: the run's.
      failures: seeds that diverged, by index; left out of mean and spread.
    """
    whole = [s for s in range(options.seeds) if s not in failures]
    return {
        "per_seed": [
            {
                "seed": seed,
                **{n: records.number(metrics[n][s]) for n in names},
                **({"failed": failures[s]} if s in failures else {}),
            }
            for s, seed in enumerate(options.seed_numbers())
        ],
        "mean": {n: records.number(metrics[n][whole].mean()) for n in names},
        # The sample's (n - 1).
        "std": {
            n: records.number(metrics[n][whole].std(ddof=1)) if len(whole) > 1 else None
            for n in names
        },
    }
