"""Cells of the amplification experiment: measured one by one, each kept in a file.

A cell is one seed, one generator (or none) and one kind of classifier.

Dimension key: K classes, X numbers of an image, G generated images of a class, A
shares, R repeats, E evaluation points, H height, W width, C channels.
"""

import pathlib
import time
from typing import Any, BinaryIO

import jax
import numpy as np

from lgan_jax import classifier, generation, sample_quality
from lgan_jax.materials import Materials
from lgan_jax.options import ALL, BASIC, NONE, SHARES, STRONG, Options, recipe
from lgan_jax.stages import Models
from veegan_jax.common import files, json_files, records
from veegan_jax.runtime import distributed, rng

_KEPT = 64  # images of each class that are kept for the figures

# Kind of classifier -> generator, ALL or NONE -> the cell of each seed.
Cells = dict[str, dict[str, list[dict[str, Any]]]]


def cell_path(workdir: pathlib.Path, kind: str, name: str, seed: int) -> pathlib.Path:
    """Return where the metrics of a cell are kept."""
    return workdir / "cells" / f"{kind}-{name.replace(' ', '_')}-seed{seed}.json"


def measure(
    models: Models,
    materials: Materials,
    options: Options,
    kind: str,
    name: str,
    s: int,
    path: pathlib.Path,
) -> dict[str, Any]:
    """Measure one cell and write it to a file.

    Args:
      models: with the stages that the generator needs.
      materials: the run's.
      options: the run's.
      kind: of classifier, BASIC or STRONG.
      name: a generator, or ALL or NONE.
      s: the place of the seed.
      path: the file. For the first seed and the basic classifier, a file beside it in
        .npz gets the first images of each class.

    Returns:
      The seed, the shares, the accuracies [A, R, E] in % and, for the basic classifier
      and a generator, the sample quality.
    """
    start = time.perf_counter()
    config, task = models.config, models.task
    generates = name not in (ALL, NONE)
    split = materials.full if name == ALL else task.splits[s]
    shares = SHARES if generates else (0.0,)
    x_KGX = task.image_MX[:1][None]  # never read where the share is 0
    if generates:
        x_KGX = generation.generate(models, name, s, options.generated)
    seed = task.seeds[s]
    keys_R = jax.random.split(rng.key(seed), options.repeats)
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
        "accuracy": accuracy_ARE.round(4).tolist(),
    }

    def finish() -> None:
        path.parent.mkdir(exist_ok=True)
        if generates and kind == BASIC:
            if options.sample_quality:
                cell["sample_quality"] = sample_quality.measure(
                    models, materials.train.label, materials.pinned, s, x_KGX
                )
            if s == 0:
                image = x_KGX[:, :_KEPT].reshape(len(x_KGX), -1, *task.shape)
                files.write_compressed(path.with_suffix(".npz"), image=image)
        cell["seconds"] = round(time.perf_counter() - start, 1)
        cell["commit"] = records.commit()
        records.write(path, cell)

    distributed.on_main_process(finish)
    return cell


def is_measured(path: pathlib.Path) -> bool:
    """Return whether a cell and the images beside it, if any, can be read.

    A damaged file is set aside, so that the cell is measured again.
    """
    images = path.with_suffix(".npz")
    there = images.exists()
    found = files.load_cached(images, _load_images) if there else None
    return _load(path) is not None and (found is not None) == there


def _load(path: pathlib.Path) -> dict[str, Any] | None:
    def load(file: BinaryIO) -> dict[str, Any]:
        cell = json_files.parse(file.read())
        if missing := {"seed", "shares", "accuracy", "seconds"} - cell.keys():
            raise ValueError(f"it lacks {missing.pop()}")
        return cell

    return files.load_cached(path, load)


def _load_images(file: BinaryIO) -> np.ndarray:
    with np.load(file, allow_pickle=False) as data:
        return data["image"]


def read_cells(workdir: pathlib.Path, options: Options) -> Cells:
    """Read all cells of a finished run."""
    remedy = "give the same command to measure it again"
    return {
        kind: {
            name: [
                json_files.read(cell_path(workdir, kind, name, seed), remedy)
                for seed in options.seed_numbers()
            ]
            for name in options.judged(kind)
        }
        for kind in (BASIC, STRONG)
        if options.judged(kind)
    }


def read_images(workdir: pathlib.Path, options: Options) -> dict[str, np.ndarray]:
    """Read the first seed's first images by each generator, uint8 [K, G, H, W, C]."""
    kept = {}
    for name in options.judged(BASIC):
        path = cell_path(workdir, BASIC, name, options.first_seed).with_suffix(".npz")
        found = files.load_cached(path, _load_images)
        if found is not None:
            kept[name] = found
    return kept
