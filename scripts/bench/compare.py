"""Compare two records of one benchmark: which rows fell by more than their range.

    python scripts/bench/compare.py results/speed/training.json \
        runs/speed/training.json
        Seconds. Expect a table of the rows, and exit status 0, or 1 if one fell.

A row is measured in turns, so each record has a range: its lowest and its highest turn.
A row fell if the new range lies wholly below the old one: its best turn is below the
worst turn of the old record. The table says by how much of that worst turn. (A row of
one turn is its own range: any fall counts.) In the same way a row rose if its worst
turn is above the old best. Counts of bench/scaling.py are the same in every turn; more
FLOPs or bytes are a fall.

Rows are found by their names, whatever the benchmark. Compared are
  rates   numbers of `..._per_second`, of this library only, not of its rivals; on one
          machine with the same versions only, since nothing else can change them then
          but the code and other work on the machine;
  ratios  a rate over a rival's in the same run (`ratio` and `ratio_range`): also
          between machines. A ratio also falls if the rival became faster.
  times   lists of seconds or milliseconds, of bench/startup.py and growth.py: as rates.
  counts  FLOPs of bench/scaling.py: always; bytes and MiB of a program: as rates.
Rows that are missing in the new record, or new in it, are named. They are no fall.
"""

import pathlib
import re
import statistics
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import early  # noqa: F401

from veegan_jax.common import errors, records
from veegan_jax.runtime import program

REMEDY = "give two records of one benchmark, such as results/speed/training.json"
# These fields name an element of a list; all others were measured.
NAMES = (
    *("what", "name", "start", "case", "generator", "method", "mode", "preset"),
    *("dataset", "seeds", "devices", "batch_size", "batch", "image_size", "width"),
    *("precision", "axis", "size", "value"),
)
RIVALS = ("torch", "scipy", "flax", "xla")
COUNTS = (
    *("flops", "flops_per_example", "argument_bytes", "temporary_bytes"),
    "program_mib",
)


class Row(NamedTuple):
    """A measurement; the larger, the better."""

    value: float
    low: float  # of its turns
    high: float
    comparable: bool  # also between machines and versions


def benchmark(path: pathlib.Path, record: dict[str, Any]) -> str:
    """Return the name of the benchmark that wrote a record.

    Raises:
      InputError: if none did.
    """
    words = str(record.get("command", "")).split()
    name = pathlib.Path(words[1]).stem if len(words) > 1 else ""
    if not name or not (pathlib.Path(__file__).parent / f"{name}.py").exists():
        raise errors.InputError(f"{path} is no record of a benchmark: {REMEDY}")
    return f"{name} --tiny" if record.get("tiny") else name


def rows(value: Any, name: str = "") -> Iterator[tuple[str, Row]]:
    """List the measurements below a value of a record, with their names."""
    if isinstance(value, list):
        for i, one in enumerate(value):
            yield from rows(one, _join(name, _name(one) or str(i)))
    if not isinstance(value, dict):
        return
    ratio, spread = value.get("ratio"), value.get("ratio_range")
    if _are_numbers(spread) and len(spread) == 2 and _are_numbers([ratio]):
        yield _join(name, "ratio"), Row(ratio, *spread, comparable=True)
    for field, inner in value.items():
        here = _join(name, "" if field == "rows" else field)
        if field in COUNTS and _are_numbers([inner]):
            yield here, Row(-inner, -inner, -inner, comparable="flops" in field)
        elif re.search(r"_per_second(_by_\w+)?$|seconds$", field):
            # A smaller time is better.
            sign = 1 if "_per_second" in field else -1
            series = inner if isinstance(inner, dict) else {"": inner}
            for key, turns in series.items():
                full = _join(here, key)
                ours = not any(rival in full for rival in RIVALS)
                if ours and turns and _are_numbers(turns):
                    turns = sorted(sign * turn for turn in turns)
                    yield (
                        full,
                        Row(statistics.median(turns), turns[0], turns[-1], False),
                    )
        else:
            yield from rows(inner, here)


def _join(*names: str) -> str:
    return ": ".join(filter(None, names))


def _name(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    texts = {n: value[n] for n in NAMES if isinstance(value.get(n), str | int)}
    # Records from before there was a choice of precisions have float32, unsaid.
    texts = {n: text for n, text in texts.items() if text not in ("", "float32")}
    return ", ".join(t if isinstance(t, str) else f"{n} {t}" for n, t in texts.items())


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )


