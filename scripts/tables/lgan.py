"""L-GAN's part of make_tables.py: its records, its tables and its figures."""

import pathlib
from typing import Any

from tables import checks, common

from lgan_jax import report, sample_quality
from lgan_jax.options import ALL, BASIC, NONE, SHARES, STRONG
from veegan_jax.common import errors, records

EMPTY = "(not measured yet)"
DATASETS = ("mnist", "digits")
FRACTIONS = (0.01, 0.0333, 0.1, 0.333, 1.0)  # those that have tables

_CELL = {
    "accuracy": [[[checks.NUMBER]]],
    "sample_quality?": dict.fromkeys(sample_quality.METRICS, checks.METRIC),
}
_ROWS = {ALL: [_CELL], NONE: [_CELL], "*": [_CELL]}  # by generator
RUN = {
    **common.REPEAT,
    "config": {
        "dataset": checks.one_of(DATASETS),
        "fraction": checks.NUMBER,
        "latent_size?": checks.COUNT,
    },
    "options": {
        "generators": checks.TEXT,
        "generated": checks.COUNT,
        "seeds": checks.COUNT,
        "first_seed": checks.COUNT,
        "classifier_steps": checks.COUNT,
        "sample_quality": checks.FLAG,
        "validate": checks.FLAG,
    },
    "known": checks.COUNT,
    "classes": checks.COUNT,
    "effective_dimension?": checks.METRIC,
    "cells": {BASIC: _ROWS, "*": _ROWS},
}
_JUDGED = _CELL | {"sample_quality": _CELL["sample_quality?"]}
ABLATION = RUN | {
    "variant": checks.TEXT,
    "changes": {},
    "options": RUN["options"] | {"generators": checks.one_of(["lgan"])},
    "cells": {BASIC: _ROWS | {"lgan": [_JUDGED]}},
}


def read(path: pathlib.Path, form: dict[str, Any] = RUN) -> dict[str, Any]:
    """Read a record, with as many seeds of every generator, at every share.

    Raises:
      InputError: naming the file, the field and what it must be.
    """
    record = checks.read(path, form)
    for kind, rows in record["cells"].items():
        seeds, first = len(rows[ALL]), rows[ALL][0]["accuracy"][0]
        repeats, points = len(first), len(first[0])
        for generator, cells in rows.items():
            shares = 1 if generator in (ALL, NONE) else len(SHARES)
            sizes = [
                [
                    [len(points_E) for points_E in points_RE]
                    for points_RE in c["accuracy"]
                ]
                for c in cells
            ]
            if sizes != [[[points] * repeats] * shares] * seeds:
                raise errors.InputError(
                    f"{path}: cells.{kind}.{generator} must have {seeds} seeds with "
                    f"{shares} x {repeats} x {points} accuracies: {checks.REMEDY}"
                )
    return record


def collect(run: pathlib.Path, results: pathlib.Path) -> common.Copy:
    """Read a finished run's record and, if its images were judged, its figures.

    Raises:
      InputError: if it is not finished, a run with --validate, or less than the record
        that it would replace; or naming the file that cannot be used.
    """
    record = _record(run, "results.json", RUN)
    if record["options"]["validate"]:
        raise errors.InputError(
            f"{run}: a run with --validate, which tunes, is no result"
        )
    name = f"{record['config']['dataset']}-{record['config']['fraction']:g}"
    if record["options"]["classifier_steps"]:
        name = f"long-{name}"  # no part of the tables over fractions
    if STRONG in record["cells"]:
        name = f"{name}-strong"
    target = results / "lgan" / f"{name}.json"
    if target.exists():
        _check_no_less(record, read(target), run, target)
    found = sorted((run / "figures").glob("*.png"))
    figures = {
        results / "figures" / f"lgan-{name}-{path.name}": path.read_bytes()
        for path in found
        if record["options"]["sample_quality"]
    }
    return common.Copy(run / "results.json", target, record, figures=figures)


