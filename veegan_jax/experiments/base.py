"""Shared by every experiment: options, initial states, resumable training.

Dimension key: S seeds.
"""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors, fields, memory, records
from veegan_jax.config import Config
from veegan_jax.data import mixtures
from veegan_jax.experiments import diverged, sizes
from veegan_jax.methods import checks as method_checks
from veegan_jax.methods.base import TrainState
from veegan_jax.metrics import published
from veegan_jax.presets import resolve
from veegan_jax.runtime import parallel, rng, run

# Uses of a state's key other than the steps', which fold in 0, 1, 2, ...
DATA, EVALUATION = 2**32 - 1, 2**32 - 2


@dataclasses.dataclass(frozen=True)
class Options:
    """Where and how to run: nothing here changes a seed's numbers but rounding."""

    preset: str = fields.field("quick", "named configuration to start from", "main")
    seeds: int = fields.field(
        5, "independent runs, all in one program", within="[1, inf)"
    )
    first_seed: int = fields.field(
        0, "seeds are first_seed, first_seed + 1, ...", within="[0, 2**32)"
    )
    samples: int = fields.field(
        2500, "generated samples to score, per seed", within="[1, inf)"
    )
    parallel: str = fields.field(
        "none",
        "none: seeds spread over devices; jit or pmap: each batch split",
        choices=parallel.MODES,
    )
    interval: int = fields.field(
        0, "steps between evaluations; 0: a fiftieth of the run", within="[0, inf)"
    )
    save_every: float = fields.field(
        30.0, "seconds between checkpoints", within="[0, inf)"
    )
    keep_checkpoints: int = fields.field(
        3, "checkpoints that are kept, the newest ones", within="[1, inf)"
    )
    dry_run: bool = fields.field(
        False,
        "compile; print parameters, arithmetic, memory and communication of a step; "
        "train nothing, write nothing",
    )
    debug_nans: bool = fields.field(
        False,
        "repeat the steps in which a seed became non-finite, one at a time, and keep "
        "the arrays; also of a run that has ended",
    )

    def __post_init__(self) -> None:
        fields.check(self)
        if self.seed_numbers().stop > 2**32:
            raise errors.InputError(
                f"--first_seed={self.first_seed}: seeds must be below 2**32"
            )

    def seed_numbers(self) -> range:
        """Return the seeds of the run."""
        return range(self.first_seed, self.first_seed + self.seeds)


