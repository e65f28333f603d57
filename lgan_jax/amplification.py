"""The amplification experiment: does a classifier gain from generated images?

For every seed: a fraction of the training images is known; models learn from it and
from nothing else; classifiers learn from it and what the models generate. One cell is
one seed, one way to generate and one kind of classifier; its figures are kept as soon
as they are known, so that a stopped run goes on with the next cell.

Dimension key: S seeds, K classes, M images of the data set, T test images, X numbers
of an image, A shares, R repeats, E readings.
"""

import dataclasses
import functools
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np
import tqdm

from lgan_jax import (
    autoencoder,
    classifier,
    evidence,
    generation,
    generators,
    splits,
    stages,
)
from lgan_jax.config import Config, option
from lgan_jax.encodings import Encodings
from lgan_jax.generators import OWN
from lgan_jax.stages import Models
from lgan_jax.task import Task
from veegan_jax.classifier import files as classifier_files
from veegan_jax.classifier import network as pinned_classifiers
from veegan_jax.common import errors, records
from veegan_jax.data import images
from veegan_jax.runtime import distributed, parallel, workdirs

SHARES = (0.25, 0.5, 0.75)  # of a batch, generated
ALL, NONE = "all data", "none"  # without generation: all images known, the fraction
BASIC, STRONG = "basic", "strong"  # classifiers
TENTH = 0.1
_JUDGED = 200  # images of each class that the evidence rests on
_KEPT = 64  # images of each class that are kept to be looked at

Cells = dict[str, dict[str, list[dict[str, Any]]]]  # classifier -> way -> per seed


