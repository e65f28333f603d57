"""Tables and figures of the mixtures. No flags here."""

import pathlib
from typing import Any

import jax
import numpy as np
from tables import checks, common, seeds

from veegan_jax.common import plots, records
from veegan_jax.data import mixtures
from veegan_jax.experiments import base
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.presets import mixtures as mixture_presets

TITLES = {"ring": "ring (8)", "grid": "grid (25)", "high_dim": "1200-D (10)"}
# Metrics that older runs lack.
_LATER = ("filled_modes", "mode_tv", "sliced_wasserstein")
Runs = dict[str, common.Rows]  # dataset -> method -> record
PLANE = (None, 2)  # the shape of a seed's samples, as figures show them


def form(dataset: str) -> dict[str, Any]:
    """Return the form of a record; see `checks`."""
    mixture, metrics = mixtures.get(dataset), list(mixture_metrics.METRICS)
    if mixture.live_size == mixture.size:
        metrics = [n for n in metrics if n not in mixture_metrics.OF_DEAD]
    metrics = [f"{n}?" if n in _LATER else n for n in metrics]
    unsure = mixture_metrics.UNDEFINED
    sure = {n: checks.NUMBER for n in metrics if n not in unsure}
    return common.run(
        dataset,
        mixture_presets.PRESETS,
        metrics,
        other_metrics=checks.NOTHING,
        oracle=dict.fromkeys(metrics, checks.METRIC) | sure,
    )


def collect(run: pathlib.Path, dataset: str, results: pathlib.Path) -> common.Copy:
    """Read a finished run, with its first seed's samples.

    Raises:
      InputError: naming the file that cannot be used.
    """
    source = run / "results.json"
    record = checks.read(source, form(dataset))
    plane = checks.arrays(run / "samples.npz", {"plane": (None, *PLANE)})["plane"][0]
    folder = results / dataset / record["options"]["preset"]
    name = seeds.record_name(record)
    with np.errstate(over="ignore"):  # becomes infinite, which figures leave out
        curves = common.over_time(run, _over_steps(dataset))
    kept = {folder / f"{name}.npz": {"plane": plane.astype(np.float16), **curves}}
    return common.Copy(source, folder / f"{name}.json", record, kept)


def _over_steps(dataset: str) -> tuple[str]:
    """Name the metric that figures show over the steps."""
    mixture = mixtures.get(dataset)
    return ("modes",) if mixture.live_size == mixture.size else ("calibrated_modes",)


def read(results: pathlib.Path, preset: str) -> Runs:
    """Read the records of one preset, leaving out mixtures without any."""
    found = {
        d: common.read(results / d / preset, form(d)) for d in mixture_presets.DATASETS
    }
    return {dataset: rows for dataset, rows in found.items() if rows}


def tables(results: pathlib.Path) -> dict[str, str]:
    """Make the tables by name, and draw results/figures/DATASET-PRESET.png.

    The names are "first-run", "mixtures-PRESET" and "mixtures-PRESET-details".

    Args:
      results: the folder of the records.
    """
    made = {"first-run": first_run(results)}
    for preset in mixture_presets.PRESETS:
        runs = read(results, preset)
        name = f"mixtures-{preset}"
        made[name] = summary(runs) if runs else common.EMPTY
        made[f"{name}-details"] = details(runs) if runs else common.EMPTY
        draw(results, preset, runs)
        draw_over_steps(results, preset, runs)
    return made


def first_run(results: pathlib.Path) -> str:
    """Show what the README's first command prints, as a code block.

    Args:
      results: the folder of the records.
    """
    rows = common.read(results / "ring" / "quick", form("ring"))
    if "veegan_plus" not in rows:
        return common.EMPTY
    printed = mixture_experiment.table({"veegan_plus": rows["veegan_plus"]})
    return f"```\n{printed}\n```"


def summary(runs: Runs) -> str:
    """Make one preset's table: modes / % high quality, published of its protocol."""
    header = ["modes / % high quality", *TITLES.values(), "1200-D, calibrated"]
    oracle = {d: next(iter(rows.values()))["oracle"] for d, rows in runs.items()}
    row = [_cell(oracle[d], {}) if d in oracle else "" for d in TITLES]
    high = oracle.get("high_dim")
    rows = [["oracle", *row, _calibrated(high, {}) if high else ""]]
    for method, label in common.LABELS.items():
        if not any(method in runs[d] for d in runs):
            continue
        ours = [runs.get(d, {}).get(method) for d in TITLES]
        cells = [_cell(r["mean"], r["std"]) if r else "" for r in ours]
        last = ours[-1]
        cells.append(_calibrated(last["mean"], last["std"]) if last else "")
        rows.append([f"**{label}**", *cells])
        theirs = [base.published_row(r) if r else None for r in ours]
        for source in dict.fromkeys(t.source for t in theirs if t):
            found = [t.metrics if t and t.source == source else None for t in theirs]
            cells = [_cell(t, {}) if t else "" for t in found]
            rows.append([f"{label}, {source}", *cells, ""])
    return records.table(header, rows)


def _cell(mean: dict, std: dict, names: tuple = ("modes", "high_quality")) -> str:
    return " / ".join(records.fixed(mean[n], std.get(n)) for n in names)


def _calibrated(mean: dict, std: dict) -> str:
    return _cell(mean, std, ("calibrated_modes", "calibrated"))


def details(runs: Runs) -> str:
    """Make one preset's tables of all metrics, and of how to repeat each record."""
    parts = []
    for dataset, rows in runs.items():
        metrics = mixture_experiment.table(common.labelled(rows))
        parts += [f"### {TITLES[dataset]}", metrics, common.repeat(rows)]
    return "\n\n".join(parts)


def draw(results: pathlib.Path, preset: str, runs: Runs) -> None:
    """Draw each method's first seed beside the truth, with the densities."""
    (results / "figures").mkdir(parents=True, exist_ok=True)
    for dataset, rows in runs.items():
        truth = mixtures.sample(mixtures.get(dataset), jax.random.key(0), 2500)
        truth = mixture_experiment.project(np.asarray(truth), dataset)
        panels = {"true": truth}
        for method in rows:
            path = common.arrays_of(results / dataset / preset, method)
            plane = checks.arrays(path, {"plane": PLANE})["plane"]
            panels[common.LABELS[method]] = plane.astype(np.float32)
        plots.samples_and_density(
            panels,
            truth,
            results / "figures" / f"{dataset}-{preset}.png",
            axes=mixture_experiment.axes(dataset),
            title=f"{TITLES[dataset]}, preset {preset}: first seed's samples",
        )


def draw_over_steps(results: pathlib.Path, preset: str, runs: Runs) -> None:
    """Draw the modes of every method over its steps, a panel a data set."""
    panels, best = {}, {}
    for dataset, rows in runs.items():
        (metric,) = _over_steps(dataset)
        folder = results / dataset / preset
        found = {m: common.curves(folder, m, "steps", (metric,)) for m in rows}
        lines = {
            common.LABELS[m]: (c["steps"], c[metric]) for m, c in found.items() if c
        }
        if lines:
            panels[TITLES[dataset]] = lines
            best[TITLES[dataset]] = mixtures.get(dataset).num_modes
    if panels:
        plots.over_time(
            panels,
            results / "figures" / f"mixtures-{preset}-steps.png",
            best=best,
            unit="steps",
            log=False,
            title=f"modes while training, preset {preset}, mean of the seeds",
        )
