"""Inference on digits: G(R(x)) of test images, and the codes that R gives them.

The VEEGAN paper shows reconstructions of MNIST and measures none; the metrics are
those of `inference_metrics.inference`.

Dimension key: S seeds, N test images, B images of a chunk, Z latent, X pixels, H
height, W width.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from veegan_jax import methods
from veegan_jax.classifier import files as classifier_files
from veegan_jax.classifier import network as classifiers
from veegan_jax.common import errors, fields, files, metrics_log, plots, records
from veegan_jax.config import Config
from veegan_jax.data import images, pixels
from veegan_jax.experiments import codes, inference_figures, sampling
from veegan_jax.experiments import images as image_experiment
from veegan_jax.methods.base import TrainState
from veegan_jax.metrics import inference as inference_metrics
from veegan_jax.metrics import pca
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed, numerics

DATASETS = tuple(classifiers.RECIPES)
COLUMNS = (  # of the table
    "reconstruction",
    "agreement",
    "latent",
    "code_std",
    "code_correlation",
    "code_ks",
    "code_radius_ks",
    "code_energy",
    "code_energy_p",
    "point_std",
    "point_ks",
    "point_energy",
)


@dataclasses.dataclass(frozen=True)
class Options(image_experiment.Options):
    """Where and how to run and measure."""

    preset: str = fields.field(
        "dense", "start from: dense, quick, full or paper", "main"
    )
    seeds: int = fields.field(
        5, "independent runs, all in one program", within="[1, inf)"
    )
    classifier: str = fields.field(
        "", "file of the classifier; empty: the pinned one", path=True
    )


class Materials(NamedTuple):
    """The data and the classifier that measure every run of a dataset."""

    train: images.Images
    test: images.Images
    classifier: classifiers.Classifier


# What --method=all stands for: the rows of every table, of the methods that infer.
ROWS = tuple(name for name in resolve.ROWS if methods.has_reconstructor(name))


def can_infer() -> list[str]:
    """Return the names of the methods with a reconstructor."""
    return [name for name in methods.METHODS if methods.has_reconstructor(name)]


def check(runs: Sequence[tuple[pathlib.Path, Config]], options: Options) -> None:
    """Refuse, before any work, runs that could not be carried out.

    Raises:
      InputError: see `check_config` and `image_experiment.check`.
    """
    for _, config in runs:
        check_config(config, options)
    image_experiment.check(runs, options)


def check_config(config: Config, options: Options) -> None:
    """Refuse a configuration that infers nothing.

    Raises:
      InputError: for a method without R, or data or a classifier that cannot be used.
    """
    own = config.method not in methods.BUILT_IN
    for name in ("reconstruct", "generate"):
        if own and not hasattr(methods.get(config.method), name):
            raise errors.InputError(
                f"the file of {config.method} has no function {name}, which inference "
                "needs (README, The methods): add it"
            )
    if not methods.has_reconstructor(config.method):
        raise errors.InputError(
            f"--method={config.method} has no reconstructor, so it infers nothing: "
            f"give one of {', '.join(can_infer())}"
        )
    if config.dataset not in DATASETS:
        raise errors.InputError(
            f"--dataset={config.dataset} must be {', '.join(DATASETS)} or auto"
        )
    materials(config.dataset, options)


def materials(dataset: str, options: Options) -> Materials:
    """Load the images and the classifier that judges; the result is kept.

    Raises:
      InputError: if they cannot be used; the message says what to do.
    """
    return _load(dataset, options.classifier, options.data_dir or None)


@functools.lru_cache(2)  # the arrays of two data sets, whatever the other options
def _load(dataset: str, file: str, data_dir: str | None) -> Materials:
    path = pathlib.Path(file) if file else None
    split = functools.partial(images.load, dataset, data_dir=data_dir)
    classifier = classifier_files.ready(dataset, path, data_dir)
    return Materials(split("train"), split("test"), classifier)


def _source(of: Materials) -> image_experiment.Source:
    return image_experiment.Source(of.train.source, of.train.image, of.test.image)


def dry_run(config: Config, options: Options) -> str:
    """Return what a step would cost: parameters, arithmetic, memory, communication.

    Raises:
      InputError: see `check_config` and `image_experiment.check_config`.
    """
    check_config(config, options)
    source = _source(materials(config.dataset, options))
    return image_experiment.dry_run(config, options, source)


@numerics.standard
def run(config: Config, options: Options, workdir: pathlib.Path) -> dict[str, Any]:
    """Train all seeds, or go on, or take what is trained; measure and record it.

    Args:
      config: what to train.
      options: how to run it.
      workdir: gets what `images.run` leaves there; reconstructions.png is of two
        digits of each class, and codes.png holds the codes against N(0, 1).

    Returns:
      The record.

    Raises:
      InputError: for what `check` refuses, before any work.
      loop.Interrupted, loop.NonFinite: see `loop.train`.
    """
    clock = metrics_log.Clock(workdir)
    check([(workdir, config)], options)
    of = materials(config.dataset, options)
    source = _source(of)
    trained = image_experiment.train(config, options, workdir, source)
    return distributed.on_main_process(
        lambda: _measure(config, options, workdir, source, trained, of, clock)
    )


def _measure(
    config: Config,
    options: Options,
    workdir: pathlib.Path,
    source: image_experiment.Source,
    trained: tuple[TrainState, dict[int, str]],
    of: Materials,
    clock: metrics_log.Clock,
) -> dict[str, Any]:
    """What `run` does of a trained run."""
    states = sampling.each_seed(trained[0])
    shown = first_of_each_class(of.test.label)
    inferred, reconstructed, scored = {}, {}, []
    for number, state_1 in zip(options.seed_numbers(), states, strict=True):
        seed = codes.infer(state_1, of.test.image, config=config)
        scored.append(score(seed, state_1, of, config))
        # Codes are small; of the images only those of the figure are kept.
        reconstructed[f"seed {number}"] = seed.x_NX[shown]
        inferred[f"seed {number}"] = seed.point_NZ, seed.code_NZ
        del seed
    metrics = {n: np.array([s[n] for s in scored]) for n in inference_metrics.METRICS}
    record = image_experiment.finish(
        config, options, workdir, source, trained, clock, metrics
    )
    record |= {
        "code": codes.describe(config),
        "classifier": of.classifier.identity,
        "baselines": baselines(config.dataset, config.latent_size, options),
    }
    record["wall_seconds"] = clock.seconds()
    records.write(workdir / "results.json", record)
    draw_reconstructions(reconstructed, of, config, workdir)
    rows = {"R(x)": {label: point_NZ for label, (point_NZ, _) in inferred.items()}}
    if codes.is_random(config):
        rows["z ~ p(z | x)"] = {label: z_NZ for label, (_, z_NZ) in inferred.items()}
    about = f"{config.method} on {config.dataset}\ncodes of the test digits"
    inference_figures.draw_codes(rows, about, workdir / "codes.png")
    return record


def score(
    inferred: codes.Inferred, state: TrainState, of: Materials, config: Config
) -> dict[str, float]:
    """Return the metrics of one seed, by the names of `inference_metrics.METRICS`."""
    test_NX = as_vectors(of.test)
    z_NZ, code_NZ = codes.recover(state, config=config)
    classify = functools.partial(_classify, of.classifier)
    code = inference_metrics.code_metrics(inferred.code_NZ)
    point = (
        code
        if not codes.is_random(config)
        else inference_metrics.code_metrics(inferred.point_NZ)
    )
    return {
        "reconstruction": inference_metrics.squared_error(inferred.x_NX, test_NX),
        "drawn_reconstruction": inference_metrics.squared_error(
            inferred.drawn_x_NX, test_NX
        ),
        "latent": inference_metrics.squared_error(
            np.asarray(z_NZ), np.asarray(code_NZ)
        ),
        "agreement": inference_metrics.agreement(
            classify(test_NX), classify(inferred.x_NX)
        ),
        **{f"code_{name}": value for name, value in code.items()},
        **{f"point_{name}": value for name, value in point.items()},
    }


def as_vectors(split: images.Images) -> np.ndarray:
    """Images as float32 [N, X] in [0, 1]."""
    return split.image.reshape(len(split.image), -1).astype(np.float32) / 255


def _classify(classifier: classifiers.Classifier, x_NX: np.ndarray) -> np.ndarray:
    """Labels [N] of images [N, X] in [0, 1], rounded as files of them would be."""
    shape = images.SHAPES[classifier.dataset]
    x_NX = np.asarray(2 * x_NX - 1, np.float32)
    return classifiers.classify(classifier, x_NX.reshape(-1, *shape))


def baselines(
    dataset: str, latent_size: int, options: Options
) -> dict[str, dict[str, Any]]:
    """Return the metrics without a GAN of a data set, the same for all its runs."""
    return _baselines(
        dataset, latent_size, options.classifier, options.data_dir or None
    )


@functools.lru_cache(16)
def _baselines(
    dataset: str, latent_size: int, file: str, data_dir: str | None
) -> dict[str, dict[str, Any]]:
    of = _load(dataset, file, data_dir)
    classify = functools.partial(_classify, of.classifier)
    train_NX, test_NX = as_vectors(of.train), as_vectors(of.test)
    return {
        row: {name: records.number(value) for name, value in metrics.items()}
        for row, metrics in inference_metrics.baselines(
            train_NX, test_NX, of.test.label, classify, latent_size
        ).items()
    }


def first_of_each_class(label_N: np.ndarray, each: int = 2) -> np.ndarray:
    """Return indices of the first images of every class, class by class."""
    classes = np.unique(label_N)
    return np.concatenate([np.flatnonzero(label_N == c)[:each] for c in classes])


def draw_reconstructions(
    reconstructed: dict[str, np.ndarray],
    of: Materials,
    config: Config,
    workdir: pathlib.Path,
) -> None:
    """Draw test digits over G(R(x)) of each seed and over PCA's reconstruction.

    Args:
      reconstructed: label -> G(R(x)) of `first_of_each_class`, pixels in [0, 1].
      of: the data.
      config: of the run.
      workdir: gets reconstructions.npz and reconstructions.png.
    """
    chosen = first_of_each_class(of.test.label)
    real_NX = as_vectors(of.test)[chosen]
    model = pca.fit(as_vectors(of.train), config.latent_size)
    rows = {"test x": real_NX}
    rows |= {f"G(R(x)), {label}": x_NX for label, x_NX in reconstructed.items()}
    rows |= {f"PCA, {len(model.std_K)} components": model.reconstruct(real_NX)}
    shape = of.test.image.shape[1:]
    rows = {
        label: pixels.unit_to_uint8(x_NX).reshape(-1, *shape)
        for label, x_NX in rows.items()
    }
    x, *of_seeds, _ = rows.values()
    files.write_compressed(
        workdir / "reconstructions.npz", x=x, reconstructed=np.stack(of_seeds)
    )
    plots.image_grid(
        rows,
        workdir / "reconstructions.png",
        f"{config.method} on {config.dataset}: first test digits and reconstructions",
        columns=len(chosen),
    )


def table(runs: dict[str, dict[str, Any]], names: Sequence[str] = COLUMNS) -> str:
    """Results as Markdown: what needs no GAN, then ours, mean and spread over seeds.

    Args:
      runs: label of the row -> record, all of one data set and latent size.
      names: of the metrics to show.
    """
    first = next(iter(runs.values()))
    header = ["", *[n.replace("_", " ") for n in names]]
    rows = [
        [row, *[records.cell(metrics.get(n)) for n in names]]
        for row, metrics in first["baselines"].items()
    ]
    for label, run in runs.items():
        cells = [records.cell(run["mean"][n], run["std"][n]) for n in names]
        rows.append([f"**{label}**", *cells])
    right = first["classifier"]["test_accuracy"]
    meanings = ". ".join(f"{label}: z = {run['code']}" for label, run in runs.items())
    return (
        f"{records.table(header, rows)}\n\n"
        f"The classifier gets {right:.2f} % of the test images right. "
        f"Codes: {meanings}."
    )
