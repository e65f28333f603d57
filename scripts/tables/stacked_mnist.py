"""Tables and figures of Stacked MNIST. No flags here."""

import itertools
import json
import pathlib

import numpy as np
from tables import common

from veegan_jax.common import plots, records
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import stacked_mnist as stacked_mnist_presets

CLASSIFIERS = "stacked_mnist/classifiers"  # records of the same samples, rescored


def tables(results: pathlib.Path) -> dict[str, str]:
    """Make the tables by name, and draw results/figures/DATASET-PRESET.png.

    The names are "DATASET-PRESET", "DATASET-PRESET-details" and
    "stacked_mnist-classifiers".

    Args:
      results: the folder of the records.
    """
    made = {"stacked_mnist-classifiers": classifiers(results)}
    for dataset in stacked_mnist_experiment.DIGITS:
        for preset in stacked_mnist_presets.PRESETS:
            name, folder = f"{dataset}-{preset}", results / dataset / preset
            rows = common.read(folder)
            if not rows:
                made[name] = made[f"{name}-details"] = common.EMPTY
                continue
            made[name] = stacked_mnist_experiment.table(common.labelled(rows))
            made[f"{name}-details"] = common.repeat(rows)
            panels = {}
            for file, label in {"real": "real", **common.LABELS}.items():
                if file in ("real", *rows):
                    with np.load(folder / f"{file}.npz", allow_pickle=False) as data:
                        panels[label] = data["image"]
            title = f"{dataset}, preset {preset}: the first seed's first samples"
            plots.image_grid(panels, results / "figures" / f"{name}.png", title)
    return made


def classifiers(results: pathlib.Path) -> str:
    """Make the table of the same samples scored by several classifiers.

    Below the rows of each method stand the mean and standard deviation over the
    classifiers, and the standard deviation over training seeds, for comparison.
    """
    paths = sorted((results / CLASSIFIERS).glob("*.json"))
    scored = [json.loads(path.read_text()) for path in paths]
    if not scored:
        return common.EMPTY
    names = list(scored[0]["metrics"])
    scored.sort(key=lambda r: (r["file"], r["classifier"]["seed"]))
    rows = []
    for run, group in itertools.groupby(scored, key=lambda r: r["file"]):
        preset, method = pathlib.Path(run).parts[-2:]
        label, values = common.LABELS[method], {name: [] for name in names}
        for record in group:
            judge = record["classifier"]
            metrics = [record["metrics"][name] for name in names]
            rows.append(
                [
                    label,
                    f"{judge['sha256'][:8]}, seed {judge['seed']}, "
                    f"{judge['test_accuracy']:.2f} %",
                    *[records.cell(value) for value in metrics],
                ]
            )
            for name, value in zip(names, metrics, strict=True):
                values[name].append(value)
        over = [records.cell(np.mean(v), np.std(v, ddof=1)) for v in values.values()]
        rows.append([f"**{label}**", "all classifiers", *over])
        trained = results / "stacked_mnist" / preset / f"{method}.json"
        std = json.loads(trained.read_text())["std"]
        spread = [records.cell(0, std[name]).removeprefix("0 ") for name in names]
        rows.append([label, "spread over training seeds", *spread])
    header = ["", "classifier", *[name.replace("_", " ") for name in names]]
    return records.table(header, rows)
