"""Medians, ratios and the printed table of bench/training.py and images.py. No flags.

A row compares our scan of one seed, or of several in one program, with
  PyTorch              its fastest variant, one seed at a time;
  flax                 the public JAX way: see flax_peers.py;
  a step a call        our step, jitted, called from Python;
  one after the other  for several seeds: the scan of one seed, seed by seed.
"""

import statistics
from typing import Any

import timing

from veegan_jax.common import records

AGAINST = ("flax", "a step a call", "one after the other")


def rows(
    about: dict[str, Any], rates: dict[Any, list[float]], seeds: list[int]
) -> list[dict[str, Any]]:
    """Make a row for each number of seeds from rates by number of seeds, or by name.

    Args:
      about: fields of every row.
      rates: by number of seeds (scans), and by the names in AGAINST (one seed).
      seeds: how many at once, row by row.
    """
    found = []
    forms = {name: rates[name] for name in AGAINST if name in rates}
    for count in seeds:
        others = forms
        if count > 1 and 1 in seeds:
            others = forms | {"one after the other": rates[1]}
        row = {**about, "seeds": count, "jax_steps_per_second": rates[count]}
        if forms:
            row["jax_steps_per_second_by_form"] = forms
        against = {
            name: timing.ratio(rates[count], theirs) for name, theirs in others.items()
        }
        found.append(row | ({"against": against} if against else {}))
    return found


def summarize(rows: list[dict[str, Any]], peak: float | None = None) -> str:
    """Add medians, ratio and fractions to the rows; return them as a table.

    Args:
      rows: what `measure` of a benchmark returned.
      peak: the matmul peak, FLOP/s, if rows have their FLOPs.
    """
    header = ["method", "sizes", "precision", "seeds", "JAX steps/s"]
    header += ["PyTorch steps/s (variant)", "JAX / PyTorch"]
    header += [f"JAX / {name}" for name in AGAINST]
    header += ["JAX of peak", "PyTorch of peak"] * (peak is not None)
    lines = []
    for row in rows:
        ours, by_variant = (
            row["jax_steps_per_second"],
            row["torch_steps_per_second_by_variant"],
        )
        row |= _speed("jax", row, ours, peak)
        cells = ["", ""]
        if by_variant:
            row["torch_variant"] = timing.fastest(by_variant)
            theirs = by_variant[row["torch_variant"]]
            row |= _speed("torch", row, theirs, peak) | timing.ratio(ours, theirs)
            cells = [f"{row['torch_median']:.4g} ({row['torch_variant']})", shown(row)]
        against = row.get("against", {})
        cells += [shown(against[n]) if n in against else "" for n in AGAINST]
        if peak is not None:
            fractions = (row.get(f"{name}_of_peak") for name in ("jax", "torch"))
            cells += ["" if x is None else f"{100 * x:.1f} %" for x in fractions]
        lines.append(
            [
                row["method"],
                row["preset"],
                row.get("precision", "float32"),
                str(row["seeds"]),
                f"{row['jax_median']:.4g}",
                *cells,
                f"{row['compile_seconds']:.1f}",
            ]
        )
    return records.table([*header, "compile s"], lines)


def shown(ratio: dict[str, Any]) -> str:
    """Format a ratio with its range."""
    return "{:.2f} ({:.2f} to {:.2f})".format(ratio["ratio"], *ratio["ratio_range"])


def _speed(
    library: str, row: dict[str, Any], rates: list[float], peak: float | None
) -> dict[str, float]:
    median = statistics.median(rates)
    found = {f"{library}_median": median}
    found[f"{library}_images_per_second"] = median * row["batch_size"]
    if peak is not None:
        found[f"{library}_of_peak"] = median * row["flops_per_step"] / peak
    return found
