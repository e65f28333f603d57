"""Plots of samples, curves and images; `figures` says how they are drawn."""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from veegan_jax.common import figures, files


def limits(points_NX: np.ndarray, margin: float = 0.3) -> list[tuple[float, float]]:
    """Return axis limits around 2-D points, with a margin relative to their extent.

    Points of no extent get a margin as if it were 1.
    """
    low, high = points_NX.min(axis=0), points_NX.max(axis=0)
    space = margin * np.where(high > low, high - low, 1)
    return list(zip((low - space).tolist(), (high + space).tolist(), strict=True))


def set_margins(
    figure: Any, *, left: float, right: float, bottom: float, top: float, gap: tuple
) -> None:
    """Set the space around and between a grid's panels, in inches.

    Takes no time; `tight_layout`, which measures all text, takes as long as drawing.

    Args:
      figure: of one grid of panels.
      left, right, bottom, top: from the figure's edges to the panels.
      gap: between columns and between rows.
    """
    grid = figure.axes[0].get_gridspec()
    width, height = figure.get_size_inches()
    panel_width = (width - left - right - gap[0] * (grid.ncols - 1)) / grid.ncols
    panel_height = (height - bottom - top - gap[1] * (grid.nrows - 1)) / grid.nrows
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=gap[0] / panel_width,
        hspace=gap[1] / panel_height,
    )


_COLUMNS = 10  # of panels side by side