@dataclasses.dataclass(frozen=True)
class Options:
    """How much to measure, and how to run it."""

    ways: str = option(
        "lgan,plain_gan,gaussian,mixup,decoded,vae,affine,lgan_moves",
        "main",
        "what to generate by: names of lgan_jax/generators.py, with commas between",
    )
    strong_ways: str = option(
        "", "main", "those to judge by the stronger classifier too"
    )
    seeds: int = option(10, "run", "splits of the data, with all their models")
    first_seed: int = option(0, "run", "seeds are first_seed, first_seed + 1, ...")
    repeats: int = option(2, "run", "classifiers of each seed, way and share")
    generated: int = option(5000, "run", "generated images of each class")
    validate: bool = option(
        False, "run", "judge by training images held out, not by the test set: to tune"
    )
    evidence: bool = option(
        True, "run", "also measure what is generated, not only what it is worth"
    )
    classifier_steps: int = option(0, "run", "of each classifier; 0: as published")
    classifier: str = option(
        "",
        "run",
        "file of the pinned classifier that judges labels; empty: the default",
    )
    data_dir: str = option(
        "", "run", "tensorflow-datasets' folder; empty: TFDS_DATA_DIR"
    )
    parallel: str = option(
        "none",
        "run",
        "none: seeds and classes spread over devices; jit or pmap: "
        "each batch of the generating models split",
    )
    save_every: float = option(60.0, "run", "seconds between checkpoints of a stage")
    dry_run: bool = option(
        False,
        "run",
        "compile the stages of the models; print parameters, arithmetic, memory and "
        "communication of a step of each; train nothing, write nothing",
    )

    def __post_init__(self) -> None:
        for name in ("seeds", "repeats", "generated"):
            if getattr(self, name) < 1:
                raise errors.InputError(
                    f"--{name}={getattr(self, name)} must be at least 1"
                )
        for name in ("first_seed", "classifier_steps"):
            if getattr(self, name) < 0:
                raise errors.InputError(
                    f"--{name}={getattr(self, name)} must be at least 0"
                )
        if self.seed_numbers().stop > 2**32:
            raise errors.InputError(
                f"--first_seed={self.first_seed}: seeds must be below 2**32"
            )
        for way in (*self.judged(BASIC), *self.judged(STRONG)):
            if way not in (ALL, NONE):
                generators.check(way)

    def seed_numbers(self) -> range:
        """The seeds of the run."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def judged(self, kind: str) -> tuple[str, ...]:
        """What a kind of classifier is trained on."""
        listed = self.ways if kind == BASIC else self.strong_ways
        ways = tuple(way.strip() for way in listed.split(",") if way.strip())
        return (ALL, NONE, *ways) if ways or kind == BASIC else ()

    def stages(self) -> tuple[str, ...]:
        """The stages of training that the run needs, in order."""
        ways = (*self.judged(BASIC), *self.judged(STRONG))
        chosen = [way for way in ways if way not in (ALL, NONE)]
        return generators.stages(chosen, sample_quality=self.evidence)


def preset(dataset: str, **changes: Any) -> Options:
    """The options for a data set: fewer seeds where a table is to appear at once."""
    few = {"seeds": 5} if dataset == "digits" else {}
    return Options(**few | changes)


def recipe(dataset: str, kind: str, options: Options) -> classifier.Recipe:
    """The classifiers: one hidden layer, as the published figures fit; and stronger."""
    shape = images.SHAPES[dataset]
    small = dataset == "digits"
    steps = options.classifier_steps or (1200 if small else 3000)
    base = classifier.Recipe(shape=shape, steps=steps, batch_size=64 if small else 128)
    if kind == BASIC:
        return base
    first = (16, 3, 1) if small else (16, 5, 2)
    layers = (first, (32, 3, 2))
    return dataclasses.replace(base, layers=layers, hidden=128)


def prepare(config: Config, options: Options, workdir: pathlib.Path) -> "Materials":
    """Load the data; refuse, before any work, a run that could not be carried out.

    Raises:
      InputError: for flags, data, a classifier or a work directory that cannot be used.
    """
    devices = len(jax.devices())
    for flag in ("autoencoder_batch", "sampler_batch"):
        parallel.check(options.parallel, getattr(config, flag), devices, flag)
    size = int(np.prod(images.SHAPES[config.dataset]))
    if config.data_size != size:
        raise errors.InputError(
            f"--data_size={config.data_size}: {config.dataset} has {size}; leave the "
            "flag out"
        )
    for kind in (BASIC, STRONG):
        made = recipe(config.dataset, kind, options)
        if made.steps % made.readings:
            raise errors.InputError(
                f"--classifier_steps={made.steps} must be a multiple of {made.readings}"
            )
    materials = load(config, options)
    if options.evidence:
        known = materials.task.count_SK.min(axis=0)
        evidence.check(known, materials.full.count_K, options.generated)
    kept = ("seeds", "first_seed", "repeats", "generated", "validate", "evidence")
    identity = dataclasses.asdict(config) | {n: getattr(options, n) for n in kept}
    identity["classifier_steps"] = recipe(config.dataset, BASIC, options).steps
    if options.classifier and materials.pinned:  # else the default one judges
        identity["classifier"] = materials.pinned.identity
    if not options.dry_run:
        workdirs.claim(workdir, identity)
    return materials


@dataclasses.dataclass(frozen=True, eq=False)
class Materials:
    """The data of a run and who judges it."""

    train: images.Images
    task: Task
    full: splits.Split
    tests: tuple[tuple[np.ndarray, np.ndarray], ...]  # images and labels by seed
    pinned: pinned_classifiers.Classifier | None  # None: nothing asks for it


def load(config: Config, options: Options) -> Materials:
    """Load the data of a run, and the pinned classifier if it is asked for."""
    data_dir = options.data_dir or None
    train, test = (
        images.load(config.dataset, s, data_dir=data_dir) for s in images.SPLITS
    )
    pinned = None
    if options.evidence:
        path = pathlib.Path(options.classifier) if options.classifier else None
        pinned = classifier_files.ready(config.dataset, path, data_dir)
    image_MX = _flat(train.image)
    known, tests = [], []
    for seed in options.seed_numbers():
        known.append(splits.stratified(train.label, config.fraction, seed))
        judged = _flat(test.image), test.label
        if options.validate:
            known[-1], rows = splits.inside(train.label, config.fraction, TENTH, seed)
            judged = image_MX[rows], train.label[rows]
        tests.append(judged)
    task = Task(image_MX, train.image.shape[1:], tuple(known), options.seed_numbers())
    full = splits.stratified(train.label, 1.0, 0)
    return Materials(train, task, full, tuple(tests), pinned)


def _flat(image: np.ndarray) -> np.ndarray:
    return image.reshape(len(image), -1)


def run(
    models: Models, materials: Materials, options: Options, workdir: pathlib.Path
) -> dict[str, Any]:
    """Measures every cell that the work directory does not hold yet.

    Args:
      models: of `materials.task`, with the stages of `options.stages`.
      materials: from `prepare`.
      options: what to measure.
      workdir: gets cells/ with the figures of every cell and, of the first seed, the
        first images of each class of every way; and results.json.

    Returns:
      The record.
    """
    config = models.config
    cells = [
        (kind, way, s)
        for kind in (BASIC, STRONG)
        for way in options.judged(kind)
        for s in range(options.seeds)
    ]
    quiet = not distributed.is_main_process()
    with tqdm.tqdm(
        total=len(cells), unit=" cells", dynamic_ncols=True, disable=quiet
    ) as bar:
        for kind, way, s in cells:
            bar.set_description(f"{kind} {way}", refresh=True)
            path = cell_path(workdir, kind, way, options.seed_numbers()[s])
            if not distributed.on_main_process(path.exists):
                _measure(models, materials, options, kind, way, s, path)
            bar.update(1)

    def finish() -> dict[str, Any]:
        record = make_record(config, options, materials, workdir)
        if options.evidence:
            record["effective_dimension"] = effective_dimension(models)
        records.write(workdir / "results.json", record)
        return record

    return distributed.on_main_process(finish)


def cell_path(workdir: pathlib.Path, kind: str, way: str, seed: int) -> pathlib.Path:
    """Where the figures of a cell are kept."""
    return workdir / "cells" / f"{kind}-{way.replace(' ', '_')}-seed{seed}.json"


def _measure(
    models: Models,
    materials: Materials,
    options: Options,
    kind: str,
    way: str,
    s: int,
    path: pathlib.Path,
) -> dict[str, Any]:
    """Writes one cell: accuracies [A, R, E], and for the basic one the evidence."""
    start = time.perf_counter()
    config, task = models.config, materials.task
    generates = way not in (ALL, NONE)
    split = materials.full if way == ALL else task.splits[s]
    shares = SHARES if generates else (0.0,)
    x_KGX = task.image_MX[:1][None]  # never read where the share is 0
    if generates:
        x_KGX = generation.generate(models, way, s, options.generated)
    seed = task.seeds[s]
    keys_R = jax.random.split(jax.random.key(seed), options.repeats)
    data = classifier.Data(
        task.image_MX,
        materials.train.label,
        split.all_rows(),
        x_KGX.reshape(-1, x_KGX.shape[-1]),
        np.repeat(np.arange(len(x_KGX), dtype=np.int32), x_KGX.shape[1]),
        *materials.tests[s],
    )
    accuracy_CE = classifier.train_all(
        keys_R[np.tile(np.arange(options.repeats), len(shares))],
        np.repeat(shares, options.repeats),
        data,
        recipe(config.dataset, kind, options),
    )
    accuracy_ARE = accuracy_CE.astype(float).reshape(len(shares), options.repeats, -1)
    cell = {
        "seed": seed,
        "shares": shares,
        "accuracy": accuracy_ARE.round(3).tolist(),
    }
    judged = generates and kind == BASIC

    def finish() -> None:
        path.parent.mkdir(exist_ok=True)
        if judged and options.evidence:
            cell["evidence"] = _evidence(models, materials, s, x_KGX)
        if judged and s == 0:
            image = x_KGX[:, :_KEPT].reshape(len(x_KGX), -1, *task.shape)
            np.savez_compressed(path.with_suffix(".npz"), image=image)
        cell["seconds"] = round(time.perf_counter() - start, 1)
        cell["commit"] = records.commit()
        records.write(path, cell)

    distributed.on_main_process(finish)
    return cell


def _evidence(
    models: Models, materials: Materials, s: int, x_KGX: np.ndarray
) -> dict[str, float]:
    """The mean over the classes of every figure of `evidence`."""
    task, config = materials.task, models.config
    shape, states = (
        task.shape,
        jax.tree.map(lambda a: a[s], models.states["autoencoder"]),
    )
    judged_KJX = x_KGX[:, :_JUDGED]
    labels = np.repeat(np.arange(len(judged_KJX)), judged_KJX.shape[1])
    found = pinned_classifiers.classify(
        materials.pinned, judged_KJX.reshape(-1, *shape)
    )
    metrics = []
    for k, (rows, count) in enumerate(zip(*task.splits[s], strict=True)):
        of_class = jax.tree.map(lambda a, k=k: a[k], states)
        encode = functools.partial(autoencoder.encode, of_class, config=config)
        others = np.setdiff1d(np.flatnonzero(materials.train.label == k), rows)
        known, held, made = (
            x.astype(np.float32) / 255
            for x in (
                task.image_MX[rows[:count]],
                task.image_MX[others[:_JUDGED]],
                judged_KJX[k],
            )
        )
        codes = (np.asarray(encode(x)) for x in (made, known))
        metrics.append(evidence.class_metrics(made, known, held, *codes))
    mean = {n: float(np.mean([f[n] for f in metrics])) for n in metrics[0]}
    mean["fidelity"] = 100 * float(np.mean(found == labels))
    return {name: records.number(mean[name]) for name in evidence.METRICS}


def effective_dimension(models: Models) -> float:
    """Directions that the encodings of a class use: the mean over seeds and classes."""

    def one(found: Encodings) -> jax.Array:
        y_Nd = found.restore(found.unit)
        return autoencoder.effective_dimension(y_Nd, found.weight())

    found_SK = jax.jit(jax.vmap(jax.vmap(one)))(models.encodings[OWN])
    return records.number(np.mean(found_SK))


def read_cells(workdir: pathlib.Path, options: Options) -> Cells:
    """All cells of a finished run."""
    return {
        kind: {
            way: [
                json.loads(cell_path(workdir, kind, way, seed).read_text())
                for seed in options.seed_numbers()
            ]
            for way in options.judged(kind)
        }
        for kind in (BASIC, STRONG)
        if options.judged(kind)
    }


def read_images(workdir: pathlib.Path, options: Options) -> dict[str, np.ndarray]:
    """Way -> the first seed's first images, uint8 [K, G, H, W, C]."""
    kept = {}
    for way in options.judged(BASIC):
        path = cell_path(workdir, BASIC, way, options.first_seed).with_suffix(".npz")
        if path.exists():
            with np.load(path, allow_pickle=False) as data:
                kept[way] = data["image"]
    return kept


def make_record(
    config: Config, options: Options, materials: Materials, workdir: pathlib.Path
) -> dict[str, Any]:
    """The run's results and all that is needed to repeat them, as JSON values."""
    cells = read_cells(workdir, options)
    each = [cell for ways in cells.values() for way in ways.values() for cell in way]
    return {
        **records.provenance(),
        "config": dataclasses.asdict(config),
        # Where data and classifier lie is no part of what repeats them.
        "options": dataclasses.asdict(options) | {"data_dir": "", "classifier": ""},
        "data": materials.train.source,
        "judged_by": "images held out" if options.validate else "the test images",
        "known": int(materials.task.count_SK[0].sum()),
        "classes": materials.task.count_SK.shape[1],
        "pinned_classifier": materials.pinned and materials.pinned.identity,
        "wall_seconds": stages.seconds(options.stages(), workdir)
        + sum(cell["seconds"] for cell in each),
        # More than one, if the code changed between a stop and going on.
        "commits": sorted({cell["commit"] for cell in each if "commit" in cell}),
        "cells": cells,
    }
