"""The Stacked MNIST experiment: train any method, count the modes it keeps, record it.

Dimension key: S seeds, N samples, H height, W width.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.classifier import files as classifier_files
from veegan_jax.classifier import network as classifiers
from veegan_jax.common import (
    errors,
    fields,
    files,
    memory,
    metrics_log,
    plots,
    records,
)
from veegan_jax.config import Config
from veegan_jax.data import images, stacked_files, stacked_mnist
from veegan_jax.experiments import base, diverged, sampling, sizes, stored
from veegan_jax.methods.base import TrainState
from veegan_jax.metrics import published, stacked_mnist_sampling
from veegan_jax.metrics import stacked_mnist as stacked_mnist_metrics
from veegan_jax.presets import stacked_mnist as stacked_mnist_presets
from veegan_jax.runtime import distributed, loop, numerics, parallel
from veegan_jax.runtime.run import Run

DIGITS = {  # what is stacked
    name: name.removeprefix("stacked_").removesuffix("4")
    for name in stacked_mnist_presets.DATASETS
}


GLANCES = 2  # samples for each mode that are scored while training


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Where and how to run and score."""

    preset: str = fields.field(
        "quick", f"start from: {', '.join(stacked_mnist_presets.PRESETS)}", "main"
    )
    seeds: int = fields.field(
        2, "independent runs, all in one program", within="[1, inf)"
    )
    samples: int = fields.field(
        0,
        "generated samples to score, per seed; 0: 26 for each mode, as published",
        within="[0, inf)",
    )
    interval: int = fields.field(
        0, "steps between evaluations; 0: a tenth of the run", within="[0, inf)"
    )
    classifier: str = fields.field(
        "", "file of the classifier; empty: the pinned one", path=True
    )
    data_dir: str = fields.field(
        "", "tensorflow-datasets' folder; empty: TFDS_DATA_DIR", path=True
    )


def glance(config: Config) -> int:
    """Return how many samples are scored while training: two for each mode."""
    return GLANCES * stacked_mnist_sampling.num_tuples(config.data.channels)


def with_samples(config: Config, options: Options) -> Options:
    """Return the options with the number of samples that 0 stands for."""
    modes = stacked_mnist_sampling.num_tuples(config.data.channels)
    return dataclasses.replace(options, samples=options.samples or 26 * modes)


def step_on_stacks(
    digits_NHW: jax.Array,
    state: TrainState,
    axis_name: str | None,
    *,
    config: Config,
) -> tuple[TrainState, Any]:
    """Draw this step's batch of stacks and take one training step."""
    key = jax.random.fold_in(jax.random.fold_in(state.key, base.DATA), state.step)
    x_BHWC = stacked_mnist.sample(
        digits_NHW,
        key,
        config.batch_size // parallel.size(axis_name),
        channels=config.data.channels,
        num_stacks=config.data.num_stacks,
        axis_name=axis_name,
    )
    train_step = methods.get(config.method).train_step
    return train_step(state, x_BHWC, config=config, axis_name=axis_name)


def load_samples(workdir: pathlib.Path, num_samples: int, step: int = 0) -> np.ndarray:
    """Draw from the first seed of a run's checkpoint: uint8 [N, H, W, C].

    Args:
      workdir: of the run.
      num_samples: N; 0: 26 for each mode.
      step: of the checkpoint; 0: the newest.

    Raises:
      InputError: if the folder holds no such run, or the memory not so many samples.
      loop.NonFinite: if its first seed diverged.
    """
    config, seeds, done, state = stored.restore(workdir, step)
    if config.dataset not in DIGITS:
        raise errors.InputError(f"{workdir} holds a run on {config.dataset}")
    num = with_samples(config, Options(samples=num_samples)).samples
    each = stacked_files.bytes_each(config.example_shape())
    memory.check_samples(f"--samples={num}", num, each)
    sizes.check_samples(config, 1, num)
    first = jax.tree.map(lambda leaf: leaf[:1], state)
    if failed := diverged.failed_before(first.replace(step=first.step[0]), done):
        raise loop.NonFinite(f"{workdir}: seed {seeds[0]} {failed['failed']}")
    return sampling.draw(first, config=config, num_samples=num)[0]