@figures.own_style()
def samples_and_density(
    panels: dict[str, np.ndarray],
    truth_NX: np.ndarray,
    path: pathlib.Path,
    *,
    axes: tuple[str, str] = ("x1", "x2"),
    title: str = "",
) -> None:
    """Draw panels side by side: points over true ones, and their density below.

    Args:
      panels: title -> points [N, 2].
      truth_NX: true samples [N, 2]; they set the limits.
      path: the PNG to write.
      axes: names of the two coordinates.
      title: above everything.
    """
    (x_limits, y_limits) = limits(truth_NX)
    bands = -(-len(panels) // _COLUMNS)  # of two rows
    columns = -(-len(panels) // bands)
    figure = figures.new_figure(figsize=(2.6 * columns + 0.6, 4.9 * bands + 0.7))
    grid = figure.subplots(2 * bands, columns, squeeze=False, sharex=True)
    bins = [np.linspace(*x_limits, 121), np.linspace(*y_limits, 121)]
    for axis in grid[-2:, len(panels) - columns * (bands - 1) :].flat:
        axis.set_axis_off()
    for place, (name, points_NX) in enumerate(panels.items()):
        band, column = divmod(place, columns)
        top, bottom = grid[2 * band : 2 * band + 2, column]
        top.scatter(*truth_NX.T, s=3, color="0.75", linewidths=0)
        top.scatter(*points_NX.T, s=3, color="C0", linewidths=0)
        top.set_title(figures.as_text(name), fontsize=9)
        bottom.imshow(
            _density(points_NX, bins).T,
            origin="lower",
            extent=(*x_limits, *y_limits),
            aspect="auto",
            cmap="magma",
        )
        if band == bands - 1:
            bottom.set_xlabel(axes[0])
        for axis in (top, bottom):
            axis.set_xlim(*x_limits)
            axis.set_ylim(*y_limits)
            if column:
                axis.set_yticklabels([])
    for axis in grid[:, 0]:
        axis.set_ylabel(axes[1])
    top = 1 - 0.1 / figure.get_size_inches()[1]
    # In words: a legend would cover modes, in whatever corner it stood.
    title = f"{title}\nblue: samples, grey: true samples"
    figure.suptitle(figures.as_text(title), fontsize=10, y=top, va="top")
    gap = 0.2 if bands == 1 else 0.35
    set_margins(figure, left=0.65, right=0.1, bottom=0.5, top=0.7, gap=(0.2, gap))
    figures.save(figure, path, dpi=110 if bands == 1 else 72)


def _density(points_NX: np.ndarray, bins: list[np.ndarray]) -> np.ndarray:
    """Return the square root of a smoothed histogram, so that faint bridges show."""
    from scipy import ndimage

    counts, _, _ = np.histogram2d(*points_NX.T, bins=bins)
    return np.sqrt(ndimage.gaussian_filter(counts, 1.2))


@figures.own_style()
def curves(
    log: list[dict[str, Any]], names: list[str], path: pathlib.Path, *, title: str = ""
) -> None:
    """Draw training curves: one panel per metric, one line per seed.

    Args:
      log: lines of metrics.jsonl; see `metrics_log.read`.
      names: metrics to draw; those missing from the log are left out. If all are,
        nothing is drawn.
      path: the PNG to write.
      title: above everything.
    """
    lines_of = {n: [line for line in log if n in line] for n in names}
    names = [n for n in names if lines_of[n]]
    if not names:
        return
    rows = -(-len(names) // 5)
    columns = -(-len(names) // rows)
    figure = figures.new_figure(figsize=(3 * columns, 2.4 * rows + 0.2))
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        steps = [line["step"] for line in lines_of[name]]
        values = np.array([line[name] for line in lines_of[name]], float)
        axis.set_title(figures.as_text(name.replace("_", " ")), fontsize=9)
        axis.set_xlabel("step")
        if not np.isfinite(values).any():
            axis.text(0.5, 0.5, "undefined", ha="center", transform=axis.transAxes)
            axis.set(xticks=[], yticks=[])
            continue
        single = (
            np.isfinite(values).sum(axis=0).max() == 1
        )  # no line joins it to others
        axis.plot(steps, values, linewidth=1, marker="." if single else "")
        axis.grid(alpha=0.3)
    figure.suptitle(figures.as_text(title), fontsize=10)
    set_margins(figure, left=0.7, right=0.15, bottom=0.5, top=0.6, gap=(0.65, 0.8))
    figures.save(figure, path, dpi=110)


@figures.own_style()
def over_time(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    path: pathlib.Path,
    *,
    best: Mapping[str, float],
    title: str,
    unit: str = "minutes",
    log: bool = True,
) -> None:
    """Draw metrics over the training: a line a method, its seeds a band (of ten).

    Args:
      panels: metric -> method -> minutes or steps [T] and values of each seed [S, T].
      path: the PNG to write.
      best: metric -> what a perfect model scores, if it is known; a dashed line.
      title: above everything.
      unit: of the horizontal axis.
      log: whether the first metric's axis is logarithmic.
    """
    from matplotlib import ticker

    names = list(dict.fromkeys(m for methods in panels.values() for m in methods))
    figure = figures.new_figure(figsize=(4.2 * len(panels) + 1.7, 3.4))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (metric, methods) in zip(axes, panels.items(), strict=True):
        for method, (time_T, value_ST) in methods.items():
            mean_T = np.mean(value_ST, axis=0)
            place = names.index(method)  # ten colours: the eleventh line is dashed
            colour, style = f"C{place % 10}", "--" if place // 10 else "-"
            axis.plot(time_T, mean_T, style, linewidth=1.2, color=colour, label=method)
            if len(names) > 10:  # so many bands would hide each other
                continue
            low_T, high_T = np.min(value_ST, axis=0), np.max(value_ST, axis=0)
            axis.fill_between(time_T, low_T, high_T, color=colour, alpha=0.2, lw=0)
        if metric in best:
            axis.axhline(best[metric], color="black", linestyle="--", linewidth=1)
        axis.set_xlabel(f"{unit} of training")
        axis.set_title(figures.as_text(metric), fontsize=9)
        axis.grid(alpha=0.3)
    if log:
        axes[0].set_yscale("log")
        y = axes[0].yaxis
        y.set_minor_locator(ticker.LogLocator(subs=(2, 3, 5)))
        for one in (y.set_major_formatter, y.set_minor_formatter):
            one(lambda value, _: f"{value:g}")
    # Beside the panels, since lines may be anywhere in them.
    axes[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    figure.suptitle(figures.as_text(title), fontsize=10)
    set_margins(figure, left=0.7, right=1.85, bottom=0.5, top=0.6, gap=(0.65, 0.8))
    figures.save(figure, path, dpi=110)


@figures.own_style()
def animation(
    frames: list[tuple[str, np.ndarray]], truth_NX: np.ndarray, path: pathlib.Path
) -> None:
    """Draw an animated GIF of points over true ones; a frame is (title, points)."""
    from matplotlib import animation as mpl_animation

    figure = figures.new_figure(figsize=(3.6, 3.8))
    axis = figure.subplots()
    (x_limits, y_limits) = limits(truth_NX)
    axis.scatter(*truth_NX.T, s=3, color="0.75", linewidths=0)
    dots = axis.scatter(*frames[0][1].T, s=3, color="C0", linewidths=0)
    axis.set_xlim(*x_limits)
    axis.set_ylim(*y_limits)

    def show(number: int):
        title, points_NX = frames[number]
        dots.set_offsets(points_NX)
        axis.set_title(title, fontsize=9)
        return (dots,)

    movie = mpl_animation.FuncAnimation(figure, show, frames=len(frames))
    with files.writing(path), files.temporary(path) as folder:
        folder.mkdir()  # the writer reads the format from the name
        whole = folder / path.name
        movie.save(whole, writer=mpl_animation.PillowWriter(fps=6), dpi=80)
        whole.replace(path)


@figures.own_style()
def image_grid(
    rows: dict[str, np.ndarray], path: pathlib.Path, title: str = "", columns: int = 16
) -> None:
    """Draw images side by side, each pixel as a square of whole screen pixels.

    Args:
      rows: label -> uint8 [N, H, W, C], all of one H, W and C; see `viewable`. A row
        of more than `columns` images takes several lines.
      path: the PNG to write.
      title: above everything.
      columns: images in a line.
    """
    rows = {label: viewable(images_NHWC) for label, images_NHWC in rows.items()}
    scale = max(1, round(56 / next(iter(rows.values())).shape[2]))
    columns = min(columns, max(map(len, rows.values())))
    blocks = [_tiled(images_NHWC, columns) for images_NHWC in rows.values()]
    # Screen pixels for the labels, the title, and the gap between rows.
    widest = max(len(line) for label in rows for line in label.split("\n"))
    left, top, gap = max(110, 7 * widest + 20), 40 if title else 8, 10
    heights = [scale * len(block) for block in blocks]
    size = np.array(
        [left + scale * blocks[0].shape[1] + gap, top + sum(heights) + gap * len(rows)]
    )
    dpi = 100
    figure = figures.new_figure(figsize=size / dpi, dpi=dpi)
    for label, block, tall in zip(rows, blocks, heights, strict=True):
        top += tall
        corner = np.array([left, size[1] - top])
        extent = np.array([scale * block.shape[1], tall])
        axis = figure.add_axes((*(corner / size), *(extent / size)))
        axis.imshow(block, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_axis_off()
        top += gap
        middle = corner + extent / 2
        place = (left - 10) / size[0], middle[1] / size[1]
        figure.text(*place, figures.as_text(label), ha="right", va="center", fontsize=9)
    figure.suptitle(figures.as_text(title), fontsize=10, y=max(0.98, 1 - 8 / size[1]))
    figures.save(figure, path, dpi=dpi)


@figures.own_style()
def with_intervals(
    lines: dict[str, np.ndarray],
    x: list[float],
    path: pathlib.Path,
    *,
    levels: dict[str, float],
    axes: tuple[str, str],
    title: str = "",
) -> None:
    """Draw means with their intervals, one line a label, and some fixed levels.

    Args:
      lines: label -> mean, low and high for each x, [3, len(x)].
      x: places.
      path: the PNG to write.
      levels: label -> height of a dashed line across.
      axes: what x and the means are.
      title: above everything.
    """
    figure = figures.new_figure(figsize=(7.2, 4.6))
    axis = figure.subplots()
    width = 0.02 * (max(x) - min(x) or 1)
    for place, (label, (mean, low, high)) in enumerate(lines.items()):
        shift = width * (place - (len(lines) - 1) / 2) / 2  # intervals side by side
        errors = np.nan_to_num([mean - low, high - mean])
        axis.errorbar(
            np.array(x) + shift,
            mean,
            errors,
            marker=".",
            capsize=2,
            linewidth=1,
            color=f"C{place % 10}",
            linestyle="-" if place < 10 else ":",
            label=figures.as_text(label),
        )
    for place, (label, height) in enumerate(levels.items()):
        axis.axhline(height, color=str(0.3 + 0.3 * place), linestyle="--", linewidth=1)
        axis.annotate(figures.as_text(label), (min(x), height), fontsize=8, va="bottom")
    axis.set_xticks(x)
    axis.set_xlabel(axes[0])
    axis.set_ylabel(axes[1])
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    axis.set_title(figures.as_text(title), fontsize=10)
    figure.tight_layout()
    figures.save(figure, path, dpi=110)


def viewable(images_NHWC: np.ndarray) -> np.ndarray:
    """Return images of one or three channels; more stand side by side, in a square."""
    num, height, width, channels = images_NHWC.shape
    if channels in (1, 3):
        return images_NHWC
    side = math.isqrt(channels - 1) + 1
    square_NHWC = np.zeros((num, side * height, side * width, 1), images_NHWC.dtype)
    for channel in range(channels):
        row, column = divmod(channel, side)
        rows = slice(row * height, (row + 1) * height)
        columns = slice(column * width, (column + 1) * width)
        square_NHWC[:, rows, columns, 0] = images_NHWC[..., channel]
    return square_NHWC


def _tiled(images_NHWC: np.ndarray, columns: int) -> np.ndarray:
    """Tile images with a white pixel between them: [height, width, C]."""
    lines = -(-len(images_NHWC) // columns)
    missing = lines * columns - len(images_NHWC)
    pads = ((0, missing), (0, 1), (0, 1), (0, 0))
    padded = np.pad(images_NHWC, pads, constant_values=255)
    _, height, width, channels = padded.shape
    grid = padded.reshape(lines, columns, height, width, channels)
    return grid.swapaxes(1, 2).reshape(lines * height, columns * width, channels)
