"""Shared by all tables: names, and how to repeat a record. No flags here."""

import pathlib
from typing import Any

from veegan_jax.common import records

EMPTY = "(not measured yet)"

# Method -> its name in tables, in the order of the rows.
LABELS = {
    "gan": "GAN",
    "pacgan": "PacGAN",
    "ali": "ALI",
    "unrolled": "Unrolled GAN",
    "veegan": "VEEGAN",
    "veegan_adversarial": "VEEGAN, adversarial R",
    "veegan_mean": "VEEGAN, mean reconstruction",
    "veegan_plus": "VEEGAN+",
}

Rows = dict[str, dict[str, Any]]  # method, or its label -> record


def read(folder: pathlib.Path, suffix: str = "") -> Rows:
    """Read the records METHOD + `suffix` + ".json" of a folder, by method."""
    paths = {method: folder / f"{method}{suffix}.json" for method in LABELS}
    return {m: records.read(p) for m, p in paths.items() if p.exists()}


def minutes(record: dict[str, Any], digits: int = 1) -> str:
    """Format the minutes that a run took; "" if its log was lost."""
    seconds = record["wall_seconds"]
    return "" if seconds is None else f"{seconds / 60:.{digits}f}"


def labelled(rows: Rows) -> Rows:
    """Replace each method by its name in tables."""
    return {LABELS[method]: record for method, record in rows.items()}


def repeat(rows: Rows) -> str:
    """Make a table of each record's command, commit, seeds, steps, time and device."""
    lines = [
        [
            LABELS[method],
            f"`{record['command']}`",
            record["commit"][:10],
            f"{len(record['per_seed'])} from {record['options']['first_seed']}",
            f"{record['config']['steps']}",
            minutes(record),
            record["device"],
        ]
        for method, record in rows.items()
    ]
    header = ["", "command", "commit", "seeds", "steps", "minutes", "device"]
    return records.table(header, lines)
