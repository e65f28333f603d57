"""The records of one training with different seeds, joined into a row. No flags here.

The record of seeds from 0 is METHOD.json, that of seeds from 3 METHOD-from-3.json.
"""

import pathlib
import re
from typing import Any

import numpy as np
from tables import checks

from veegan_jax.common import errors, json_files, records

PER_SEED = [{"seed": checks.COUNT}]
_JOINED = {
    "config": {},
    "options": {},
    "per_seed": PER_SEED,
    "classifier?": {"sha256": checks.TEXT},
}
# The options that a number depends on.
_OPTIONS = ("preset", "samples", "images", "starts", "iterations")


def record_name(record: dict[str, Any], what: str = "") -> str:
    """Return the name of a run's record, without ".json".

    Args:
      record: the run's.
      what: follows the method in the name.
    """
    return f"{record['config']['method']}{what}{tail(record['options']['first_seed'])}"


def tail(first_seed: int) -> str:
    """Return what the name of a record of seeds from `first_seed` ends in."""
    return f"-from-{first_seed}" if first_seed else ""


def parts(path: pathlib.Path) -> list[pathlib.Path]:
    """List the records that a row joins, by first seed.

    Args:
      path: of the record of seeds from 0, which need not exist.
    """
    later = path.parent.glob(f"{path.stem}-from-*{path.suffix}")
    numbered = [(p.stem.rpartition("-")[2], p) for p in later]
    found = sorted((int(n), p) for n, p in numbered if n.isdecimal())
    return [path] * path.exists() + [p for _, p in found]


def base(path: pathlib.Path) -> pathlib.Path:
    """Return the path of the record of seeds from 0 that a record joins."""
    return path.with_stem(re.sub(r"-from-\d+$", "", path.stem))


def numbers(record: dict[str, Any]) -> list[int]:
    """List the seeds of a record."""
    return [seed["seed"] for seed in record["per_seed"]]


def read(path: pathlib.Path, form: dict[str, Any]) -> dict[str, Any] | None:
    """Read the records of a row as one, with the mean and spread over all their seeds.

    Everything but the seeds is the first record's. "parts" has the records.

    Args:
      path: of the record of seeds from 0.
      form: that each must have; see `checks`.

    Returns:
      The joined record; None if there is none.

    Raises:
      InputError: naming a record that is damaged, or two that cannot be joined.
    """
    paths = parts(path)
    if not paths:
        return None
    found = {p: checks.read(p, form | {"per_seed": PER_SEED}) for p in paths}
    first = found[paths[0]]
    if len(found) == 1:
        return first | {"parts": [first]}
    check_joinable(found)
    names = list(first["mean"])
    per_seed = []
    for p, record in found.items():
        for i, seed in enumerate(record["per_seed"]):
            if "failed" not in seed:
                metrics = dict.fromkeys(names, checks.METRIC)
                checks.check(p, seed, metrics, f"per_seed[{i}]")
            per_seed.append(seed)
    whole = [seed for seed in per_seed if "failed" not in seed]
    joined: dict[str, Any] = {"mean": {}, "std": {}}
    for name in names:
        values_S = np.array([seed[name] for seed in whole], float)  # null: NaN
        joined["mean"][name], joined["std"][name] = records.mean_and_std(values_S)
    return first | joined | {"per_seed": per_seed, "parts": list(found.values())}


def check_joinable(found: dict[pathlib.Path, dict[str, Any]]) -> None:
    """Refuse records that do not differ in their seeds alone.

    Raises:
      InputError: naming two of them and what they share or differ in.
    """
    for path, record in found.items():
        checks.check(path, record, _JOINED)
    first_path, *_ = found
    first = _settings(found[first_path])
    owner: dict[int, pathlib.Path] = {}
    for path, record in found.items():
        settings = _settings(record)
        for name in first.keys() & settings.keys():
            if first[name] != settings[name]:
                raise errors.InputError(
                    f"{first_path} and {path} differ in {name} ({first[name]} and "
                    f"{settings[name]}), but a row has seeds of one configuration: "
                    "move one of them away"
                )
        for seed in numbers(record):
            if seed in owner:
                raise errors.InputError(
                    f"{owner[seed]} and {path} both have seed {seed}: move one of "
                    "them away"
                )
            owner[seed] = path


def _settings(record: dict[str, Any]) -> dict[str, Any]:
    """Return what must be equal; a setting that one record lacks is newer than it."""
    found = json_files.flat(record["config"])
    options = record["options"]
    found |= {name: options[name] for name in _OPTIONS if name in options}
    judge = record.get("classifier")
    return found | ({"classifier": judge["sha256"]} if judge else {})
