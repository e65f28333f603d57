"""The mixture experiment: train any method on any mixture, score it, record it.

Dimension key: S seeds, N samples, X data dimensions.
"""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import arrays, errors, files, metrics_log, plots, records
from veegan_jax.config import Config
from veegan_jax.data import mixtures
from veegan_jax.experiments import base, stored
from veegan_jax.methods.base import TrainState
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.runtime import (
    checkpoint,
    distributed,
    numerics,
    parallel,
    programs,
    rng,
)
from veegan_jax.runtime.run import Run


def step_on_fresh_data(
    state: TrainState, axis_name: str | None, *, config: Config
) -> tuple[TrainState, Any]:
    """Draw this step's batch from the mixture and take one training step."""
    key = jax.random.fold_in(jax.random.fold_in(state.key, base.DATA), state.step)
    x_BX = mixtures.sample(
        mixtures.get(config.dataset),
        key,
        config.batch_size // parallel.size(axis_name),
        axis_name=axis_name,
    )
    train_step = methods.get(config.method).train_step
    return train_step(state, x_BX, config=config, axis_name=axis_name)


@programs.jit("config", "num_samples")
def draw(state: TrainState, *, config: Config, num_samples: int) -> jax.Array:
    """Draw samples of all seeds, [S, N, X]; the draw depends on the seed alone."""
    sample = methods.get(config.method).sample

    def draw_one(state_1: TrainState) -> jax.Array:
        key = jax.random.fold_in(state_1.key, base.EVALUATION)
        return sample(state_1, key, num_samples, config=config)

    return jax.vmap(draw_one)(state)


@numerics.undefined_allowed
@functools.partial(jax.jit, static_argnames=("dataset", "filled"))
def score(
    x_SNX: jax.Array, dataset: str, filled: float = mixture_metrics.FILLED
) -> dict[str, jax.Array]:
    """Score the samples of every seed: metrics [S]; see `mixture_metrics.evaluate`."""
    mixture = mixtures.get(dataset)
    evaluate = functools.partial(
        mixture_metrics.evaluate, mixture=mixture, filled=filled
    )
    return jax.lax.map(evaluate, x_SNX)


def judge(
    x_SNX: jax.Array | np.ndarray,
    dataset: str,
    filled: float = mixture_metrics.FILLED,
) -> dict[str, np.ndarray]:
    """Return every metric [S] of `mixture_metrics.METRICS`, also what takes longer."""
    far = functools.partial(mixture_metrics.distance, mixture=mixtures.get(dataset))
    metrics = score(x_SNX, dataset, filled) | {
        "sliced_wasserstein": jax.jit(lambda x: jax.lax.map(far, x))(x_SNX)
    }
    return jax.tree.map(np.asarray, metrics)


def compile_report(config: Config, num_samples: int, state: TrainState) -> None:
    """Compile `draw` and `score`; the values of the states need not be there yet."""
    drawing = draw.lower(state, config=config, num_samples=num_samples)
    shape, sharding = drawing.out_info.shape, drawing.compile().output_shardings
    x_SNX = jax.ShapeDtypeStruct(shape, drawing.out_info.dtype, sharding=sharding)
    lower = score.__wrapped__.lower  # type: ignore[attr-defined]
    numerics.undefined_allowed(lower)(x_SNX, config.dataset).compile()


def oracle(
    dataset: str,
    num_samples: int,
    repeats: int = 5,
    filled: float = mixture_metrics.FILLED,
) -> dict[str, np.ndarray]:
    """Score true samples, the reference of every table: metrics [repeats]."""
    mixture = mixtures.get(dataset)
    keys_S = jax.random.split(rng.key(base.EVALUATION), repeats)
    x_SNX = jax.vmap(lambda key: mixtures.sample(mixture, key, num_samples))(keys_S)
    return judge(x_SNX, dataset, filled)


def check(
    runs: Sequence[tuple[pathlib.Path, Config]],
    options: base.Options,
    *,
    gif: bool = False,
) -> None:
    """Refuse, before any work, runs that could not be carried out.

    Raises:
      InputError: see `base.check` and `stored.claim`; or if `gif` is asked of a run
        that ended without it.
    """
    for _, config in runs:
        check_config(config, options)
    for workdir, config in runs:
        stored.claim(workdir, config, options)
        if gif and not options.dry_run:
            distributed.on_main_process(functools.partial(_check_gif, workdir, config))


def check_config(config: Config, options: base.Options, variants: int = 1) -> None:
    """Refuse a configuration that cannot run.

    Raises:
      InputError: see `base.check`.
    """
    each = bytes_each(config, options.seeds * variants)
    taken = mixture_metrics.METRICS
    base.check(config, options, taken, bytes_each=each, variants=variants)


