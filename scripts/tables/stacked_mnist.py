"""Tables and figures of Stacked MNIST. No flags here."""

import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from tables import checks, common, seeds

from veegan_jax.common import plots, records
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.metrics import stacked_mnist as stacked_mnist_metrics
from veegan_jax.metrics import stacked_mnist_sampling
from veegan_jax.presets import stacked_mnist as stacked_mnist_presets

CLASSIFIERS = "stacked_mnist/classifiers"  # records of the same samples, rescored
IMAGES = (None, None, None, None)
METRICS_OVER_TIME = "kl_uniform", "modes"
# The presets compared by steps, and not by the minutes of machines that were shared.
BY_STEPS = "quick", "quarter", "half"
_LATER = ("mode_diversity", "class_vendi")  # runs before these lack them
_METRICS = {
    f"{name}?" if name in _LATER else name: checks.METRIC
    for name in stacked_mnist_metrics.METRICS
}


def _is_run(value: Any) -> bool:
    folders = pathlib.PurePath(value).parts[-3:] if isinstance(value, str) else ()
    return (
        len(folders) == 3
        and folders[0] == "stacked_mnist"
        and folders[1] in stacked_mnist_presets.PRESETS
        and folders[2] in common.LABELS
    )


# The form of a record of eval_stacked_mnist.py.
RESCORED = {
    "command": checks.COMMAND,
    "file": checks.Kind(
        "the work directory of a run, .../stacked_mnist/PRESET/METHOD",
        _is_run,
        "the table compares classifiers on such runs; score that folder, or move this "
        "file away",
    ),
    "dataset": checks.one_of(["mnist"]),
    "metrics": _METRICS,
    "classifier": {
        "seed": checks.COUNT,
        "sha256": checks.TEXT,
        "test_accuracy": checks.NUMBER,
    },
}


def form(dataset: str) -> dict[str, Any]:
    """Return the form of a record; see `checks`."""
    return common.run(
        dataset,
        stacked_mnist_presets.PRESETS,
        _METRICS,
        oracle=_METRICS | {"modes": checks.NUMBER},
        expected={"*": checks.METRIC},
    )


def read(results: pathlib.Path, dataset: str, preset: str) -> common.Rows:
    """Read the records of one preset."""
    return common.read(results / dataset / preset, form(dataset))


def collect(run: pathlib.Path, dataset: str, results: pathlib.Path) -> common.Copy:
    """Read a finished run, with its first seed's samples.

    Raises:
      InputError: naming the file that cannot be used.
    """
    source = run / "results.json"
    record = checks.read(source, form(dataset))
    shapes = {"image": (None, *IMAGES), "real": IMAGES}
    arrays = checks.arrays(run / "samples.npz", shapes)
    folder = results / dataset / record["options"]["preset"]
    name = seeds.record_name(record)
    curves = common.over_time(run, METRICS_OVER_TIME)
    kept = {
        folder / "real.npz": {"image": arrays["real"]},
        folder / f"{name}.npz": {"image": arrays["image"][0, :32], **curves},
    }
    return common.Copy(source, folder / f"{name}.json", record, kept)


def collect_rescored(path: pathlib.Path, results: pathlib.Path) -> common.Copy:
    """Read a record of eval_stacked_mnist.py.

    Raises:
      InputError: naming the file and the field that cannot be used.
    """
    record = checks.read(path, RESCORED)
    return common.Copy(path, results / CLASSIFIERS / path.name, record)


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
            rows = read(results, dataset, preset)
            if not rows:
                made[name] = made[f"{name}-details"] = common.EMPTY
                continue
            made[name] = stacked_mnist_experiment.table(common.labelled(rows))
            made[f"{name}-details"] = common.repeat(rows)
            draw(folder, [m for m in common.LABELS if m in rows], results, name)
    return made


def draw(
    folder: pathlib.Path, methods: Sequence[str], results: pathlib.Path, name: str
) -> None:
    """Draw each method's samples beside real ones, and its metrics over time."""
    dataset, preset = folder.parts[-2:]
    unit = "steps" if preset in BY_STEPS else "minutes"
    samples = {"real": _shown(folder / "real.npz")}
    curves = {}
    for method in methods:
        label = common.LABELS[method]
        samples[label] = _shown(common.arrays_of(folder, method))
        if found := common.curves(folder, method, unit, METRICS_OVER_TIME):
            curves[label] = found
    title = f"{dataset}, preset {preset}: the first seed's first samples"
    if samples["real"].shape[-1] == 3:
        title += "; below each stack, its red digit"
    plots.image_grid(samples, results / "figures" / f"{name}.png", title)
    if curves:
        path = results / "figures" / f"{name}-{unit}.png"
        draw_over_time(curves, path, name, unit)


def _shown(path: pathlib.Path) -> np.ndarray:
    """Return the first stacks; those of three digits above their red digits in grey."""
    image_NHWC = checks.arrays(path, {"image": IMAGES})["image"]
    if image_NHWC.shape[-1] != 3:
        return image_NHWC
    first_NHWC = image_NHWC[:16]
    return np.concatenate([first_NHWC, np.repeat(first_NHWC[..., :1], 3, axis=-1)])


def draw_over_time(
    curves: dict[str, dict[str, np.ndarray]], path: pathlib.Path, name: str, unit: str
) -> None:
    """Draw KL and modes over the minutes or steps of training, one line a method."""
    channels = stacked_mnist_presets.SHAPES[name.rpartition("-")[0]][1]
    tuples = stacked_mnist_sampling.num_tuples(channels)
    titles = {"kl_uniform": "KL to the uniform distribution"}
    titles["modes"] = f"modes of {tuples:,}"
    glance = stacked_mnist_experiment.GLANCES * tuples
    perfect = stacked_mnist_sampling.expected(np.full(tuples, 1 / tuples), glance)
    plots.over_time(
        {
            title: {label: (c[unit], c[metric]) for label, c in curves.items()}
            for metric, title in titles.items()
        },
        path,
        best={title: perfect[metric] for metric, title in titles.items()},
        unit=unit,
        title=f"{name}, while training: of {glance:,} samples; dashed: perfect samples",
    )


def classifiers(results: pathlib.Path) -> str:
    """Make the table of the same samples scored by several classifiers.

    Below the rows of each method stand the mean and standard deviation over the
    classifiers and, if the run has a record, the standard deviation over training
    seeds, for comparison.
    """

    def of_run(record: dict[str, Any]) -> tuple[str, ...]:
        return pathlib.PurePath(record["file"]).parts[-2:]

    paths = sorted((results / CLASSIFIERS).glob("*.json"))
    scored = [checks.read(path, RESCORED) for path in paths]
    if not scored:
        return common.EMPTY
    names = [n for n in stacked_mnist_metrics.METRICS if n not in _LATER]
    scored.sort(key=lambda r: (of_run(r), r["classifier"]["seed"]))
    rows = []
    for (preset, method), group in itertools.groupby(scored, key=of_run):
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
        over = [
            records.cell(*records.mean_and_std(np.array(v, float)))  # null: NaN
            for v in values.values()
        ]
        rows.append([f"**{label}**", "all classifiers", *over])
        trained = read(results, "stacked_mnist", preset)
        std = trained[method]["std"] if method in trained else {}
        if any(std.get(n) is not None for n in names):  # one seed has no spread
            spread = [
                "" if std[n] is None else records.cell(0, std[n]).removeprefix("0 ")
                for n in names
            ]
            rows.append([label, "spread over training seeds", *spread])
    header = ["", "classifier", *[name.replace("_", " ") for name in names]]
    return records.table(header, rows)
