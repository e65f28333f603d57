"""Tables and figures of Stacked MNIST. No flags here."""

import pathlib

import numpy as np
from tables import common

from veegan_jax.common import plots
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import stacked_mnist as stacked_mnist_presets


def tables(results: pathlib.Path) -> dict[str, str]:
    """Make the tables by name, and draw results/figures/DATASET-PRESET.png.

    The names are "DATASET-PRESET" and "DATASET-PRESET-details".

    Args:
      results: the folder of the records.
    """
    made = {}
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