def _check_gif(workdir: pathlib.Path, config: Config) -> None:
    ended = checkpoint.newest(workdir / "checkpoints") >= config.steps
    if ended and not _frames(workdir):
        raise errors.InputError(
            f"--gif: the run in {workdir} has ended, and its folder frames holds no "
            "samples over training, which only --gif keeps; leave the flag out, or "
            "give another --workdir to train again"
        )


def _frames(workdir: pathlib.Path) -> dict[int, pathlib.Path]:
    """Return the files of the first seed's samples over training, by step."""
    paths = sorted((workdir / "frames").glob("step-*.npy"))
    return {int(path.stem.removeprefix("step-")): path for path in paths}


def bytes_each(config: Config, members: int) -> int:
    """Estimate the memory in which a sample of every member is drawn and scored."""
    mixture = mixtures.get(config.dataset)
    widest = max(mixture.size, *config.networks.generator_widths, 1)
    return mixture_metrics.bytes_each(mixture) + 8 * members * widest


def prepare(
    config: Config,
    options: base.Options,
    workdir: pathlib.Path | None,
    *,
    gif: bool = False,
) -> Run:
    """Bind a configuration to a training run that scores samples while it trains.

    Args:
      config: what to train.
      options: how to run it.
      workdir: see `run`; None for a dry run.
      gif: each report keeps the first seed's samples, as `project` shows them.
    """

    def report(done: int, state: TrainState, step_metrics: dict) -> tuple[dict, str]:
        del step_metrics
        x_SNX = draw(state, config=config, num_samples=options.samples)
        metrics = jax.tree.map(np.asarray, score(x_SNX, config.dataset))
        del metrics["histogram"]
        if gif:
            path = workdir / "frames" / f"step-{done:010d}.npy"
            plane_N2 = project(np.asarray(x_SNX[0]), config.dataset)
            with files.writing(path):
                path.parent.mkdir(exist_ok=True)
                files.save_atomically(path, lambda file: np.save(file, plane_N2))
        return metrics, summary(metrics)

    step = functools.partial(step_on_fresh_data, config=config)
    more = {"meanwhile": functools.partial(compile_report, config, options.samples)}
    return base.prepare(config, options, step, report, workdir=workdir, **more)


def dry_run(config: Config, options: base.Options) -> str:
    """Return what a step would cost: parameters, arithmetic, memory, communication.

    Raises:
      InputError: for a configuration that cannot run.
    """
    check_config(config, options)
    return prepare(config, options, None).dry_run()