def plan(
    options: Options,
    changes: Mapping[str, Any],
    datasets: Sequence[str],
    workdir: str | None,
    rows: Sequence[str] = resolve.ROWS,
    folder: str = "",
    method_file: str | None = None,
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
      method_file: the file of a method of the user's, which is registered.

    Returns:
      Work directory and configuration of each run: runs/DATASET/PRESET/METHOD.

    Raises:
      InputError: for a method, a file or a configuration that cannot be used, or a
        setting that one of the runs does not read.
    """
    changes = dict(changes)
    method = pop_method(changes, method_file)
    names = rows if method == methods.ALL else (method,)
    runs = []
    for dataset in datasets:
        for name in names:
            config = resolve.resolve(name, dataset, options.preset, **changes)
            place = folder or mixtures.folder(config.dataset)
            path = pathlib.Path("runs", place, options.preset, name)
            if workdir:
                path = pathlib.Path(workdir)
                path /= dataset if len(datasets) > 1 else ""
                path /= name if len(names) > 1 else ""
            resolve.refuse_unread(config, changes)
            runs.append((path, config))
    return runs


def pop_method(changes: dict[str, Any], method_file: str | None) -> str:
    """Take the method's name out of the changes; register a file's method.

    Args:
      changes: "method", if one was named, and fields that differ from the preset.
      method_file: the file of a method of the user's, or None.

    Raises:
      InputError: if both are given, or for a file that is no method.
    """
    named = changes.pop("method", None)
    if method_file is None:
        return named or resolve.METHOD
    if named:
        raise errors.InputError(
            f"--method={named} and --method_file={method_file}: give one of them"
        )
    return methods.register_file(method_file)


def check(
    config: Config,
    options: Options,
    taken: Collection[str] = (),
    *,
    bytes_each: int = 0,
    drawn: int = 0,
    variants: int = 1,
) -> None:
    """Refuse what the memory cannot hold, what devices do not divide, a bad method.

    Args:
      config: what to train.
      options: how to run it.
      taken: names of the metrics that the experiment logs.
      bytes_each: that scoring takes for a sample, besides the sample itself.
      drawn: how many samples are drawn at a time, seed by seed; 0: all of all seeds.
      variants: how many are trained at once, each with every seed.

    Raises:
      InputError: naming the flag, its value and what to give instead; for a method that
        is not built in, see `methods.checks.check`.
    """
    members = options.seeds * variants
    at_once = 1 if drawn else members
    sizes.check_samples(config, at_once, options.samples)
    sizes.check(config, members)
    bytes_each += 2 * at_once * math.prod(config.example_shape())
    memory.check_samples(f"--samples={options.samples}", options.samples, bytes_each)
    devices = len(jax.devices())
    parallel.check(options.parallel, config.batch_size, devices)
    name, parts = config.objective.batch_parts
    if options.parallel != "none" and config.batch_size % (devices * parts):
        raise errors.InputError(
            f"--batch_size={config.batch_size} does not divide by --{name}={parts} on "
            f"{devices} devices; give a multiple of {devices * parts}"
        )
    method = methods.get(config.method)
    if config.method not in methods.BUILT_IN and _checked.get(config) is not method:
        method_checks.check(method, config, taken, drawn or options.samples)
        methods.note_imports(config.method)
        _checked[config] = method


_checked: dict[Config, Any] = {}  # methods that passed, by configuration


def init_seeds(seeds: Sequence[int], config: Config) -> TrainState:
    """Return the initial states, leaves [S, ...]; seed s starts from key(s)."""
    return _initializer(seeds, config)()


def _initializer(seeds: Sequence[int], config: Config) -> run.Init:
    """Return the function that returns the initial states."""
    init = jax.vmap(functools.partial(methods.get(config.method).init, config=config))
    keys_S = jax.vmap(rng.key)(np.asarray(seeds, np.uint32))
    vectors = len(config.example_shape()) == 1  # records rest on their rounding
    options = parallel.compile_options_of_init(exact=vectors)
    return run.Init(jax.jit(init, compiler_options=options), (keys_S,))


def prepare(
    config: Config,
    options: Options,
    step: parallel.Step,
    report: run.Report,
    *,
    workdir: pathlib.Path | None,
    reports: int = 50,
    **more: Any,
) -> run.Run:
    """Bind a configuration and options to a training run.

    Args:
      config: what to train.
      options: how to run it.
      step: draws a batch and takes one training step.
      report: see `run.Run`.
      workdir: gets checkpoints, metrics.jsonl and TensorBoard events; None: nothing is
        kept, for a dry run.
      reports: how many, unless the options set an interval.
      **more: other fields of `run.Run`, such as `data`.
    """
    seeds = options.seed_numbers()
    values: dict[str, Any] = dict(
        name=f"{config.dataset} {config.method}",
        init=_initializer(seeds, config),
        step=step,
        steps=config.steps,
        interval=options.interval or max(1, config.steps // reports),
        labels=[f"seed {seed}" for seed in seeds],
        mode=options.parallel,
        workdir=workdir,
        save_every=options.save_every,
        keep=options.keep_checkpoints,
        report=report,
        debug_nans=options.debug_nans,
    )
    return run.Run(**values | more)


def not_finite(bad_SN: np.ndarray) -> dict[int, str]:
    """Return a message for each seed that drew samples that are not finite.

    Args:
      bad_SN: which samples hold NaN or infinity.
    """
    num = bad_SN.shape[1]
    return {
        seed: f"drew {count} of {num} samples with NaN or infinity"
        for seed, count in enumerate(bad_SN.sum(axis=1).tolist())
        if count
    }


def by_seed(
    metrics: dict[str, np.ndarray],
    names: Sequence[str],
    options: Options,
    failures: dict[int, str],
) -> dict[str, Any]:
    """Return a record's part on the seeds: each one's metrics, their mean and spread.

    Args:
      metrics: [S] each.
      names: those to keep.
      options: the run's.
      failures: messages of the seeds that diverged, by index. Mean and spread leave
        them out.
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
        **over_seeds({n: metrics[n][whole] for n in names}),
    }


def over_seeds(metrics: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return a record's "mean" and "std" of metrics [S]; see `records.mean_and_std`."""
    found = {n: records.mean_and_std(x_S) for n, x_S in metrics.items()}
    return {
        "mean": {n: records.number(mean) for n, (mean, _) in found.items()},
        "std": {n: records.number(std) for n, (_, std) in found.items()},
    }


def published_row(record: Mapping[str, Any]) -> published.Row | None:
    """Return the published row of a record's protocol, or None.

    A run of fewer steps or smaller batches than the preset's has another protocol.
    """
    config, preset = record["config"], record["options"]["preset"]
    found = published.beside(config["method"], config["dataset"], preset)
    if found is None:
        return None
    theirs = resolve.resolve(found.method, found.dataset, preset)
    same = all(
        config.get(name) == getattr(theirs, name) for name in ("steps", "batch_size")
    )
    return found if same else None


def run_all(
    runs: Sequence[tuple[pathlib.Path, Config]],
    options: Options,
    *,
    train: Callable[[Config, Options, pathlib.Path], dict[str, Any]],
    dry_run: Callable[[Config, Options], str],
    table: Callable[[dict[str, dict[str, Any]]], str],
) -> None:
    """Carry out a script's runs: print each one's table, then one of all its methods.

    Args:
      runs: (work directory, configuration) of each.
      options: how to run them; with `dry_run`, print each one's configuration and cost
        instead.
      train: an experiment's `run`.
      dry_run: its `dry_run`.
      table: its `table`, of the records of one dataset by method.

    Raises:
      loop.NonFinite: after the last run, if a seed of any run diverged.
    """
    tables: dict[str, dict[str, Any]] = {}
    failed: list[str] = []
    for workdir, config in runs:
        if options.dry_run:
            print(f"{configs.describe(config)}\n\n{dry_run(config, options)}\n")
            continue
        record = diverged.attempt(
            workdir, failed, functools.partial(train, config, options, workdir)
        )
        if record is None:
            continue
        tables.setdefault(config.dataset, {})[config.method] = record
        print(f"\n{table({config.method: record})}")
        print(f"\nfigures and results.json: {workdir}\n", flush=True)
    if len(runs) > 1:
        for dataset, records_of in tables.items():
            print(f"{dataset}\n\n{table(records_of)}\n")
    diverged.raise_any(failed)
