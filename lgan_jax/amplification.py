"""The amplification experiment: does a classifier gain from generated images?

    materials = amplification.prepare(config, options, workdir)
    models = stages.train(materials.task, config, options.stages(), workdir)
    record = amplification.run(models, materials, options, workdir)

For every seed a fraction of the training images is known. Models learn from these
images alone, and classifiers learn from them and from what the models generate. The
accuracies of each cell (see `cells`) are kept as soon as they are measured, so that a
stopped run continues with the next cell.

Dimension key: S seeds, K classes, d encoding.
"""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np
import tqdm

from lgan_jax import autoencoder, cells, sample_quality, stages
from lgan_jax import materials as run_materials
from lgan_jax.config import Config
from lgan_jax.encodings import Encodings
from lgan_jax.generators import OWN
from lgan_jax.materials import Materials
from lgan_jax.options import BASIC, STRONG, Options, recipe
from lgan_jax.stages import Models
from veegan_jax.common import errors, memory, records
from veegan_jax.runtime import distributed, numerics, parallel, workdirs


@numerics.standard
def prepare(config: Config, options: Options, workdir: pathlib.Path) -> Materials:
    """Load the data of a run and claim its work directory.

    Raises:
      InputError: before any work, for flags, data, a classifier or a work directory
        that cannot be used.
    """
    devices = len(jax.devices())
    for flag in ("autoencoder_batch", "sampler_batch"):
        parallel.check(options.parallel, getattr(config, flag), devices, flag)
    for kind in (BASIC, STRONG):
        made = recipe(config.dataset, kind, options)
        if made.steps % made.eval_points:
            raise errors.InputError(
                f"--classifier_steps={made.steps} must be a multiple of "
                f"{made.eval_points}"
            )
    _check_memory(config, options)
    materials = run_materials.load(config, options)
    if options.sample_quality:
        known_K = materials.task.count_SK.min(axis=0)
        sample_quality.check(known_K, materials.full.count_K, options.generated)
    kept = ("seeds", "first_seed", "repeats", "generated", "validate", "sample_quality")
    identity = dataclasses.asdict(config) | {n: getattr(options, n) for n in kept}
    identity["classifier_steps"] = recipe(config.dataset, BASIC, options).steps
    if options.classifier and materials.pinned:  # else the pinned one judges
        identity["classifier"] = materials.pinned.identity
    if not options.dry_run:
        workdirs.claim(workdir, identity)
    return materials


def _check_memory(config: Config, options: Options) -> None:
    """Refuse models and generated images that the memory cannot hold."""
    classes, seeds, names = 10, options.seeds, options.stages()
    num = options.generated
    memory.check(num * classes * config.data_size, f"--generated={num} of each class")
    for name, each, of in (
        ("autoencoder", classes, config),
        ("vae", classes, config),
        ("shared", config.shared_autoencoders, config.shared()),
    ):
        if name in names:
            needed = seeds * each * autoencoder.training_bytes(of)
            memory.check(needed, f"--seeds={seeds} of models of these sizes")


@numerics.standard
def run(
    models: Models, materials: Materials, options: Options, workdir: pathlib.Path
) -> dict[str, Any]:
    """Measure every cell that the work directory does not hold yet.

    Args:
      models: of `materials.task`, with the stages of `options.stages`.
      materials: from `prepare`.
      options: what to measure.
      workdir: gets cells/, with the metrics of every cell and the first images of
        every generator, and results.json.

    Returns:
      The record.
    """
    places = [
        (kind, name, s)
        for kind in (BASIC, STRONG)
        for name in options.judged(kind)
        for s in range(options.seeds)
    ]
    quiet = not distributed.is_main_process()
    with tqdm.tqdm(
        total=len(places), unit=" cells", dynamic_ncols=True, disable=quiet
    ) as bar:
        for kind, name, s in places:
            bar.set_description(f"{kind} {name}", refresh=True)
            path = cells.cell_path(workdir, kind, name, options.seed_numbers()[s])
            if not distributed.on_main_process(lambda p=path: cells.is_measured(p)):
                cells.measure(models, materials, options, kind, name, s, path)
            bar.update(1)

    def finish() -> dict[str, Any]:
        record = make_record(models.config, options, materials, workdir)
        if options.sample_quality:
            record["effective_dimension"] = effective_dimension(models)
        records.write(workdir / "results.json", record)
        return record

    return distributed.on_main_process(finish)


def effective_dimension(models: Models) -> float:
    """Directions that the encodings of a class use: the mean over seeds and classes."""

    def one(found: Encodings) -> jax.Array:
        y_Nd = found.restore(found.unit)
        return autoencoder.effective_dimension(y_Nd, found.weight())

    found_SK = jax.jit(jax.vmap(jax.vmap(one)))(models.encodings[OWN])
    return records.number(np.mean(found_SK))


def make_record(
    config: Config, options: Options, materials: Materials, workdir: pathlib.Path
) -> dict[str, Any]:
    """Collect the results and all that is needed to repeat them, as JSON values."""
    found = cells.read_cells(workdir, options)
    each = [cell for rows in found.values() for row in rows.values() for cell in row]
    seconds = stages.seconds(options.stages(), workdir)
    return {
        **records.provenance(),
        "config": dataclasses.asdict(config),
        # The places of data and classifier are not needed to repeat the run.
        "options": dataclasses.asdict(options) | {"data_dir": "", "classifier": ""},
        "data": materials.train.source,
        "judged_by": "images held out" if options.validate else "the test images",
        "known": int(materials.task.count_SK[0].sum()),
        "classes": materials.task.num_classes,
        "pinned_classifier": materials.pinned and materials.pinned.identity,
        "wall_seconds": None
        if seconds is None
        else seconds + sum(cell["seconds"] for cell in each),
        # More than one, if the code changed between a stop and its continuation.
        "commits": sorted({cell["commit"] for cell in each if "commit" in cell}),
        "cells": found,
    }