def _check_no_less(
    record: dict[str, Any], old: dict[str, Any], run: pathlib.Path, target: pathlib.Path
) -> None:
    """Refuse a record that lacks seeds or generators of the one it replaces."""
    for kind, rows in old["cells"].items():
        for generator, cells in rows.items():
            ours = record["cells"].get(kind, {}).get(generator, [])
            if len(ours) < len(cells):
                raise errors.InputError(
                    f"{run} has {len(ours)} seeds of {generator} ({kind}), and "
                    f"{target}, which it would replace, has {len(cells)}: move that "
                    "away first"
                )


def collect_ablation(folder: pathlib.Path, results: pathlib.Path) -> list[common.Copy]:
    """Read the records of lgan_ablate.py on one data set."""
    paths = sorted(folder.glob("*/ablation.json"))
    if not paths:
        raise errors.InputError(f"--add={folder}: no */ablation.json there")
    found = []
    for path in paths:
        record = _record(path.parent, path.name, ABLATION)
        target = results / "lgan" / f"ablation-{record['config']['dataset']}-lgan"
        found.append(common.Copy(path, target / f"{path.parent.name}.json", record))
    return found


def _record(run: pathlib.Path, name: str, form: dict[str, Any]) -> dict[str, Any]:
    path = run / name
    if not path.exists():
        raise errors.InputError(f"{run}: no {name} there; is the run finished?")
    return read(path, form)


def tables(results: pathlib.Path) -> dict[str, str]:
    """Make all of L-GAN's tables, by name; a table without a record says so."""
    made = {}
    every = [read(path) for path in (results / "lgan").glob("*.json")]
    for dataset in DATASETS:
        ours = [r for r in every if r["config"]["dataset"] == dataset]
        ours.sort(key=lambda r: (r["options"]["classifier_steps"], r["known"]))
        usual = [r for r in ours if not r["options"]["classifier_steps"]]
        strong = {r["config"]["fraction"]: r for r in usual if STRONG in r["cells"]}
        # A run for the stronger classifier's sake may have few seeds: others go before.
        found = strong | {
            r["config"]["fraction"]: r for r in usual if STRONG not in r["cells"]
        }
        found = dict(sorted(found.items()))
        name = f"lgan-{dataset}"
        made[f"{name}-repeat"] = _repeat(ours) if ours else EMPTY
        made[f"{name}-fractions"] = report.fractions_table(found) if found else EMPTY
        made[f"{name}-ablation"] = _ablation(
            results / "lgan" / f"ablation-{dataset}-lgan"
        )
        made[f"{name}-long"] = EMPTY
        for record in ours:
            if record["options"]["classifier_steps"]:
                made[f"{name}-long"] = report.eval_points_table(record)
        for part in ("", "-sample-quality", "-eval-points", "-strong"):
            made |= {f"lgan-{dataset}-{f:g}{part}": EMPTY for f in FRACTIONS}
        for fraction, record in found.items():
            name = f"lgan-{dataset}-{fraction:g}"
            made[name] = report.table(record)
            made[f"{name}-sample-quality"] = (
                report.sample_quality_table(record) or EMPTY
            )
            made[f"{name}-eval-points"] = report.eval_points_table(record) or EMPTY
            made[f"{name}-strong"] = EMPTY
            if fraction in strong:
                made[f"{name}-strong"] = report.table(strong[fraction], STRONG)
    return made


def _ablation(folder: pathlib.Path) -> str:
    rows = [read(path, ABLATION) for path in sorted(folder.glob("*.json"))]
    if not rows:
        return EMPTY
    rows.sort(key=lambda record: bool(record["changes"]))  # the whole one first
    generator = rows[0]["options"]["generators"]
    return report.ablation_table({r["variant"]: r for r in rows}, generator)


def _repeat(found: list[dict[str, Any]]) -> str:
    """Make the table of how to repeat each record, and how long that takes."""
    lines = [
        [
            f"{record['known']:,}",
            f"`{record['command']}`",
            record["commit"][:10],
            f"{record['options']['seeds']} from {record['options']['first_seed']}",
            common.minutes(record, 0),
            record["device"],
        ]
        for record in found
    ]
    header = ["known images", "command", "commit", "seeds", "minutes", "device"]
    return records.table(header, lines)
