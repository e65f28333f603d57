"""Experiments on single images: train any method, draw from it, record it.

What CIFAR-10, faces and inference on MNIST share. A run's IvOM is measured from its
work directory, by `veegan_jax.experiments.ivom`.

Dimension key: S seeds, N samples, B batch, L lines, P points of a line, Z latent, H
height, W width, C channels.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors, fields, files, metrics_log, plots, records
from veegan_jax.config import Config
from veegan_jax.data import images
from veegan_jax.experiments import base, ivom_glance, sampling, stored
from veegan_jax.methods.base import TrainState
from veegan_jax.metrics import diversity
from veegan_jax.presets import images as image_presets
from veegan_jax.runtime import distributed, numerics, parallel, rng
from veegan_jax.runtime.run import Feed, Run

_GLANCE = 500  # samples drawn for each report


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Where and how to run."""

    preset: str = fields.field(
        "quick", f"start from: {', '.join(image_presets.PRESETS)}", "main"
    )
    seeds: int = fields.field(
        2, "independent runs, all in one program", within="[1, inf)"
    )
    interval: int = fields.field(
        0, "steps between looks at it; 0: a tenth of the run", within="[0, inf)"
    )
    ivom_images: int = fields.field(
        0,
        "test images whose IvOM every look measures, from one start; 0: none",
        within="[0, inf)",
    )
    data_dir: str = fields.field(
        "", "tensorflow-datasets' folder; empty: TFDS_DATA_DIR", path=True
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Images to learn from and images to compare with."""

    name: str  # where they come from, one line for the records
    train: np.ndarray | None  # uint8 [N, H, W, C]; None: `feed` gives the batches
    test: np.ndarray  # uint8 [N, H, W, C], never trained on
    feed: Feed | None = None


def load(dataset: str, data_dir: str | None = None) -> Source:
    """A data set that fits into memory, one of `images.SHAPES`.

    Args:
      dataset: which.
      data_dir: tensorflow-datasets' folder; see `images.load`.

    Raises:
      InputError: see `images.load`.
    """
    train, test = (images.load(dataset, s, data_dir=data_dir) for s in images.SPLITS)
    return Source(train.source, train.image, test.image)


def step_on_images(
    image_NHWC: jax.Array,
    state: TrainState,
    axis_name: str | None,
    *,
    config: Config,
) -> tuple[TrainState, Any]:
    """Draw this step's batch, with replacement, and take one training step."""
    key = jax.random.fold_in(jax.random.fold_in(state.key, base.DATA), state.step)
    batch = config.batch_size // parallel.size(axis_name)
    index_B = rng.index(key, batch, len(image_NHWC), axis_name=axis_name)
    return step_on_batch(state, axis_name, image_NHWC[index_B], config=config)


def step_on_batch(
    state: TrainState, axis_name: str | None, x_BHWC: jax.Array, *, config: Config
) -> tuple[TrainState, Any]:
    """Take one training step on uint8 images."""
    train_step = methods.get(config.method).train_step
    return train_step(
        state, sampling.as_input(x_BHWC, config), config=config, axis_name=axis_name
    )


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
      InputError: see `base.check`; or if the method has no `generate` to search.
    """
    base.check(config, options, ("variety",), drawn=sampling.CHUNK)
    if options.ivom_images and not methods.has_generator(config.method):
        raise errors.InputError(
            f"--ivom_images={options.ivom_images}: {config.method} has no "
            "generate(state, z, *, config), whose inputs IvOM searches; add it to the "
            "method's file, or leave the flag out"
        )


def prepare(
    config: Config, options: Options, workdir: pathlib.Path | None, source: Source
) -> Run:
    """Bind a configuration and images to a training run.

    Args:
      config: what to train.
      options: how to run it.
      workdir: see `train`; None for a dry run.
      source: the images.
    """

    num = options.ivom_images
    chosen = ivom_glance.every_nth(len(source.test), num, "ivom_images") if num else []

    def report(done: int, state: TrainState, step_metrics: dict) -> tuple[dict, str]:
        del step_metrics
        grids = workdir / "grids"
        grids.mkdir(exist_ok=True)
        x_SNHWC = sampling.draw_images(state, config, _GLANCE)
        title = f"{config.method} on {config.dataset}, step {done}"
        path = grids / f"step-{done:07d}.png"
        plots.image_grid(_rows(x_SNHWC, options), path, title)
        found = np.array([diversity.variety(x, source.test) for x in x_SNHWC])
        mean = found.mean()
        shown = f"variety {mean:.2f}" if np.isfinite(mean) else "variety undefined"
        if not num:
            return {"variety": found}, shown
        error = ivom_glance.errors_of_seeds(state, config, source.test[chosen])
        metrics = {"variety": found, f"ivom_{ivom_glance.ITERATIONS}": error}
        return metrics, f"{shown}, IvOM {error.mean():.4f}"

    step = step_on_batch if source.feed else step_on_images
    return base.prepare(
        config,
        options,
        functools.partial(step, config=config),
        report,
        workdir=workdir,
        reports=10,
        data=source.train,
        feed=source.feed,
        meanwhile=functools.partial(
            sampling.compile_draw, config=config, num_samples=_GLANCE
        ),
    )


def dry_run(config: Config, options: Options, source: Source) -> str:
    """Return what a step would cost: parameters, arithmetic, memory, communication.

    Raises:
      InputError: see `check_config`.
    """
    check_config(config, options)
    return prepare(config, options, None, source).dry_run()


@numerics.standard
def train(
    config: Config, options: Options, workdir: pathlib.Path, source: Source
) -> tuple[TrainState, dict[int, str]]:
    """Train all seeds, resuming what the work directory holds.

    Args:
      config: what to train.
      options: how to run it.
      workdir: gets config.json, checkpoints, metrics.jsonl, TensorBoard events and
        grids of samples while training.
      source: the images.

    Returns:
      The final states and the seeds that diverged.

    Raises:
      InputError: for a configuration that cannot run, before any work.
      loop.Interrupted, loop.NonFinite: see `loop.train`.
    """
    check([(workdir, config)], options)
    return prepare(config, options, workdir, source).train()


@numerics.standard
def finish(
    config: Config,
    options: Options,
    workdir: pathlib.Path,
    source: Source,
    trained: tuple[TrainState, dict[int, str]],
    clock: metrics_log.Clock,
    metrics: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Draw a trained run's figures and write its record.

    Args:
      config: what was trained.
      options: how.
      workdir: gets results.json, samples.npz (64 a seed) and, as PNG, samples,
        training curves, and, where the method has `generate` and `reconstruct`,
        interpolations and reconstructions.
      source: the images.
      trained: what `train` returned.
      clock: started before it.
      metrics: more of the run, [S] each.

    Returns:
      The record.
    """
    state, failures = trained
    found, bad = sampling.of_each_seed(
        lambda x: (diversity.variety(x, source.test), x[:64].copy()),
        state,
        config=config,
        num_samples=options.samples,
    )
    variety, first = zip(*found, strict=True)
    x_SNHWC, failures = sampling.as_images(np.stack(first), config), bad | failures
    metrics = {"variety": np.array(variety), **(metrics or {})}
    record = {
        **records.provenance(),
        "config": configs.to_json(config),
        "options": dataclasses.asdict(options) | {"data_dir": ""},
        "data": source.name,
        "wall_seconds": clock.seconds(),
        **base.by_seed(metrics, [*metrics], options, failures),
    }
    records.write(workdir / "results.json", record)
    real = source.test[:64]
    files.write_compressed(workdir / "samples.npz", image=x_SNHWC, real=real)
    about = f"{config.method} on {config.dataset}"
    rows = {"real": real[:32]} | _rows(x_SNHWC, options, 32)
    title = f"{about}: the first samples of each seed"
    plots.image_grid(rows, workdir / "samples.png", title)
    generates = methods.has_generator(config.method)
    if generates:
        draw_interpolations(state, config, options, workdir)
    if generates and methods.has_reconstructor(config.method):
        draw_reconstructions(state, config, options, workdir, real[:16])
    log = metrics_log.read(workdir)
    title = f"{about}, one line per seed"
    plots.curves(log, metrics_log.names(log), workdir / "curves.png", title=title)
    return record


def draw_interpolations(
    state: TrainState, config: Config, options: Options, workdir: pathlib.Path
) -> None:
    """Two lines a seed from one sample to another, through the latent space."""
    rows = {}
    for seed, state_1 in zip(
        options.seed_numbers(), sampling.each_seed(state), strict=True
    ):
        x = sampling.interpolate(state_1, config=config, lines=2, points=16)
        rows[f"seed {seed}"] = np.asarray(x).reshape(-1, *sampling.shape(config))
    title = f"{config.method} on {config.dataset}: between two samples"
    plots.image_grid(rows, workdir / "interpolations.png", title)


def draw_reconstructions(
    state: TrainState,
    config: Config,
    options: Options,
    workdir: pathlib.Path,
    real_BHWC: np.ndarray,
) -> None:
    """Test images over G(R(x)) of each seed."""
    rows = {"x": real_BHWC}
    for seed, state_1 in zip(
        options.seed_numbers(), sampling.each_seed(state), strict=True
    ):
        x = np.asarray(sampling.reconstruct(state_1, real_BHWC, config=config))
        rows[f"G(R(x)), seed {seed}"] = x.reshape(-1, *sampling.shape(config))
    title = f"{config.method} on {config.dataset}: test images and reconstructions"
    plots.image_grid(rows, workdir / "reconstructions.png", title)


def run(
    config: Config, options: Options, workdir: pathlib.Path, source: Source
) -> dict[str, Any]:
    """`train`, then `finish` in the first process: the record."""
    clock = metrics_log.Clock(workdir)
    trained = train(config, options, workdir, source)
    return distributed.on_main_process(
        lambda: finish(config, options, workdir, source, trained, clock)
    )


def _rows(x_SNHWC: np.ndarray, options: Options, num: int = 16) -> dict[str, Any]:
    seeds = options.seed_numbers()
    return {f"seed {s}": x[:num] for s, x in zip(seeds, x_SNHWC, strict=True)}


def table(runs: dict[str, dict[str, Any]]) -> str:
    """Results as Markdown: label of the row -> record."""
    names = list(next(iter(runs.values()))["mean"])
    header = ["", *[n.replace("_", " ") for n in names]]
    rows = [
        [label, *[records.cell(run["mean"][n], run["std"][n]) for n in names]]
        for label, run in runs.items()
    ]
    why = records.why_empty([r["mean"] for r in runs.values()], diversity.UNDEFINED)
    return records.table(header, rows) + why
