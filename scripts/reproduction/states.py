"""Which cells have a record, and would today's code repeat it? No flags here."""

import pathlib
from typing import Any, NamedTuple

from tables import checks

from veegan_jax import config as configs
from veegan_jax.common import json_files, records

MISSING, OUTDATED, CURRENT = "missing", "outdated", "there"
# The fields by which a record is judged; its table's form says the rest.
_FORM = {"commit": checks.TEXT, "device": checks.TEXT, "command": checks.COMMAND}
_TRAINED = _FORM | {
    "config": {"method": checks.TEXT, "dataset": checks.TEXT, "steps": checks.COUNT},
    "options": {"first_seed": checks.COUNT},
    "per_seed": [{}],
    "mean": {},
    "wall_seconds": checks.METRIC,
}


class State(NamedTuple):
    """The judgement of a cell's records."""

    kind: str  # MISSING, OUTDATED or CURRENT
    why: str  # of OUTDATED: the first difference
    code: str  # what changed in the code since


def of(cell: Any, results: pathlib.Path) -> State:
    """Judge a cell's records.

    Raises:
      InputError: naming a record that is damaged.
    """
    found = [path for record in cell.records for path in _files(results / record)]
    if len(found) < len(cell.records):
        return State(MISSING, "", "")
    read = [
        checks.read(path, _TRAINED if cell.config and i == 0 else _FORM)
        for i, path in enumerate(found)
    ]
    code = _changes(read[0]["commit"])
    why = difference(cell, *read) if cell.config else ""
    return State(OUTDATED if why else CURRENT, why, code)


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    if path.suffix == ".json":
        return [path] if path.exists() else []
    return sorted(path.glob("*.json"))


def difference(cell: Any, record: dict[str, Any], ivom: Any = None) -> str:
    """Say what a record has that the cell does not ask for; "" if nothing.

    A setting that the record lacks is newer than it; the record has its default.

    Args:
      cell: of a training.
      record: the training's.
      ivom: the record of the search, if the cell has one.
    """
    wanted = json_files.flat(configs.to_json(cell.config))
    had = json_files.flat(record["config"])
    for name, value in wanted.items():
        if name in had and _plain(had[name]) != _plain(value):
            shown = name.split(".")[-1]
            return f"{shown} {_shown(had[name])}, now {_shown(value)}"
    if record["options"]["first_seed"] != 0:
        return f"seeds from {record['options']['first_seed']}"
    if len(record["per_seed"]) < cell.seeds:
        return f"seeds {len(record['per_seed'])}, now {cell.seeds}"
    for name, value in (cell.ivom or {}).items():
        if ivom["options"].get(name, value) != value:
            return f"IvOM's {name} {ivom['options'][name]}, now {value}"
    return ""


def _plain(value: Any) -> Any:
    """Return a value as JSON would: a tuple is a list, and 1.0 is 1."""
    return [*value] if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _changes(commit: str) -> str:
    changed = records.changed_since(commit)
    if changed is None:
        return "of an unknown commit"
    if not changed:
        return "the same"
    return f"{len(changed)} files changed since {commit[:7]}"
