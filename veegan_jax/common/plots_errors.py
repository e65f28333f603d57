"""Figures of errors, image by image. matplotlib is imported where it draws."""

import pathlib

import numpy as np

from veegan_jax.common import plots


def pairs(
    top_NHWC: np.ndarray,
    bottom_NHWC: np.ndarray,
    captions: list[str],
    path: pathlib.Path,
    *,
    labels: tuple[str, str],
    title: str = "",
    columns: int = 16,
) -> None:
    """Images over their counterparts, a caption under each pair.

    Args:
      top_NHWC: uint8 [N, H, W, C], C 1 or 3.
      bottom_NHWC: as many of the same shape.
      captions: one for each pair.
      path: the PNG to write.
      labels: what the upper and the lower images are.
      title: above everything.
      columns: pairs in a line.
    """
    plt = plots.pyplot()
    columns = min(columns, len(captions))
    lines = -(-len(captions) // columns)
    figure = plt.figure(figsize=(0.72 * columns + 0.9, 1.78 * lines + 0.45))
    outer = figure.add_gridspec(
        lines, 1, left=0.09, right=0.99, bottom=0.03, hspace=0.12
    )
    for line in range(lines):
        grid = outer[line].subgridspec(2, columns, wspace=0.06, hspace=0.04)
        for column in range(columns):
            number = line * columns + column
            for row, images in enumerate((top_NHWC, bottom_NHWC)):
                axis = figure.add_subplot(grid[row, column])
                axis.set_xticks([])
                axis.set_yticks([])
                axis.set_frame_on(False)
                if number >= len(captions):
                    continue
                axis.imshow(images[number], cmap="gray", vmin=0, vmax=255)
                if row:
                    axis.set_xlabel(captions[number], fontsize=7, labelpad=2)
                if not column:
                    axis.set_ylabel(
                        labels[row], rotation=0, ha="right", va="center", fontsize=8
                    )
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def distribution(
    errors: dict[str, np.ndarray],
    path: pathlib.Path,
    *,
    dashed: tuple[str, ...] = (),
    unit: str = "mean squared error",
    title: str = "",
) -> None:
    """The share of images below each error, one line per entry.

    Args:
      errors: label -> errors [N], at least 0; those that are not finite count as above.
      path: the PNG to write.
      dashed: labels of what is only compared with.
      unit: of the errors.
      title: above everything.
    """
    plt = plots.pyplot()
    figure, axis = plt.subplots(figsize=(7.2, 4.4))
    for place, (label, error_N) in enumerate(errors.items()):
        style = {"linestyle": "--", "linewidth": 1} if label in dashed else {}
        share_N = 100 * np.arange(1, len(error_N) + 1) / len(error_N)
        low = np.sort(np.maximum(error_N, 1e-12))
        axis.step(
            low, share_N, where="post", color=f"C{place % 10}", label=label, **style
        )
    axis.set_xscale("log")
    axis.set_xlabel(unit)
    axis.set_ylabel("% of the images at or below")
    axis.set_ylim(0, 100)
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize=8)
    axis.set_title(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
