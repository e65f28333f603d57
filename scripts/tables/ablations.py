"""Tables of a method with one ingredient taken out at a time. No flags here."""

import math
import pathlib
import shlex
from typing import Any

from tables import checks, common, mixtures, stacked_mnist

from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import resolve

TITLES = mixtures.TITLES | {"stacked_mnist": "Stacked MNIST"}


def form(dataset: str) -> dict[str, Any]:
    """Return the form of a variant's record; see `checks`."""
    page = stacked_mnist if dataset == "stacked_mnist" else mixtures
    about = {"without": checks.OrNull(checks.TEXT), "changes": {}}
    return page.form(dataset) | about


def collect(run: pathlib.Path, results: pathlib.Path) -> common.Copy:
    """Read the record of one variant of ablate.py.

    Raises:
      InputError: naming the file that cannot be used.
    """
    source = run / "ablation.json"
    whose = checks.read(source, {"config": {"dataset": checks.one_of(TITLES)}})
    dataset = whose["config"]["dataset"]
    record = checks.read(source, form(dataset))
    preset, method = record["options"]["preset"], record["config"]["method"]
    place = preset if method == resolve.METHOD else f"{preset}-{method}"
    folder = results / "ablation" / dataset / place
    return common.Copy(source, folder / f"{run.resolve().name}.json", record)


def table(results: pathlib.Path) -> str:
    """Make one table for each data set and preset, the worst variant first.

    Args:
      results: the folder of the records.
    """
    parts = []
    for dataset, title in TITLES.items():
        for folder in sorted((results / "ablation" / dataset).glob("*")):
            paths = sorted(folder.glob("*.json"))
            found = [checks.read(path, form(dataset)) for path in paths]
            if not found:
                continue
            whole = [r for r in found if not r["changes"]]
            rest = sorted((r for r in found if r["changes"]), key=_quality)
            rows = {_variant(r): r for r in [*whole, *rest]}
            first = next(iter(rows.values()))
            seeds = len(first["per_seed"])
            label = common.LABELS[first["config"]["method"]]
            parts.append(
                f"### {label} on {title}, {first['options']['preset']}: "
                f"{seeds} seed{'s' * (seeds > 1)} from "
                f"{first['options']['first_seed']}, `{_command(found, first)}`"
            )
            if dataset in stacked_mnist_experiment.DIGITS:
                parts.append(stacked_mnist_experiment.table(rows))
            else:
                parts.append(mixture_experiment.table(rows))
    return "\n\n".join(parts) or common.EMPTY


def _command(found: list[dict[str, Any]], whole: dict[str, Any]) -> str:
    """Return the command of all variants; several may have trained some each."""
    if len({r["command"] for r in found}) == 1:
        return whole["command"]
    words = shlex.split(whole["command"])
    return shlex.join(word for word in words if not word.startswith("--only="))


def _quality(record: dict[str, Any]) -> float:
    """Return the metric that rows are sorted by, higher being better."""
    mean = record["mean"]
    if "kl_uniform" in mean:
        quality = mean["kl_uniform"] and -mean["kl_uniform"]
    else:
        quality = mean.get("calibrated", mean["high_quality"])
    return -math.inf if quality is None else quality  # undefined: as bad as can be


def _variant(record: dict[str, Any]) -> str:
    if not record["changes"]:
        return "everything"
    changes = record["changes"].items()
    # A list of layers is written as its flag is.
    flags = " ".join(
        f"--{k}={','.join(map(str, v)) if isinstance(v, list) else v}"
        for k, v in changes
    )
    return f"without {record['without']} (`{flags}`)"
