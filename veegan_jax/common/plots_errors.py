"""Figures of the errors of images. matplotlib is imported only when drawing."""

import pathlib

import numpy as np

from veegan_jax.common import figures, plots


@figures.own_style()
def captioned(
    rows: dict[str, tuple[np.ndarray, list[str] | None]],
    path: pathlib.Path,
    *,
    title: str = "",
    columns: int = 16,
) -> None:
    """Draw images over their counterparts, with a caption under each.

    Args:
      rows: label -> (uint8 [N, H, W, C], all of one shape; captions or None). More
        than `columns` images take several lines of all rows; see `plots.viewable`.
      path: the PNG to write.
      title: above everything.
      columns: images in a line.
    """
    rows = {label: (plots.viewable(x), words) for label, (x, words) in rows.items()}
    num = len(next(iter(rows.values()))[0])
    columns = min(columns, num)
    lines = -(-num // columns)
    # Inches of an image, and of the caption below it.
    side, text = 0.68, 0.17
    tall = [side + (text if captions else 0.03) for _, captions in rows.values()]
    left, top = 0.15 + 0.085 * max(map(len, rows)), 0.4 if title else 0.05
    size = left + columns * side + 0.05, top + lines * (sum(tall) + 0.1)
    figure = figures.new_figure(figsize=size)
    down = top
    for line in range(lines):
        part = slice(line * columns, (line + 1) * columns)
        for (label, (images_NHWC, captions)), height in zip(
            rows.items(), tall, strict=True
        ):
            middle = 1 - (down + side / 2) / size[1]
            figure.text(
                (left - 0.08) / size[0],
                middle,
                figures.as_text(label),
                ha="right",
                va="center",
                size=8,
            )
            for column, image in enumerate(images_NHWC[part]):
                corner = left + column * side, size[1] - down - side
                extent = 0.96 * side / size[0], 0.96 * side / size[1]
                axis = figure.add_axes(
                    (corner[0] / size[0], corner[1] / size[1], *extent)
                )
                axis.imshow(image, cmap="gray", vmin=0, vmax=255)
                axis.set_axis_off()
                if captions:
                    axis.set_title(captions[part][column], fontsize=7, y=-0.23, pad=0)
            down += height
        down += 0.1
    figure.suptitle(figures.as_text(title), fontsize=10, y=1 - 0.06 / size[1], va="top")
    figures.save(figure, path, dpi=130)


@figures.own_style()
def distribution(
    errors: dict[str, np.ndarray],
    path: pathlib.Path,
    *,
    dashed: tuple[str, ...] = (),
    unit: str = "mean squared error",
    title: str = "",
) -> None:
    """Draw the share of images at or below each error, one line a label.

    Args:
      errors: label -> errors [N], at least 0; non-finite ones count as above all.
      path: the PNG to write.
      dashed: labels of the baselines, drawn as dashed lines.
      unit: the unit of the errors.
      title: above everything.
    """
    figure = figures.new_figure(figsize=(7.2, 4.4))
    axis = figure.subplots()
    for place, (label, error_N) in enumerate(errors.items()):
        style = {"linestyle": "--", "linewidth": 1} if label in dashed else {}
        share_N = 100 * np.arange(1, len(error_N) + 1) / len(error_N)
        low = np.sort(np.maximum(error_N, 1e-12))
        axis.step(
            low,
            share_N,
            where="post",
            color=f"C{place % 10}",
            label=figures.as_text(label),
            **style,
        )
    axis.set_xscale("log")
    axis.set_xlabel(unit)
    axis.set_ylabel("% of the images at or below")
    axis.set_ylim(0, 100)
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize=8)
    axis.set_title(figures.as_text(title), fontsize=10)
    figure.tight_layout()
    figures.save(figure, path, dpi=110)
