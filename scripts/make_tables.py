"""Fills the tables and draws the figures of README.md and results/ from the records.

    python scripts/make_tables.py
    python scripts/make_tables.py --add=runs/ring/quick/gan --add=runs/grid/quick
    python scripts/make_tables.py --add=runs/ablation/ring/quick --add=runs/lgan

Without --add it rewrites what stands between the markers `<!-- table: NAME -->` and
`<!-- end -->` in README.md and results/*.md, and draws results/figures/. Nothing is
computed: a table without records says so.

--add=FOLDER first copies every finished run at or below the folder. The record and some
of the first seed's samples go to the same path below results/ as the work directory has
below runs/ by default: results/DATASET/PRESET/METHOD,
results/ablation/DATASET/PRESET/VARIANT, results/inference_DATASET/PRESET/METHOD,
results/lgan. Seeds from 3 become METHOD-from-3.json, which joins METHOD.json's row.
A folder that eval_ivom.py wrote by --output becomes METHOD-search.json beside the
record of its run, and a sweep results/sweeps/DATASET/METHOD-FIELDS-seed-FIRST.json.
--add=FILE.json copies a benchmark's record to results/speed/, and one of
eval_stacked_mnist.py to results/stacked_mnist/classifiers/. Half a minute on one CPU
core.
"""

import pathlib
import re

import early  # noqa: F401
from tables import (
    ablations,
    checks,
    common,
    leaderboard,
    mixtures,
    published_rows,
    seeds,
    speed,
    stacked_mnist,
    sweeps,
)
from tables import images as image_tables
from tables import lgan as lgan_tables

from veegan_jax.common import errors, files
from veegan_jax.common import flags as common_flags
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import mixtures as mixture_presets
from veegan_jax.runtime import program

# Lists with commas would forget all but the last of a flag given twice.
ADD = common_flags.define_path(
    "add", [], "folder of finished runs to copy first; may be repeated", several=True
)
ROOT = common_flags.define_path(
    "root", str(pathlib.Path(__file__).parents[1]), "the checkout to work on"
)


# Data set -> what reads a run on it; single images have folders of several names.
_COLLECT = {
    **dict.fromkeys(mixture_presets.DATASETS, mixtures.collect),
    **dict.fromkeys(stacked_mnist_experiment.DIGITS, stacked_mnist.collect),
}
_DATASET = checks.one_of((*_COLLECT, *image_tables.FOLDERS.values()))


def add(paths: list[pathlib.Path], results: pathlib.Path) -> list[pathlib.Path]:
    """Copy the finished runs at or below folders, and records of benchmarks.

    Everything is read and checked before anything is written.

    Args:
      paths: the folders and the records.
      results: the folder of the records.

    Returns:
      The records that were written.

    Raises:
      InputError: naming the file that cannot be used.
    """
    found: dict[pathlib.Path, common.Copy] = {}
    for path in paths:
        for copy in collect(path, results):
            other = found.setdefault(copy.target, copy)
            if other.source != copy.source:
                raise errors.InputError(
                    f"{other.source} and {copy.source} would both become "
                    f"{copy.target}: --add one of them"
                )
    check_joinable(found)
    for copy in found.values():
        copy.write()
    return list(found)


def check_joinable(found: dict[pathlib.Path, common.Copy]) -> None:
    """Refuse copies that could not be joined with the other seeds of their rows.

    Raises:
      InputError: naming two records and what they share or differ in.
    """
    for base in {seeds.base(target) for target in found}:
        there = [path for path in seeds.parts(base) if path not in found]
        row = {path: checks.read(path, {}) for path in there}
        row |= {c.source: c.record for t, c in found.items() if seeds.base(t) == base}
        if len(row) > 1:
            seeds.check_joinable(row)


