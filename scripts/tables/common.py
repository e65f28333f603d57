"""Shared by all tables: names, forms, and how to repeat a record. No flags here."""

import pathlib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tables import checks, seeds

from veegan_jax.common import files, metrics_log, records

EMPTY = "(not measured yet)"

# Method -> its name in tables, in the order of the rows.
LABELS = {
    "gan": "GAN",
    "pacgan": "PacGAN",
    "ali": "ALI",
    "unrolled": "Unrolled GAN",
    "wgan_gp": "WGAN-GP",
    "hinge": "SN hinge GAN",
    "topk": "Top-k GAN",
    "gdpp": "GDPP",
    "bures": "BuresGAN",
    "rpgan": "RpGAN",
    "mdgan": "MDGAN",
    "alice": "ALICE",
    "meg": "MEG",
    "veegan": "VEEGAN",
    "veegan_adversarial": "VEEGAN, adversarial R",
    "veegan_mean": "VEEGAN, mean reconstruction",
    "veegan_plus": "VEEGAN+",
    "autoencoder": "autoencoder, no GAN",
}

Rows = dict[str, dict[str, Any]]  # method, or its label -> record

METHOD = checks.one_of(LABELS)
REPEAT = {
    "command": checks.COMMAND,
    "commit": checks.TEXT,
    "device": checks.TEXT,
    "wall_seconds": checks.METRIC,
}


def run(
    dataset: str,
    presets: Iterable[str],
    metrics: Iterable[str],
    other_metrics: Any = checks.METRIC,
    **more: Any,
) -> dict[str, Any]:
    """Return the form of a run's record.

    Args:
      dataset: the run's.
      presets: those that have tables.
      metrics: those of the tables.
      other_metrics: the form of metrics that are not in `metrics`.
      **more: forms of further fields.
    """
    every = dict.fromkeys(metrics, checks.METRIC) | {"*": other_metrics}
    return {
        **REPEAT,
        "config": {
            "method": METHOD,
            "dataset": checks.one_of([dataset]),
            "steps": checks.COUNT,
        },
        "options": {"preset": checks.one_of(presets), "first_seed": checks.COUNT},
        "per_seed": seeds.PER_SEED,
        "mean": every,
        "std": every,
        **more,
    }


class Copy(NamedTuple):
    """A record that was read and checked, to be written to results/."""

    source: pathlib.Path  # the file of the record
    target: pathlib.Path
    record: dict[str, Any]
    arrays: Mapping[pathlib.Path, dict[str, np.ndarray]] = types.MappingProxyType({})
    figures: Mapping[pathlib.Path, bytes] = types.MappingProxyType({})

    def write(self) -> None:
        """Write the record last, since tables are made of what has one."""
        for path, arrays in self.arrays.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_compressed(path, **arrays)
        records.publish(self.target, self.record)
        for path, content in self.figures.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def read(folder: pathlib.Path, form: dict[str, Any], suffix: str = "") -> Rows:
    """Read the records METHOD + `suffix` + ".json" of a folder, by method.

    Records of other seeds are joined to them; see `seeds.read`.
    """
    read = {m: seeds.read(folder / f"{m}{suffix}.json", form) for m in LABELS}
    return {method: record for method, record in read.items() if record is not None}


def arrays_of(folder: pathlib.Path, method: str) -> pathlib.Path:
    """Return the file with the samples of a row's first seed."""
    return seeds.parts(folder / f"{method}.json")[0].with_suffix(".npz")


def curves(
    folder: pathlib.Path, method: str, unit: str, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return a row's metrics [S, T] at each report of its training, of all seeds.

    Args:
      folder: of the records.
      method: of the row.
      unit: "minutes" or "steps" [T]; the minutes are means over the records.
      names: of the metrics.

    Returns:
      `unit` and each name; nothing if no record has curves. Records with
      reports at other steps than the first's are left out.
    """
    found: list[dict[str, np.ndarray]] = []
    for part in seeds.parts(folder / f"{method}.json"):
        path = part.with_suffix(".npz")
        kept = {"minutes", "steps"} & set(checks.names(path))
        if unit in kept:
            shapes = dict.fromkeys(names, (None, None)) | dict.fromkeys(kept, (None,))
            found.append(checks.arrays(path, shapes))
    if not found:
        return {}
    steps = found[0].get("steps", ())  # older arrays have none, and none joins them
    same = [f for f in found[1:] if np.array_equal(f.get("steps", 0), steps)]
    found = [found[0], *same]
    joined = {name: np.concatenate([f[name] for f in found]) for name in names}
    return {unit: np.mean([f[unit] for f in found], axis=0), **joined}


def parts(rows: Rows) -> list[tuple[str, dict[str, Any]]]:
    """List the records of the rows, each with its label."""
    return [(LABELS[m], part) for m, record in rows.items() for part in record["parts"]]


def minutes(record: dict[str, Any], digits: int = 1) -> str:
    """Format the minutes that a run took; "" if its log was lost."""
    seconds = record["wall_seconds"]
    return "" if seconds is None else f"{seconds / 60:.{digits}f}"


def over_time(run: pathlib.Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return a run's minutes and steps [T] and metrics [S, T] at each of its reports.

    Args:
      run: the work directory.
      names: of the metrics.

    Returns:
      "minutes", "steps" and each name; nothing if the run's log does not tell its time
      or has no such metric, or a seed diverged.
    """
    log = metrics_log.read(run) if (run / "metrics.jsonl").exists() else []
    seconds = [line["seconds"] for line in log]
    if not log or None in seconds or any(n not in line for n in names for line in log):
        return {}
    values = {n: np.array([line[n] for line in log], float).T for n in names}
    if not all(np.isfinite(value).all() for value in values.values()):
        return {}
    steps = np.array([line["step"] for line in log], float)
    return {"minutes": np.cumsum(seconds) / 60, "steps": steps, **values}


def labelled(rows: Rows) -> Rows:
    """Replace each method by its name in tables."""
    return {LABELS[method]: record for method, record in rows.items()}


def repeat(rows: Rows) -> str:
    """Make a table of each record's command, commit, seeds, steps, time and device."""
    lines = [
        [
            label,
            f"`{record['command']}`",
            record["commit"][:10],
            f"{len(record['per_seed'])} from {record['options']['first_seed']}",
            f"{record['config']['steps']}",
            minutes(record),
            record["device"],
        ]
        for label, record in parts(rows)
    ]
    header = ["", "command", "commit", "seeds", "steps", "minutes", "device"]
    return records.table(header, lines)
