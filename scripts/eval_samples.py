"""Does it drop modes? Scores an array of samples made by any model.

    python scripts/eval_samples.py --dataset=ring samples.npy

The file is a .npy, or an .npz of one array (else --key names it), of shape [number of
samples, dimensions] (2 for ring and grid, 1200 for high_dim), in the unit of the means
that --help lists. The script prints every metric of the tables, beside the oracle: the
same metric of true samples. The paper scores 2,500 samples. It takes seconds on one CPU
core. True samples of the ring score 8 modes and about 98.9 % high quality. Files that
exist are not overwritten.
"""

import pathlib

import early  # noqa: F401
import jax
import numpy as np
from absl import flags

from veegan_jax.common import arrays, errors, figures, files, memory, plots, records
from veegan_jax.common import flags as common_flags
from veegan_jax.data import mixtures
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.presets import mixtures as mixture_presets
from veegan_jax.runtime import program

DATASET = flags.DEFINE_string(
    "dataset", "ring", f"the true distribution. {mixture_presets.DESCRIPTION}"
)
KEY = flags.DEFINE_string("key", "", "name of the array, in an .npz of several")
FILLED = common_flags.define_number(
    "filled",
    mixture_metrics.FILLED,
    "the part of its perfect share of good samples from which a mode is filled",
    within="(0, 1]",
)
OUTPUT = common_flags.define_path(
    "output", None, "also write the metrics to this new JSON file"
)
FIGURE = common_flags.define_path(
    "figure", None, "also draw the samples to this new file, PNG, PDF or SVG"
)

FEW = 10  # % of the samples near a mean, below which their range is shown


def load(path: pathlib.Path, mixture: mixtures.Mixture) -> np.ndarray:
    """Read samples [N, X] as float32.

    Raises:
      InputError: naming the file and what is wrong with it.
    """

    def check(shape: tuple[int, ...], dtype: np.dtype) -> None:
        if len(shape) != 2 or shape[1] != mixture.size or not shape[0]:
            raise errors.InputError(
                f"{path} has shape {shape}; --dataset={DATASET.value} needs "
                f"[number of samples, {mixture.size}]"
            )
        if not np.issubdtype(dtype, np.floating):
            raise errors.InputError(
                f"{path} holds {arrays.type_name(dtype)}, not floating-point numbers"
                + arrays.as_float32(dtype)
            )
        bytes_each = mixture_metrics.bytes_each(mixture) + shape[1] * dtype.itemsize
        memory.check_samples(path, shape[0], bytes_each)

    data = arrays.read(path, KEY.value, check)
    with np.errstate(over="ignore"):
        x_NX = data.astype(np.float32)
        # The metrics are sums of squares.
        fits_N = np.isfinite(np.square(x_NX).sum(axis=1))
    if not fits_N.all():
        finite_N = np.isfinite(data).all(axis=1)
        bad_N, why = ~finite_N, "not finite"
        if finite_N.all():
            bad_N, most = ~fits_N, np.abs(data).max()
            why = f"too large for float32 (up to {most:.3g}): check their scale"
        raise errors.InputError(
            f"{path}: {bad_N.sum()} of {len(data)} samples are {why}"
        )
    return x_NX


def ranges(x_NX: np.ndarray, mixture: mixtures.Mixture, label: str) -> str:
    """Make a table of the smallest and largest values, beside those of true samples.

    It has a row for each dimension; in 1200-D one for those with noise and one for the
    others.
    """
    live, size = mixture.live_size, mixture.size
    parts = [(d, d + 1) for d in range(size)]
    if live < size:
        parts = [(0, live), (live, size)]
    true_NX = np.asarray(mixtures.sample(mixture, jax.random.key(0), 2500))
    rows = []
    for start, end in parts:
        of_both = (x[:, start:end] for x in (x_NX, true_NX))
        name = f"x{end}" if end == start + 1 else f"x{start + 1} to x{end}"
        rows.append([name, *(f"{x.min():.4g} to {x.max():.4g}" for x in of_both)])
    return records.table(["values", label, "true samples"], rows)


def main(file: str) -> None:
    output = files.check_output(OUTPUT.value, "output", ".json")
    figure = files.check_output(FIGURE.value, "figure", *figures.SUFFIXES)
    mixture = mixtures.get(DATASET.value)
    path = pathlib.Path(file)
    x_NX = load(path, mixture)
    filled = FILLED.value
    metrics = mixture_experiment.judge(x_NX[None], DATASET.value, filled)
    true = mixture_experiment.oracle(DATASET.value, len(x_NX), filled=filled)
    meaning = mixture_metrics.METRICS | {
        "filled_modes": f"modes with {100 * filled:g} % of their share of good samples"
    }
    name = figures.one_line(path.name)
    names = [n for n in mixture_metrics.METRICS if n in metrics]
    rows = [
        [n.replace("_", " "), records.cell(metrics[n][0]), records.cell(true[n].mean())]
        + [meaning[n]]
        for n in names
    ]
    cells = [{n: of[n].mean() for n in names} for of in (metrics, true)]
    why = records.why_empty(cells, mixture_metrics.UNDEFINED)
    print(f"{len(x_NX)} samples, {mixture.num_modes} modes in {DATASET.value}\n")
    print(records.table(["", name, "oracle", "meaning"], rows) + why)
    if metrics.get("calibrated", metrics["high_quality"])[0] < FEW:
        print(
            f"\nFew samples are near a mean ({mixtures.describe(mixture)}). "
            "If they were scaled, shifted or standardized, undo that first.\n"
        )
        print(ranges(x_NX, mixture, name))
    if output:
        record = {
            **records.provenance(),
            "dataset": DATASET.value,
            "samples": len(x_NX),
            "filled": filled,
            "metrics": {n: metrics[n][0] for n in names},
            "histogram": list(metrics["histogram"][0]),
            "oracle": {n: true[n].mean() for n in names},
        }
        records.write(output, record)
    if figure:
        truth = mixtures.sample(mixture, jax.random.key(0), 2500)
        plots.samples_and_density(
            {name: mixture_experiment.project(x_NX, DATASET.value)},
            mixture_experiment.project(np.asarray(truth), DATASET.value),
            figure,
            axes=mixture_experiment.axes(DATASET.value),
        )


if __name__ == "__main__":
    program.run(main, "file of samples: eval_samples.py samples.npy")