def check(runs: Sequence[tuple[pathlib.Path, Config]], options: Options) -> None:
    """Refuse, before any work, runs that could not be carried out.

    Raises:
      InputError: see `check_config` and `stored.claim`.
    """
    for _, config in runs:
        check_config(config, options)
    for workdir, config in runs:
        stored.claim(workdir, config, options)


def check_config(config: Config, options: Options) -> None:
    """Refuse a configuration that cannot run.

    Raises:
      InputError: for data or a classifier that cannot be used; see `base.check`.
    """
    options = with_samples(config, options)
    _materials(DIGITS[config.dataset], options)
    each = stacked_files.bytes_each(config.example_shape())
    taken, drawn = stacked_mnist_metrics.METRICS, sampling.CHUNK
    base.check(config, options, taken, bytes_each=each, drawn=drawn)


_Materials = tuple[images.Images, images.Images, classifiers.Classifier]


def _materials(dataset: str, options: Options) -> _Materials:
    """Load training images, test images and the classifier that judges."""
    return _load(dataset, options.classifier, options.data_dir or None)


@functools.lru_cache(2)  # the arrays of two data sets, whatever the other options
def _load(dataset: str, file: str, data_dir: str | None) -> _Materials:
    path = pathlib.Path(file) if file else None
    classifier = classifier_files.ready(dataset, path, data_dir)
    splits = (images.load(dataset, s, data_dir=data_dir) for s in images.SPLITS)
    return *splits, classifier


def prepare(
    config: Config,
    options: Options,
    workdir: pathlib.Path | None,
    truth: Callable[[], stacked_mnist_metrics.Truth] | None = None,
) -> Run:
    """Bind a configuration to a training run that counts modes while it trains.

    Args:
      config: what to train.
      options: how to run it.
      workdir: see `run`; None for a dry run.
      truth: returns what samples are scored against; only reports need it.
    """
    train, _, classifier = _materials(DIGITS[config.dataset], options)

    def report(done: int, state: TrainState, step_metrics: dict) -> tuple[dict, str]:
        del step_metrics
        grids = workdir / "grids"
        grids.mkdir(exist_ok=True)
        x_SNHWC = sampling.draw(state, config=config, num_samples=glance(config))
        rows = _rows(x_SNHWC, options)
        title = f"{config.method} on {config.dataset}, step {done}"
        plots.image_grid(rows, grids / f"step-{done:07d}.png", title)
        scores = [
            stacked_mnist_metrics.score(x, classifier, truth().reference)
            for x in x_SNHWC
        ]
        names = ("modes", "kl_uniform", "confident")
        metrics = {n: np.array([float(s[n]) for s in scores]) for n in names}
        modes, kl, sure = (metrics[n].mean() for n in names)
        found = f"{modes:.0f} modes, KL {kl:.2f} of {glance(config)}"
        summary = f"{found}, {sure:.0f} % confident"
        return metrics, summary

    def meanwhile(state: TrainState) -> None:
        sampling.compile_draw(state, config=config, num_samples=glance(config))
        known = truth().reference
        channels = config.data.channels
        stacked_mnist_metrics.compile_score(glance(config), classifier, known, channels)

    step = functools.partial(step_on_stacks, config=config)
    return base.prepare(
        config,
        options,
        step,
        report,
        workdir=workdir,
        reports=10,
        data=train.image[..., 0],
        meanwhile=meanwhile,
    )


def dry_run(config: Config, options: Options) -> str:
    """Return what a step would cost: parameters, arithmetic, memory, communication.

    Raises:
      InputError: see `check_config`.
    """
    check_config(config, options)
    return prepare(config, options, None).dry_run()