def conditions(record: dict[str, Any]) -> dict[str, str]:
    """Return the machine and the versions of a record, as far as it says."""
    names = ("device", "processor", "cpu_cores", "torch", "scipy")
    found = {n: record[n] for n in names if record.get(n) is not None}
    versions = record.get("versions")
    found |= versions if isinstance(versions, dict) else {}
    return {name: str(value) for name, value in found.items()}


def compare(old: dict[str, Row], new: dict[str, Row], same: bool) -> list[list[str]]:
    """Compare the rows that both records have.

    Args:
      old, new: the rows by name.
      same: whether machine and versions are the same.

    Returns:
      Lines of a table: name, old, new, change of the median, verdict.
    """
    lines = []
    for name in old.keys() & new.keys():
        before, after = old[name], new[name]
        if not (same or before.comparable):
            continue
        verdict = "within the ranges"
        if after.high < before.low:
            verdict = f"FELL: {_share(after.high, before.low)} beyond the ranges"
        elif after.low > before.high:
            verdict = f"rose: {_share(after.low, before.high)} beyond the ranges"
        change = _share(after.value, before.value)
        lines.append([name, _shown(before), _shown(after), change, verdict])
    order = {name: i for i, name in enumerate(new)}
    return sorted(lines, key=lambda line: order[line[0]])


def _share(after: float, before: float) -> str:
    return f"{(after - before) / abs(before):+.1%}" if before else "from 0"


def _shown(row: Row) -> str:
    value, low, high = (f"{abs(x):.4g}" for x in row[:3])
    low, high = (high, low) if row.value < 0 else (low, high)
    return value if low == high else f"{value} ({low} to {high})"


def read(path: pathlib.Path) -> tuple[str, dict[str, Any], dict[str, Row]]:
    """Read a record: its benchmark, itself and its rows.

    Raises:
      InputError: if it cannot be read, or no benchmark wrote it.
    """
    record = records.read(path)
    return benchmark(path, record), record, dict(rows(record))


def report(old_path: pathlib.Path, new_path: pathlib.Path) -> tuple[str, bool]:
    """Compare two records: what there is to say, and whether a row fell.

    Raises:
      InputError: for files that cannot be compared.
    """
    if old_path.exists() and new_path.exists() and old_path.samefile(new_path):
        raise errors.InputError(f"{old_path} and {new_path} are the same file")
    (old_kind, old, old_rows), (new_kind, new, new_rows) = map(
        read, (old_path, new_path)
    )
    if old_kind != new_kind:
        raise errors.InputError(
            f"{old_path} is of {old_kind}, {new_path} of {new_kind}: {REMEDY}"
        )
    if not old_rows.keys() & new_rows.keys():
        raise errors.InputError(
            f"{old_path} and {new_path} have no row in common: measure the same again"
        )
    said = [conditions(old), conditions(new)]
    differ = {n for n in said[0].keys() & said[1].keys() if said[0][n] != said[1][n]}
    lines = []
    for path, found in zip((old_path, new_path), said, strict=True):
        lines.append(f"{path}: " + ", ".join(f"{n} {v}" for n, v in found.items()))
    if differ:
        names = ", ".join(name for name in said[0] if name in differ)
        lines.append(f"warning: they differ in {names}; rates are not compared, ratios")
        lines[-1] += " to a rival in the same run are"
    table = compare(old_rows, new_rows, same=not differ)
    fell = [line for line in table if line[-1].startswith("FELL")]
    lines += ["", records.table(["row", "old", "new", "change", ""], table), ""]
    for word, here, there in (
        ("missing", old_rows, new_rows),
        ("new", new_rows, old_rows),
    ):
        lines += [f"{word}: {name}" for name in here if name not in there]
    lines.append(f"{len(fell)} of {len(table)} rows fell")
    return "\n".join([*lines, *(f"fell: {line[0]}" for line in fell)]), bool(fell)


def main(old: str, new: str) -> None:
    text, fell = report(pathlib.Path(old), pathlib.Path(new))
    print(text)
    if fell:
        sys.exit(1)


if __name__ == "__main__":
    program.run(main, "records: compare.py OLD.json NEW.json", 2)
