"""What training scripts leave of a finished run, of made-up numbers."""

import json
import pathlib
from typing import Any

import numpy as np

from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.metrics import stacked_mnist as stacked_mnist_metrics


def leave(
    folder: pathlib.Path,
    dataset: str,
    preset: str,
    *,
    method: str = "gan",
    std: dict[str, Any] | None = None,
    **arrays: np.ndarray,
) -> dict[str, Any]:
    """Write results.json and samples.npz, and return the record."""
    names = list(mixture_metrics.METRICS)
    if dataset != "high_dim":
        names = [n for n in names if n not in mixture_metrics.OF_DEAD]
    if dataset.startswith("stacked"):
        names = list(stacked_mnist_metrics.METRICS)
    metrics = dict.fromkeys(names, 0.5)
    record = {
        "command": f"python scripts/train.py --dataset={dataset} --workdir=/x",
        "commit": "0123456789abcdef",
        "device": "2 x cpu",
        "config": {"dataset": dataset, "method": method, "steps": 10},
        "options": {"preset": preset, "first_seed": 0},
        "wall_seconds": 60.0,
        "per_seed": [{"seed": 0}, {"seed": 1}],
        "mean": metrics,
        "std": std or metrics,
        "oracle": metrics,
        "expected": {},
    }
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(record))
    np.savez(folder / "samples.npz", **arrays)
    return record
