"""The table of bench/scaling.py. No flags: make_tables.py imports it."""

from collections.abc import Sequence
from typing import Any

from veegan_jax.common import records


def verdict(row: dict[str, Any]) -> str:
    """Say whether a step has one all-reduce and moves no example between devices."""
    several = [one for one in row["strong"] + row["weak"] if one["devices"] > 1]
    if not several:
        return "one device"
    names = {name for one in several for name in one["operations"]}
    if moved := names - {"all-reduce"}:
        return f"no: {', '.join(sorted(moved))}"
    reduced = {one["operations"].get("all-reduce", (0, 0))[0] for one in several}
    if 0 in reduced:
        return "no: nothing is reduced"
    if reduced == {1}:
        return "yes"
    return "but for BatchNorm" if row["batch_norm"] else "no: several all-reduces"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Write the rows as a table; a number that is equal on all devices stands once."""

    def cell(values):
        values = [f"{value:.4g}" for value in values]
        return values[0] if len(set(values)) == 1 else ", ".join(values)

    lines = []
    for row in rows:
        several = [one["operations"] for one in row["strong"] if one["devices"] > 1]
        reduced = [found.get("all-reduce", (0, 0)) for found in several]
        others = [
            sum(n for name, (n, _) in found.items() if name != "all-reduce")
            for found in several
        ]
        flops = [[one["flops"] / 1e6 for one in row[s]] for s in ("strong", "weak")]
        lines.append(
            [
                row["case"],
                row["mode"],
                str(row["batch_size"]),
                cell([n for n, _ in reduced]),
                cell([size / 2**20 for _, size in reduced]),
                cell(others),
                *map(cell, flops),
                verdict(row),
            ]
        )
    header = ["case", "mode", "batch", "all-reduces", "MiB", "other collectives"]
    header += [
        "MFLOP/device, batch fixed",
        "batch per device fixed",
        "one, no resharding",
    ]
    return records.table(header, lines)