@numerics.standard
def run(config: Config, options: Options, workdir: pathlib.Path) -> dict[str, Any]:
    """Train all seeds, resuming what the work directory holds, and record it.

    Args:
      config: what to train.
      options: how to run it.
      workdir: gets config.json, checkpoints, metrics.jsonl, TensorBoard events, grids
        of samples while training, figures, samples.npz (64 a seed) and results.json.

    Returns:
      The record.

    Raises:
      InputError: for a configuration, data or a classifier that cannot be used,
        before any work.
      loop.Interrupted, loop.NonFinite: see `loop.train`.
    """
    clock = metrics_log.Clock(workdir)
    options = with_samples(config, options)
    check([(workdir, config)], options)
    dataset, data_dir = DIGITS[config.dataset], options.data_dir or None
    train, test, classifier = _materials(dataset, options)

    @functools.cache  # made while the first steps run, and only in the main process
    def truth() -> stacked_mnist_metrics.Truth:
        channels = config.data.channels
        return stacked_mnist_metrics.truth(
            classifier, options.samples, data_dir, channels
        )

    state, failures = prepare(config, options, workdir, truth).train()

    def finish() -> dict[str, Any]:
        found, bad = sampling.of_each_seed(
            lambda x: (stacked_mnist_metrics.make_record(x, truth()), x[:64].copy()),
            state,
            config=config,
            num_samples=options.samples,
        )
        scored, first = zip(*found, strict=True)
        failed = bad | failures
        record = make_record(config, options, scored, failed, clock, train.source)
        records.write(workdir / "results.json", record)
        real = stacked_mnist_metrics.oracle_images(test, 32, config.data.channels)
        _draw_figures(config, options, workdir, np.stack(first), real)
        return record

    return distributed.on_main_process(finish)


def _draw_figures(
    config: Config,
    options: Options,
    workdir: pathlib.Path,
    x_SNHWC: np.ndarray,
    real: np.ndarray,
) -> None:
    """Write samples.npz, samples.png and curves.png."""
    files.write_compressed(workdir / "samples.npz", image=x_SNHWC, real=real)
    title = f"{config.method} on {config.dataset}: the first samples of each seed"
    plots.image_grid(
        {"real": real} | _rows(x_SNHWC, options, 32), workdir / "samples.png", title
    )
    log = metrics_log.read(workdir)
    title = f"{config.method} on {config.dataset}, one line per seed"
    plots.curves(log, metrics_log.names(log), workdir / "curves.png", title=title)


def _rows(x_SNHWC: np.ndarray, options: Options, num: int = 16) -> dict[str, Any]:
    seeds = options.seed_numbers()
    return {f"seed {s}": x[:num] for s, x in zip(seeds, x_SNHWC, strict=True)}


def make_record(
    config: Config,
    options: Options,
    scored: Sequence[dict[str, Any]],
    failures: dict[int, str],
    clock: metrics_log.Clock,
    source: str,
) -> dict[str, Any]:
    """Return a run's results and all that repeats them, as JSON values."""
    names = list(stacked_mnist_metrics.METRICS)
    metrics = {n: np.array([s["metrics"][n] for s in scored], float) for n in names}
    seeds = base.by_seed(metrics, names, options, failures)
    for seed, one in zip(seeds["per_seed"], scored, strict=True):
        seed["standard_error"] = one["standard_error"]
    first = scored[0]
    return {
        **records.provenance(),
        "config": configs.to_json(config),
        "options": dataclasses.asdict(options) | {"data_dir": ""},
        "data": source,
        "classifier": first["classifier"],
        "wall_seconds": clock.seconds(),
        **seeds,
        "oracle": first["oracle"],
        "expected": first["expected"],
    }


def table(runs: dict[str, dict[str, Any]]) -> str:
    """Results as Markdown: oracle, sampling floor, ours over published of our protocol.

    Args:
      runs: label of the row -> record.
    """
    first = next(iter(runs.values()))
    has = {n for run in runs.values() for n in run["mean"]}
    names = [n for n in stacked_mnist_metrics.METRICS if n in has]
    oracle = {n: v for run in runs.values() for n, v in run["oracle"].items()}
    header = ["", *[n.replace("_", " ") for n in names]]
    rows = [
        ["real digits", *[records.cell(oracle.get(n)) for n in names]],
        ["sampling floor", *[records.cell(first["expected"].get(n)) for n in names]],
    ]
    for label, run in runs.items():
        cells = [records.cell(run["mean"].get(n), run["std"].get(n)) for n in names]
        rows.append([f"**{label}**", *cells])
        if theirs := base.published_row(run):
            rows.append(published_cells(theirs, names))
    return records.table(header, rows)


def published_cells(row: published.Row, names: Sequence[str]) -> list[str]:
    """Return the cells of a published row, with its standard errors."""
    values = [(row.metrics.get(n), row.error.get(n)) for n in names]
    return [f"{row.label}, {row.source}", *(records.cell(*v) for v in values)]
