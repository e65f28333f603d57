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
results/lgan. --add=FILE.json copies a benchmark's record to results/speed/, and one of
eval_stacked_mnist.py to results/stacked_mnist/classifiers/. Half a minute on one CPU
core.
"""

import pathlib
import re
from typing import Any

import early  # noqa: F401
import numpy as np
from tables import ablations, mixtures, speed, stacked_mnist
from tables import images as image_tables
from tables import lgan as lgan_tables

from veegan_jax.common import errors, files, records
from veegan_jax.common import flags as common_flags
from veegan_jax.runtime import program

# Lists with commas would forget all but the last of a flag given twice.
ADD = common_flags.define_path(
    "add", [], "folder of finished runs to copy first; may be repeated", several=True
)
ROOT = common_flags.define_path(
    "root", str(pathlib.Path(__file__).parents[1]), "the checkout to work on"
)


_OF_A_RUN = ("config.method", "options.preset")  # they say where its record goes


def add(path: pathlib.Path, results: pathlib.Path) -> None:
    """Copy the finished runs at or below a folder, or a benchmark's record.

    Raises:
      InputError: if there is none.
    """
    if path.suffix == ".json":
        if not path.exists():
            raise errors.InputError(f"--add={path}: there is no such file")
        record = records.read(path, "command")
        of_samples = "histogram" in record
        folder = stacked_mnist.CLASSIFIERS if of_samples else "speed"
        records.publish(results / folder / path.name, record)
        return
    found = [p for p in sorted(path.rglob("results.json")) if p.parent.name != "ivom"]
    if not found:
        raise errors.InputError(
            f"--add={path}: no results.json there or below; is the run finished?"
        )
    lgan_ablations = set()
    for file in found:
        run, record = file.parent, records.read(file, "command", "config.dataset")
        ablation = run / "ablation.json"
        if "cells" in record and ablation.exists():
            lgan_ablations.add(run.parent)
        elif "cells" in record:
            lgan_tables.add(run, results)
        elif ablation.exists():
            add_ablation(ablation, results)
        elif image_tables.folder_of(record):
            image_tables.add(run, records.read(file, *_OF_A_RUN), results)
        else:
            add_run(run, records.read(file, *_OF_A_RUN), results)
    for folder in sorted(lgan_ablations):
        lgan_tables.add_ablation(folder, results)


def add_ablation(path: pathlib.Path, results: pathlib.Path) -> None:
    """Copy the record of one variant of ablate.py."""
    record = records.read(path, "config.dataset", *_OF_A_RUN, "changes")
    folder = results / "ablation" / record["config"]["dataset"]
    folder /= record["options"]["preset"]
    records.publish(folder / f"{path.parent.name}.json", record)


def add_run(run: pathlib.Path, record: dict[str, Any], results: pathlib.Path) -> None:
    """Copy a run on a mixture or on Stacked MNIST, with its first seed's samples."""
    config = record["config"]
    folder = results / config["dataset"] / record["options"]["preset"]
    records.publish(folder / f"{config['method']}.json", record)
    with np.load(run / "samples.npz", allow_pickle=False) as data:
        if "image" in data:
            kept = {"image": data["image"][0, :32]}
            files.write_compressed(folder / "real.npz", image=data["real"])
        else:
            kept = {"plane": data["plane"][0].astype(np.float16)}
    files.write_compressed(folder / f"{config['method']}.npz", **kept)


def fill(path: pathlib.Path, tables: dict[str, str]) -> None:
    """Replace what stands between a file's table markers.

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


def main() -> None:
    root = pathlib.Path(ROOT.value)
    results = root / "results"
    if not (root / "README.md").is_file():
        raise errors.InputError(f"--root={root} is no checkout: it has no README.md")
    for path in ADD.value:
        add(pathlib.Path(path), results)
    tables = {
        **mixtures.tables(results),
        "ablation": ablations.table(results),
        **stacked_mnist.tables(results),
        **image_tables.tables(results),
        **lgan_tables.tables(results),
        **speed.tables(results),
    }
    for page in (root / "README.md", *sorted(results.glob("*.md"))):
        fill(page, tables)


if __name__ == "__main__":
    program.run(main)
