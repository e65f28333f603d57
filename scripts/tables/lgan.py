"""L-GAN's part of make_tables.py: its records, its tables and its figures."""

import pathlib
import shutil
from typing import Any

from tables import common

from lgan_jax import report
from lgan_jax.options import STRONG
from veegan_jax.common import errors, records

EMPTY = "(not measured yet)"
DATASETS = ("mnist", "digits")
FRACTIONS = (0.01, 0.0333, 0.1, 0.333, 1.0)  # those that have tables


def add(run: pathlib.Path, results: pathlib.Path) -> None:
    """Copy a finished run's record and, if its images were judged, its figures.

    Raises:
      InputError: if it is not finished, a run with --validate, or less than the record
        that it would replace.
    """
    record = _record(run, "results.json")
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
        _check_no_less(record, records.read(target), run, target)
    records.publish(target, record)
    pictures = sorted((run / "figures").glob("*.png"))
    for picture in pictures if record["options"]["sample_quality"] else ():
        target = results / "figures" / f"lgan-{name}-{picture.name}"
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(picture, target)


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


def add_ablation(folder: pathlib.Path, results: pathlib.Path) -> None:
    """Copy the records of lgan_ablate.py on one data set."""
    paths = sorted(folder.glob("*/ablation.json"))
    if not paths:
        raise errors.InputError(f"--add={folder}: no */ablation.json there")
    for path in paths:
        record = _record(path.parent, path.name)
        of = f"{record['config']['dataset']}-{record['options']['generators']}"
        target = results / "lgan" / f"ablation-{of}"
        records.publish(target / f"{path.parent.name}.json", record)


def _record(run: pathlib.Path, name: str) -> dict[str, Any]:
    path = run / name
    if not path.exists():
        raise errors.InputError(f"{run}: no {name} there; is the run finished?")
    return records.read(path, "command", "config.fraction", "options.generators")


def tables(results: pathlib.Path) -> dict[str, str]:
    """Make all of L-GAN's tables, by name; a table without a record says so."""
    made = {}
    every = [records.read(path) for path in (results / "lgan").glob("*.json")]
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
    rows = [records.read(path) for path in sorted(folder.glob("*.json"))]
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