def collect(path: pathlib.Path, results: pathlib.Path) -> list[common.Copy]:
    """Read the finished runs at or below a folder, or a benchmark's record.

    Raises:
      InputError: if there is none, or one cannot be used.
    """
    if path.suffix == ".json":
        if not path.exists():
            raise errors.InputError(f"--add={path}: there is no such file")
        record = checks.read(path, {})
        if {"classifier", "metrics"} <= record.keys():
            return [stacked_mnist.collect_rescored(path, results)]
        return [speed.collect(path, results)]
    found = [p for p in sorted(path.rglob("results.json")) if p.parent.name != "ivom"]
    if not found:
        raise errors.InputError(
            f"--add={path}: no results.json there or below; is the run finished?"
        )
    copies, lgan_ablations = [], set()
    for file in found:
        run, record = file.parent, checks.read(file, {})
        ablation = (run / "ablation.json").exists()
        if "ivom_of" in record:
            copies.append(image_tables.collect_search(file, results))
            continue
        if "variants" in record:
            copies.append(sweeps.collect(run, results))
            continue
        if "cells" in record:
            if ablation:
                lgan_ablations.add(run.resolve().parent)
            else:
                copies.append(lgan_tables.collect(run, results))
            continue
        checks.check(file, record, {"config": {"dataset": _DATASET}})
        dataset = record["config"]["dataset"]
        if ablation:
            copies.append(ablations.collect(run, results))
        elif dataset in _COLLECT:
            copies.append(_COLLECT[dataset](run, dataset, results))
        else:
            copies += image_tables.collect(run, record, results)
    for folder in sorted(lgan_ablations):
        copies += lgan_tables.collect_ablation(folder, results)
    return copies


def fill(path: pathlib.Path, tables: dict[str, str]) -> set[str]:
    """Replace what stands between a file's table markers, and return their names.

    Raises:
      InputError: for a marker whose name is not a table.
    """

    def replace(match: re.Match) -> str:
        name = match[1]
        if name not in tables:
            raise errors.InputError(f"{path}: unknown table {name!r}")
        return f"<!-- table: {name} -->\n{tables[name]}\n<!-- end -->"

    pattern = r"<!-- table: (\S+) -->\n.*?<!-- end -->"
    text = path.read_text(encoding="utf-8")
    files.write_atomically(path, re.sub(pattern, replace, text, flags=re.DOTALL))
    return set(re.findall(pattern, text, flags=re.DOTALL))


def unplaced(records: list[pathlib.Path], placed: set[str]) -> list[str]:
    """Say which records are in tables that no page has, with what to do."""
    lines = []
    for path in records:
        above, folder, preset = path.parts[-4:-1]
        name = f"{folder}-{preset}"
        known = folder in (*stacked_mnist_experiment.DIGITS, *image_tables.FOLDERS)
        known &= above != "ablation"  # those are all in one table
        if known and preset != "classifiers" and name not in placed:
            lines.append(
                f"{path} is in the table {name}, which no page has: write "
                f"<!-- table: {name} --> and <!-- end --> into one, below each other"
            )
    return lines


def main() -> None:
    root = pathlib.Path(ROOT.value)
    results = root / "results"
    if not (root / "README.md").is_file():
        raise errors.InputError(f"--root={root} is no checkout: it has no README.md")
    added = add([pathlib.Path(path) for path in ADD.value], results)
    tables = {
        **mixtures.tables(results),
        "ablation": ablations.table(results),
        "reconstruction": sweeps.table(results),
        "reconstruction-repeat": sweeps.repeat(results),
        **stacked_mnist.tables(results),
        **image_tables.tables(results),
        **lgan_tables.tables(results),
        **speed.tables(results),
        **published_rows.tables(),
        **leaderboard.tables(results),
    }
    placed = set()
    for page in (root / "README.md", *sorted(results.glob("*.md"))):
        placed |= fill(page, tables)
    for line in unplaced(added, placed):
        print(line)


if __name__ == "__main__":
    program.run(main)
