"""Which cells have a record, and would today's code repeat it? No flags here."""

import pathlib
from typing import Any, NamedTuple

from tables import checks, seeds

from veegan_jax import config as configs
from veegan_jax.common import json_files, records

MISSING, OUTDATED, CURRENT = "missing", "outdated", "there"
# The fields by which a record is judged; its table's form says the rest.
_FORM = {"commit": checks.TEXT, "device": checks.TEXT, "command": checks.COMMAND}
_RUN = _FORM | {"per_seed": seeds.PER_SEED, "mean": {}, "options": {}}
_TRAINED = _RUN | {
    "config": {"method": checks.TEXT, "dataset": checks.TEXT, "steps": checks.COUNT},
    "options": {"first_seed": checks.COUNT},
    "wall_seconds": checks.METRIC,
}


class State(NamedTuple):
    """The judgement of a cell's records."""

    kind: str  # MISSING, OUTDATED or CURRENT
    why: str  # of OUTDATED: the first difference
    code: str  # what changed in the code since
    lacks: range | None = None  # if nothing but these seeds is wanting


def of(cell: Any, results: pathlib.Path) -> State:
    """Judge a cell's records.

    Raises:
      InputError: naming a record that is damaged.
    """
    paths = [results / record for record in cell.records]
    files = [files_of(path) for path in paths]
    if not all(files):
        return State(MISSING, "", "")
    every = [checks.read(path, _FORM) for found in files for path in found]
    code = _changes([record["commit"] for record in every])
    if not cell.config:
        return State(CURRENT, "", code)
    forms = [_TRAINED, _RUN][: len(paths)]
    read = [seeds.read(path, form) for path, form in zip(paths, forms, strict=True)]
    why = difference(cell, *read)
    if not why:
        return State(CURRENT, "", code)
    same = not difference_of_settings(cell, *read)
    return State(OUTDATED, why, code, lacking(cell, read[0]) if same else None)


def files_of(path: pathlib.Path) -> list[pathlib.Path]:
    """List the records of a cell's entry: a folder, or a record and its later seeds."""
    return seeds.parts(path) if path.suffix == ".json" else sorted(path.glob("*.json"))


def difference(cell: Any, record: dict[str, Any], ivom: Any = None) -> str:
    """Say what a record has that the cell does not ask for; "" if nothing.

    Args:
      cell: of a training.
      record: the training's.
      ivom: the record of the search, if the cell has one.
    """
    if why := difference_of_settings(cell, record, ivom):
        return why
    had = set(seeds.numbers(record)) & set(wanted(cell))
    if not had:
        return f"seeds from {record['options']['first_seed']}"
    return f"seeds {len(had)}, now {cell.seeds}" if len(had) < cell.seeds else ""


def difference_of_settings(cell: Any, record: dict[str, Any], ivom: Any = None) -> str:
    """Say what `difference` does, but for the seeds.

    A setting that the record lacks is newer than it; the record has its default.
    """
    settings = json_files.flat(configs.to_json(cell.config))
    had = json_files.flat(record["config"])
    for name, value in settings.items():
        if name in had and _plain(had[name]) != _plain(value):
            shown = name.split(".")[-1]
            return f"{shown} {_shown(had[name])}, now {_shown(value)}"
    for name, value in (cell.ivom or {}).items():
        if ivom["options"].get(name, value) != value:
            return f"IvOM's {name} {ivom['options'][name]}, now {value}"
    return ""


def wanted(cell: Any) -> range:
    """Return the seeds that a cell trains."""
    return range(cell.first_seed, cell.first_seed + cell.seeds)


def lacking(cell: Any, record: dict[str, Any]) -> range | None:
    """Return the first gap in the seeds of a record; None if it has none of them."""
    had = set(seeds.numbers(record)) & set(wanted(cell))
    if not had or len(had) == cell.seeds:
        return None
    first = min(set(wanted(cell)) - had)
    return range(first, min({s for s in had if s > first}, default=wanted(cell).stop))


def _plain(value: Any) -> Any:
    """Return a value as JSON would: a tuple is a list, and 1.0 is 1."""
    return [*value] if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _changes(commits: list[str]) -> str:
    """Say in how many files the code differs from that of the oldest record."""
    changed = {commit: records.changed_since(commit) for commit in commits}
    if None in changed.values():
        return "of an unknown commit"
    oldest = max(changed, key=lambda commit: len(changed[commit]))
    if not changed[oldest]:
        return "the same"
    return f"{len(changed[oldest])} files changed since {oldest[:7]}"
