"""The leaderboard: all methods by all benchmarks at `quick`. No flags here.

Dimension key: S seeds.
"""

import math
import pathlib
from typing import Any

import numpy as np
from tables import common, mixtures, speed, stacked_mnist

from veegan_jax.common import plots_scores, records
from veegan_jax.data import mixtures as mixture_data
from veegan_jax.presets import resolve

# The needs of a method besides G and D, and the choices made for these data.
NEEDS = {
    "gan": "",
    "pacgan": "twice the examples; a pack size",
    "ali": "R",
    "unrolled": "gradients through five steps of D",
    "wgan_gp": "five steps of D, second derivatives; weight chosen",
    "hinge": "spectral norm of D; its slope chosen",
    "topk": "a share to learn from",
    "gdpp": "features of D, eigenvectors",
    "bures": "features of D",
    "rpgan": "second derivatives; gamma chosen",
    "mdgan": "R",
    "alice": "R",
    "meg": "T, five steps of D, second derivatives; weight chosen",
    "veegan": "R",
    "veegan_plus": "R, second derivatives; gamma chosen",
}
STACKS = "Stacked MNIST, exp(-KL)"


def tables(results: pathlib.Path) -> dict[str, str]:
    """Make the tables "leaderboard" and "costs", and draw leaderboard.png.

    Args:
      results: the folder of the records.
    """
    runs = mixtures.read(results, "quick")
    stacks = stacked_mnist.read(results, "stacked_mnist", "quick")
    scores = {
        mixtures.TITLES[d]: {m: _filled(r, d) for m, r in rows.items() if _has(r)}
        for d, rows in runs.items()
    }
    scores[STACKS] = {m: _diversity(r) for m, r in stacks.items()}
    scores = {panel: found for panel, found in scores.items() if found}
    plane = [t for t in mixtures.TITLES.values() if t in scores]
    ranked = [m for m in resolve.ROWS if all(m in scores[t] for t in plane)]
    if not plane or not ranked:
        return {"leaderboard": common.EMPTY}
    coverage = {m: np.mean([scores[t][m].mean() for t in plane]) for m in ranked}
    ranked.sort(key=lambda m: -coverage[m])
    draw(results, scores, ranked, runs, stacks)
    costs = _costs(results)
    rows = []
    for method in ranked:
        cells = [_share(scores[t].get(method)) for t in plane]
        quality = [_quality(runs, d, method) for d in ("ring", "grid", "high_dim")]
        rows.append(
            [
                f"**{common.LABELS[method]}**",
                f"{coverage[method]:.0f}",
                *cells,
                " / ".join(quality),
                _share(scores.get(STACKS, {}).get(method)),
                costs.get(("grid", method), ""),
                costs.get(("stacked_mnist", method), ""),
                NEEDS[method],
            ]
        )
    header = ["", "% of the modes, mixtures", *plane, "% quality", STACKS]
    header += ["cost, grid", "cost, stacks", "needs"]
    return {"leaderboard": records.table(header, [_perfect(runs, stacks), *rows])}


def _has(record: dict[str, Any]) -> bool:
    """Whether a record is of a run that counted filled modes."""
    return "filled_modes" in record["mean"]


def _filled(record: dict[str, Any], dataset: str) -> np.ndarray:
    """Return the share of filled modes of each seed, in %."""
    modes = mixture_data.get(dataset).num_modes
    values = [seed.get("filled_modes") for seed in record["per_seed"]]
    return 100 * np.array([v for v in values if v is not None], float) / modes


def _diversity(record: dict[str, Any]) -> np.ndarray:
    """Return exp(-KL to the uniform distribution) of each seed, in %."""
    values = [seed.get("kl_uniform") for seed in record["per_seed"]]
    return 100 * np.exp([-v for v in values if v is not None])


def _share(score_S: np.ndarray | None) -> str:
    if score_S is None or not len(score_S):
        return ""
    mean, std = records.mean_and_std(score_S)
    return records.fixed(mean, std, 0)


def _quality(runs: mixtures.Runs, dataset: str, method: str) -> str:
    record = runs.get(dataset, {}).get(method)
    if not record:
        return "-"
    mean = record["mean"]
    return records.fixed(mean.get("calibrated", mean["high_quality"]), None, 0)


def _perfect(runs: mixtures.Runs, stacks: common.Rows) -> list[str]:
    """Make the row of true samples."""
    cells, quality = [], []
    for dataset, rows in runs.items():
        # Rows from before filled modes were counted lack them.
        oracle = next((r for r in rows.values() if _has(r)), None)
        if oracle is None:
            continue
        mean = oracle["oracle"]
        share = 100 * mean["filled_modes"] / mixture_data.get(dataset).num_modes
        cells.append(f"{share:.0f}")
        quality.append(f"{mean.get('calibrated', mean['high_quality']):.0f}")
    real = [100 * math.exp(-r["oracle"]["kl_uniform"]) for r in stacks.values()]
    stack = f"{real[0]:.0f}" if real else ""
    return ["true samples", "100", *cells, " / ".join(quality), stack, "", "", ""]


def _costs(results: pathlib.Path) -> dict[tuple[str, str], str]:
    """Return the steps of the GAN in the time of one, by data set and method."""
    path = results / "speed" / "methods.json"
    if not path.exists():
        return {}
    rows = speed.read(path)["rows"]
    return {
        (r["dataset"], r["method"]): f"{r['cost']['ratio']:.1f}"
        for r in rows
        if "cost" in r
    }


def draw(
    results: pathlib.Path,
    scores: dict[str, dict[str, np.ndarray]],
    ranked: list[str],
    runs: mixtures.Runs,
    stacks: common.Rows,
) -> None:
    """Draw every seed's share of the modes, the best method on top."""
    (results / "figures").mkdir(parents=True, exist_ok=True)
    best = dict.fromkeys(scores, 100.0)
    if stacks:
        first = next(iter(stacks.values()))
        best[STACKS] = 100 * math.exp(-first["oracle"]["kl_uniform"])
    plots_scores.ranking(
        {
            panel: {common.LABELS[m]: found[m] for m in ranked if m in found}
            for panel, found in scores.items()
        },
        [common.LABELS[m] for m in ranked],
        results / "figures" / "leaderboard.png",
        best=best,
        title="Modes kept at the preset quick: dots are seeds, dashed: true samples",
    )
