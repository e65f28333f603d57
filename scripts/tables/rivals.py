"""The cells of a benchmark's table on rivals beside PyTorch. No flags here."""

from typing import Any

from tables import common

# Rival beside PyTorch -> the column of ours over it; bench/summaries.py explains them.
AGAINST = {
    "flax": "over flax's",
    "a step a call": "over a step a call",
    "one after the other": "over seeds in turn",
}


def sizes(row: dict[str, Any]) -> str:
    """Say a row's sizes, and its precision if it is not float32."""
    precision = row.get("precision", "float32")
    other = "" if precision == "float32" else f", {precision}"
    return f"{row['preset']}, batch {row['batch_size']}{other}"


def seeds(row: dict[str, Any]) -> str:
    """Say how many seeds a row has."""
    count = row.get("seeds", 1)
    return "one seed" if count == 1 else f"{count} seeds"


def names(rows: list[dict[str, Any]]) -> list[str]:
    """Return which rivals beside PyTorch any row has."""
    return [n for n in AGAINST if any(n in row.get("against", {}) for row in rows)]


def over(row: dict[str, Any], names: list[str]) -> list[str]:
    """Return the cells of a row: our rate over each rival's."""
    found = [row.get("against", {}).get(name) for name in names]
    return ["" if one is None else f"{one['ratio']:.2f}" for one in found]


def not_compiled(rows: list[dict[str, Any]]) -> str:
    """Say which rows lack a compiled PyTorch, and why."""
    found: dict[str, set[str]] = {}
    for row in rows:
        why = row.get("torch_compile", "compiled")
        if not why.startswith("compiled"):
            found.setdefault(why, set()).add(common.LABELS[row["method"]])
    return "".join(
        f" torch.compile, {' and '.join(sorted(names))}: {why}."
        for why, names in found.items()
    )