@numerics.standard
def run(
    config: Config,
    options: base.Options,
    workdir: pathlib.Path,
    *,
    gif: bool = False,
) -> dict[str, Any]:
    """Train all seeds, resuming what the work directory holds, and record it.

    Args:
      config: what to train.
      options: how to run it.
      workdir: gets config.json, checkpoints, metrics.jsonl, TensorBoard events,
        samples.npz (as `project` shows them), figures and results.json.
      gif: also draw the first seed's samples over training, as training.gif; they are
        kept in frames/, so that a resumed run has them all.

    Returns:
      The record; see `make_record`.

    Raises:
      InputError: for a configuration that cannot run, before anything is written.
      loop.Interrupted, loop.NonFinite: see `loop.train`.
    """
    clock = metrics_log.Clock(workdir)
    check([(workdir, config)], options, gif=gif)
    training = prepare(config, options, workdir, gif=gif)
    state, failures = training.train()

    def finish() -> dict[str, Any]:
        x_SNX = np.asarray(draw(state, config=config, num_samples=options.samples))
        bad = base.not_finite(~np.isfinite(x_SNX).all(axis=2))
        record = make_record(config, options, x_SNX, bad | failures, clock)
        _write(config, workdir, x_SNX, record)
        if gif:
            draw_gif(config, workdir, -(-config.steps // training.interval))
        return record

    return distributed.on_main_process(finish)


def _write(
    config: Config,
    workdir: pathlib.Path,
    x_SNX: np.ndarray,
    record: dict[str, Any],
) -> None:
    """Write what a run leaves behind."""
    plane_SN2 = np.stack([project(x_NX, config.dataset) for x_NX in x_SNX])
    files.write_compressed(workdir / "samples.npz", plane=plane_SN2.astype(np.float32))
    records.write(workdir / "results.json", record)
    draw_figures(config, workdir, x_SNX)


def draw_gif(config: Config, workdir: pathlib.Path, expected: int) -> None:
    """Write training.gif: the first seed's samples at each evaluation that kept them.

    Args:
      config: the run's.
      workdir: the run's.
      expected: how many evaluations the whole run has.
    """
    paths = _frames(workdir)
    if len(paths) < expected:
        logging.warning(
            "--gif: %s shows %d of %d evaluations, from step %d on; the others did not "
            "keep their samples",
            *(workdir / "training.gif", len(paths), expected, min(paths)),
        )
    frames = [(f"step {n}", arrays.read(path)) for n, path in paths.items()]
    truth = mixtures.sample(mixtures.get(config.dataset), rng.key(0), 2500)
    truth = project(np.asarray(truth), config.dataset)
    plots.animation(frames, truth, workdir / "training.gif")


def summary(metrics: dict[str, np.ndarray]) -> str:
    """Means over the seeds for the progress bar, by the measure true samples pass."""
    if "calibrated" in metrics:
        modes, share, name = "calibrated_modes", "calibrated", "calibrated"
    else:
        modes, share, name = "modes", "high_quality", "high quality"
    return f"{metrics[modes].mean():.1f} modes, {metrics[share].mean():.1f} % {name}"


def project(x_NX: np.ndarray, dataset: str) -> np.ndarray:
    """Reduce samples to two coordinates to look at, [N, 2].

    In 2-D these are x itself; in 1200-D the mean coordinate, and the distance from the
    nearest mean over the typical distance of a true sample.
    """
    mixture = mixtures.get(dataset)
    if mixture.size == 2:
        return x_NX
    square_KN = np.stack([((x_NX - m) ** 2).sum(axis=1) for m in mixture.means_KX])
    sigma_N = mixture.sigma_K[square_KN.argmin(axis=0)]
    distance_N = np.sqrt(square_KN.min(axis=0)) / sigma_N
    return np.stack([x_NX.mean(axis=1), distance_N / mixture.live_size**0.5], axis=1)


def axes(dataset: str) -> tuple[str, str]:
    """Name the coordinates of `project`."""
    if mixtures.get(dataset).size == 2:
        return "x1", "x2"
    return "mean coordinate", "distance / true distance"


def draw_figures(config: Config, workdir: pathlib.Path, x_SNX: np.ndarray) -> None:
    """Write samples.png (samples over the true modes, and density) and curves.png."""
    key, num = rng.key(0), max(2500, x_SNX.shape[1])
    truth = mixtures.sample(mixtures.get(config.dataset), key, num)
    truth = project(np.asarray(truth), config.dataset)
    panels = {"true": truth}
    for seed, x_NX in enumerate(x_SNX):
        panels[f"seed {seed}"] = project(x_NX, config.dataset)
    plots.samples_and_density(
        panels,
        truth,
        workdir / "samples.png",
        axes=axes(config.dataset),
        title=f"{config.method} on {config.dataset}: samples, and density below",
    )
    names = [*mixture_metrics.METRICS, "loss_d", "loss_g", "loss_gr", "reconstruction"]
    title = f"{config.method} on {config.dataset}, one line per seed"
    plots.curves(metrics_log.read(workdir), names, workdir / "curves.png", title=title)


def make_record(
    config: Config,
    options: base.Options,
    x_SNX: np.ndarray,
    failures: dict[int, str],
    clock: metrics_log.Clock,
) -> dict[str, Any]:
    """Return a run's results and all that repeats them, as JSON values."""
    metrics = judge(x_SNX, config.dataset)
    true = oracle(config.dataset, options.samples)
    names = [n for n in mixture_metrics.METRICS if n in metrics]
    seeds = base.by_seed(metrics, names, options, failures)
    for s, seed in enumerate(seeds["per_seed"]):
        seed["histogram"] = [records.number(p) for p in metrics["histogram"][s]]
    return {
        **records.provenance(),
        "config": configs.to_json(config),
        "options": dataclasses.asdict(options),
        "wall_seconds": clock.seconds(),
        **seeds,
        "oracle": {n: records.number(true[n].mean()) for n in names},
    }


def table(runs: dict[str, dict[str, Any]]) -> str:
    """The results on one mixture as Markdown: oracle, ours, published of our protocol.

    Args:
      runs: label of the row -> record.
    """
    has = {n for run in runs.values() for n in run["mean"]}
    names = [n for n in mixture_metrics.METRICS if n in has]  # older records lack some
    oracle_of = {n: v for run in runs.values() for n, v in run["oracle"].items()}
    rows = [["oracle", *[records.cell(oracle_of[n]) for n in names]]]
    for label, run in runs.items():
        mean, std = run["mean"], run["std"]
        cells = [records.cell(mean[n], std[n]) if n in mean else "" for n in names]
        rows.append([label, *cells])
        if theirs := base.published_row(run):
            cells = [records.cell(theirs.metrics.get(n)) for n in names]
            rows.append([f"{theirs.label}, {theirs.source}", *cells])
    metrics = [oracle_of, *[run["mean"] for run in runs.values()]]
    why = records.why_empty(metrics, mixture_metrics.UNDEFINED)
    return records.table(["", *[n.replace("_", " ") for n in names]], rows) + why
