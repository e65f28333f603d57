"""The table and the figures of bench/growth.py. No flags: make_tables.py imports it."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from veegan_jax.common import figures, files, records

# Axis -> its name on figures, and in the rows of the table.
AXES = {
    "batch": "batch size",
    "width": "width, times the preset's",
    "seeds": "seeds",
    "devices": "devices",
}
LABELS = {"ring-veegan": "VEEGAN, ring", "quarter-gan": "GAN, Stacked MNIST"}


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Fit y = a x^slope by least squares of the logarithms; at least two places."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def values(row: dict[str, Any], name: str) -> list[float]:
    """Return one value of each point of a row."""
    if name == "process":
        return [point["peak_memory_mib"][name] for point in row["points"]]
    return [point[name] for point in row["points"]]


def slopes(row: dict[str, Any], name: str) -> tuple[float, float]:
    """Return the slope over all points of a row, and over the last two."""
    x, y = values(row, row["axis"]), values(row, name)
    return slope(x, y), slope(x[-2:], y[-2:])


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Write a line for each axis and case: what was measured, and the slopes."""
    lines = []
    for row in rows:
        cells = [", ".join(f"{x:g}" for x in values(row, row["axis"]))]
        for name in ("median", "program_mib"):
            cells.append(", ".join(f"{y:.3g}" for y in values(row, name)))
            cells.append("{:.2f} ({:.2f})".format(*slopes(row, name)))
        cells.append(", ".join(f"{y:.0f}" for y in values(row, "process")))
        lines.append([AXES[row["axis"]], LABELS[row["case"]], *cells])
    header = ["over", "", "places", "ms/step of all seeds", "slope (last)"]
    header += ["program, MiB/device", "slope (last)", "process's peak, MiB"]
    return records.table(header, lines)


@figures.own_style()
def draw(rows: Sequence[dict[str, Any]], axis: str, path: pathlib.Path) -> None:
    """Draw time and memory over one axis, a line for each case, with the slopes.

    Args:
      rows: of the record.
      axis: one of `AXES`.
      path: the PNG to write.
    """
    from matplotlib import ticker

    figure = figures.new_figure(figsize=(8.4, 3.9))
    of_time, of_memory = figure.subplots(1, 2)
    rows = [row for row in rows if row["axis"] == axis]
    places = sorted({x for row in rows for x in values(row, axis)})
    for number, row in enumerate(rows):
        x, label, color = values(row, axis), LABELS[row["case"]], f"C{number}"
        for panel, name in ((of_time, "median"), (of_memory, "program_mib")):
            y = values(row, name)
            text = f"{label}: slope {slope(x, y):.2f}"
            panel.plot(x, y, marker="o", markersize=4, color=color, label=text)
        of_memory.plot(x, values(row, "process"), ":", color=color)
    of_time.set_title("time of a step of all seeds, ms", fontsize=10)
    of_memory.set_title("memory, MiB (dotted: peak of the process)", fontsize=10)
    for panel in (of_time, of_memory):
        panel.set(xscale="log", yscale="log", xlabel=AXES[axis])
        panel.set_xticks(places, [f"{x:g}" for x in places])
        panel.xaxis.set_minor_locator(ticker.NullLocator())
        low, high = panel.get_ylim()
        panel.set_ylim(low, high * (high / low) ** 0.3)  # room for the legend
        panel.grid(alpha=0.3, which="both")
        panel.legend(fontsize=8, loc="upper left")
    figure.tight_layout()
    figures.save(figure, path, dpi=110)


def draw_all(rows: Sequence[dict[str, Any]], folder: pathlib.Path) -> None:
    """Draw growth-AXIS.png of every axis of the rows into a folder."""
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for axis in dict.fromkeys(row["axis"] for row in rows):
        draw(rows, axis, folder / f"growth-{axis}.png")
