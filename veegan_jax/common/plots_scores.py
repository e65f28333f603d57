"""A figure of scores: a line for each method, a panel for each benchmark.

Dimension key: S seeds.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from veegan_jax.common import figures
from veegan_jax.common.plots import set_margins


@figures.own_style()
def ranking(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    names: Sequence[str],
    path: pathlib.Path,
    *,
    best: Mapping[str, float],
    title: str,
) -> None:
    """Draw every seed's score as a dot and the mean as a bar; the first name on top.

    Args:
      panels: benchmark -> method -> scores [S], in %.
      names: of the methods, from the top.
      path: the PNG to write.
      best: benchmark -> what perfect samples score; a dashed line.
      title: above everything.
    """
    height = 0.22 * len(names) + 1.2
    figure = figures.new_figure(figsize=(2.1 * len(panels) + 1.7, height))
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (panel, methods) in zip(axes, panels.items(), strict=True):
        for place, name in enumerate(names):
            score_S = methods.get(name)
            if score_S is None:
                continue
            colour = "C1" if name.startswith("VEEGAN") else "C0"
            axis.barh(place, np.mean(score_S), color=colour, alpha=0.45)
            dots = [place] * len(score_S)
            axis.plot(score_S, dots, ".", color="black", markersize=3.5, alpha=0.6)
        axis.axvline(best[panel], color="black", linestyle="--", linewidth=1)
        axis.set_xlim(0, 104)
        axis.set_title(figures.as_text(panel), fontsize=9)
        axis.grid(axis="x", alpha=0.3)
        axis.tick_params(labelsize=8)
    axes[0].set_yticks(range(len(names)), [figures.as_text(n) for n in names])
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel("% of the modes", fontsize=9)
    figure.suptitle(figures.as_text(title), fontsize=10)
    set_margins(figure, left=1.5, right=0.2, bottom=0.55, top=0.65, gap=(0.2, 0))
    figures.save(figure, path, dpi=110)
