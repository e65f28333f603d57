"""Repeats every table of results/: lists its cells, runs those without a record.

    python scripts/reproduce.py --list
        Every cell, the most valuable first: how long it takes on this device, whether
        it has a record, and whether today's configuration and code are the record's.
        The first time two or three minutes, to measure the rate of each family of
        networks; then seconds.
    python scripts/reproduce.py --minutes=30
        Runs the cells that are missing or outdated and fit into half an hour, one after
        the other. Then copies their records to results/ and fills the tables. Where a
        record only has too few seeds, the others are run and join its row.
    python scripts/reproduce.py --tables=mixtures-quick --methods=gan,veegan --again
        Runs cells that have a record, too, and says how the numbers compare. A run that
        has ended in its work directory is not run again: move it away first.
    python scripts/reproduce.py --minutes=8 --jobs=8 --nomeasure --seeds=1
        On a GPU for some minutes: eight cells at a time share it, and what is not done
        at the end is saved.
    python scripts/reproduce.py --cells=$SLURM_ARRAY_TASK_ID --minutes=600
        One element of a cluster's array: the cell with that number in the list.

Each cell runs in a work directory of its own, runs/reproduce/DATASET/PRESET/METHOD.
Stop this at any time (SIGTERM, Ctrl-C) and give the same command to go on. A cell that
fails is named, and the others go on.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import early  # noqa: F401
from absl import flags
from reproduction import cells, minutes, states, work
from reproduction.cells import Cell
from tables import seeds

from veegan_jax.common import errors, files, records
from veegan_jax.common import flags as common_flags
from veegan_jax.runtime import distributed, loop, program

LIST = flags.DEFINE_bool("list", False, "print the cells; run nothing")
AGAIN = flags.DEFINE_bool("again", False, "run cells whose record is up to date, too")
MINUTES = common_flags.define_number(
    "minutes", 60.0, "the time for all cells together", within="(0, inf)"
)
MEASURE = flags.DEFINE_bool(
    "measure", True, "measure how long cells take; without it they start in any case"
)
JOBS = common_flags.define_number(
    "jobs", 1, "cells at a time; several small ones share a GPU well", within="[1, 64]"
)
SEEDS = common_flags.define_number(
    "seeds", 0, "of every training; 0: as many as its table has", within="[0, inf)"
)
TABLES = flags.DEFINE_list("tables", [], "only these tables (default: all)")
PRESETS = flags.DEFINE_list("presets", [], "only these presets (default: all)")
METHODS = flags.DEFINE_list("methods", [], "only these methods (default: all)")
CELLS = flags.DEFINE_list("cells", [], "only the cells with these numbers in the list")
ROOT = common_flags.define_path(
    "root", str(pathlib.Path(__file__).parents[1]), "the checkout to work on"
)
RUNS = common_flags.define_path(
    "runs", None, "where the runs go (default: runs/reproduce in the checkout)"
)


def pick(chosen: Sequence[Cell], numbers: Sequence[str]) -> list[Cell]:
    """Return the cells with these numbers, or all if there is none.

    Raises:
      InputError: for a number that no cell has.
    """
    for text in numbers:
        if not text.isdecimal() or int(text) >= len(chosen):
            raise errors.InputError(
                f"--cells={text} must be 0 to {len(chosen) - 1}, as --list counts"
            )
    return [chosen[int(text)] for text in numbers] or list(chosen)


def check_writable(results: pathlib.Path) -> None:
    """Refuse a folder of records that cannot be written, before any work.

    Raises:
      InputError: naming the folder.
    """
    try:
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        raise errors.InputError(
            f"{results} cannot be written ({error.strerror}): make that possible, or "
            "give --root=CHECKOUT"
        ) from error


def check_minutes(wanted: Sequence[tuple[Cell, float | None]], given: float) -> None:
    """Refuse a time in which no cell fits.

    Raises:
      InputError: naming the shortest cell and its time.
    """
    lengths = [(m or 0.0, cells.label(cell)) for cell, m in wanted]
    shortest, name = min(lengths, default=(0.0, ""))
    if shortest > given:
        raise errors.InputError(
            f"--minutes={given:g}: the shortest cell, {name}, takes "
            f"{work.duration(shortest)}; give more, or choose other cells"
        )


def table(
    chosen: Sequence[Cell],
    judged: Sequence[states.State],
    needed: Sequence[minutes.Minutes],
) -> str:
    """Write the cells as a table, with their sum."""
    rows = []
    for i, (cell, state, time) in enumerate(zip(chosen, judged, needed, strict=True)):
        known = "" if time.minutes is None else work.duration(time.minutes)
        record = f"{state.kind}: {state.why}" if state.why else state.kind
        name = cells.label(cell)
        rows.append([str(i), cell.table, name, known, time.source, record, state.code])
    header = ["", "table", "cell", "takes", "known by", "record", "its code"]
    return records.table(header, rows)


def is_finished(cell: Cell, runs: pathlib.Path) -> bool:
    """Whether an earlier call ran a training to its end, as it is configured today."""
    workdir = runs / cell.workdir
    made = [workdir / "results.json"]
    made += [workdir / "ivom" / "results.json"] * bool(cell.ivom)
    if cell.config is None or not all(path.exists() for path in made):
        return False
    return not states.difference(cell, *map(records.read, made))


def repeated(cell: Cell, results: pathlib.Path, runs: pathlib.Path) -> str:
    """Say how a finished cell's numbers compare with its record's."""
    if cell.config is None or not states.files_of(results / cell.records[0]):
        return ""
    new = records.read(runs / cell.workdir / "results.json")
    old = seeds.read(results / cell.records[0], {"mean": {}, "std": {}})
    if new["per_seed"] == old["per_seed"]:
        return "the record's numbers, to the last digit"
    shared = [n for n in new["mean"] if new["mean"][n] is not None and n in old["mean"]]

    def shown(record: dict[str, Any], name: str) -> str:
        return records.cell(record["mean"][name], record["std"][name])

    return "; ".join(
        f"{name.replace('_', ' ')} {shown(new, name)}, recorded {shown(old, name)}"
        for name in shared[:3]
    )


def keep(done: Sequence[Cell], root: pathlib.Path, runs: pathlib.Path) -> None:
    """Copy the records of finished cells to results/ and fill the tables.

    Raises:
      InputError: if that fails; its own message has been printed.
    """
    adds = [f"--add={cells.placed(a, cell, runs)}" for cell in done for a in cell.add]
    script = pathlib.Path(__file__).with_name("make_tables.py")
    with files.alone(runs / ".tables.lock", "fills the tables"):
        made = subprocess.run([sys.executable, str(script), f"--root={root}", *adds])
    if made.returncode:
        raise errors.InputError(
            "make_tables.py failed, so nothing was copied to results/; the runs are "
            f"kept in {runs}"
        )


def main() -> None:
    root = pathlib.Path(ROOT.value)
    results = root / "results"
    runs = pathlib.Path(RUNS.value or root / "runs" / "reproduce")
    listed = cells.read(seeds=SEEDS.value or None)
    chosen = cells.choose(listed, TABLES.value, PRESETS.value, METHODS.value)
    chosen = pick(chosen, CELLS.value)
    if not LIST.value:
        check_writable(results)
    judged = [states.of(cell, results) for cell in chosen]
    if not AGAIN.value:
        chosen = [
            cells.rest(cell, state.lacks) if state.lacks else cell
            for cell, state in zip(chosen, judged, strict=True)
        ]
    distributed.use_cpu_cores(distributed.cpu_cores())
    # The cells need the memory of a GPU, and this process hardly any.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    rates = minutes.Rates()
    needed = []
    for cell, state in zip(chosen, judged, strict=True):
        shown = LIST.value or AGAIN.value or state.kind != states.CURRENT
        measure = MEASURE.value and shown
        needed.append(
            minutes.expected(cell, state, results, runs, rates, measure=measure)
        )
    if LIST.value:
        print(table(chosen, judged, needed))
        return
    finished, wanted = [], []
    for cell, state, time in zip(chosen, judged, needed, strict=True):
        if AGAIN.value or state.kind != states.CURRENT:
            if is_finished(cell, runs):
                finished.append(cell)
            else:
                wanted.append((cell, time.minutes))
    if not wanted and not finished:
        print("every cell has an up-to-date record; --again repeats them")
        return
    check_minutes(wanted, MINUTES.value)
    runs.mkdir(parents=True, exist_ok=True)
    ended, signal = work.run(wanted, root, runs, minutes=MINUTES.value, jobs=JOBS.value)
    ended += [work.Outcome(cell, work.DONE, 0.0) for cell in finished]
    done = [one.cell for one in ended if one.result == work.DONE]
    rows = [
        [
            one.cell.table,
            cells.label(one.cell),
            one.result,
            work.duration(one.minutes) if one.minutes else "",
            one.message or repeated(one.cell, results, runs),
        ]
        for one in ended
    ]
    header = ["table", "cell", "result", "took", ""]
    print(f"\n{records.table(header, rows)}", flush=True)
    if signal:
        raise loop.Interrupted(f"stopped by {signal}; give the same command to go on")
    if done:
        keep(done, root, runs)
    if any(one.result == work.FAILED for one in ended):
        sys.exit(1)


if __name__ == "__main__":
    program.run(main)
