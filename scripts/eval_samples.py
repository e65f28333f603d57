"""Does it drop modes? Scores an array of samples made by any model.

    python scripts/eval_samples.py --dataset=ring samples.npy

The file is a .npy, or an .npz of one array, of shape [number of samples, dimensions]
(2 for ring and grid, 1200 for high_dim). The script prints every metric of the tables,
beside the oracle: the same metric of true samples. The paper scores 2,500 samples. It
takes seconds on one CPU core. True samples of the ring score 8 modes and about 98.9 %
high quality.
"""

import pathlib

import early  # noqa: F401
import jax
import numpy as np
from absl import flags

from veegan_jax.common import errors, files, plots, records
from veegan_jax.common import flags as common_flags
from veegan_jax.data import mixtures
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.presets import mixtures as mixture_presets
from veegan_jax.runtime import program

DATASET = flags.DEFINE_string(
    "dataset", "ring", f"the true distribution: {', '.join(mixture_presets.DATASETS)}"
)
OUTPUT = common_flags.define_path(
    "output", None, "also write the metrics to this JSON file"
)
FIGURE = common_flags.define_path(
    "figure", None, "also draw the samples to this PNG file"
)


def load(path: pathlib.Path, size: int) -> np.ndarray:
    """Read samples [N, size] as float32.

    Raises:
      InputError: naming the file and what is wrong with it.
    """
    data = files.read_array(path)
    if data.ndim != 2 or data.shape[1] != size or not len(data):
        raise errors.InputError(
            f"{path} has shape {data.shape}; --dataset={DATASET.value} needs "
            f"[number of samples, {size}]"
        )
    if not np.issubdtype(data.dtype, np.floating):
        raise errors.InputError(
            f"{path} holds {data.dtype}, not floating-point numbers"
        )
    if not np.isfinite(data).all():
        bad = int((~np.isfinite(data)).any(axis=1).sum())
        raise errors.InputError(f"{path}: {bad} of {len(data)} samples are not finite")
    return data.astype(np.float32)


def main(name: str) -> None:
    for flag in (OUTPUT, FIGURE):
        if flag.value and not pathlib.Path(flag.value).parent.is_dir():
            raise errors.InputError(
                f"--{flag.name}={flag.value}: there is no such folder"
            )
    mixture = mixtures.get(DATASET.value)
    path = pathlib.Path(name)
    x_NX = load(path, mixture.size)
    metrics = jax.tree.map(
        np.asarray, mixture_experiment.score(x_NX[None], DATASET.value)
    )
    true = mixture_experiment.oracle(DATASET.value, len(x_NX))
    names = [n for n in mixture_metrics.METRICS if n in metrics]
    rows = [
        [n.replace("_", " "), f"{metrics[n][0]:.4g}", f"{true[n].mean():.4g}"]
        + [mixture_metrics.METRICS[n]]
        for n in names
    ]
    print(f"{len(x_NX)} samples, {mixture.num_modes} modes in {DATASET.value}\n")
    print(records.table(["", path.name, "oracle", "meaning"], rows))
    if OUTPUT.value:
        record = {
            **records.provenance(),
            "dataset": DATASET.value,
            "samples": len(x_NX),
            "metrics": {n: metrics[n][0] for n in names},
            "histogram": list(metrics["histogram"][0]),
            "oracle": {n: true[n].mean() for n in names},
        }
        records.write(pathlib.Path(OUTPUT.value), record)
    if FIGURE.value:
        truth = mixtures.sample(mixture, jax.random.key(0), 2500)
        plots.samples_and_density(
            {path.name: mixture_experiment.project(x_NX, DATASET.value)},
            mixture_experiment.project(np.asarray(truth), DATASET.value),
            pathlib.Path(FIGURE.value),
            axes=mixture_experiment.AXES.get(DATASET.value, ("x1", "x2")),
        )


if __name__ == "__main__":
    program.run(main, "file of samples: eval_samples.py samples.npy")
