"""The figure of inference: codes against the prior.

Dimension key: N codes, Z latent.
"""

import pathlib

import numpy as np
from scipy import special

from veegan_jax.common import figures


@figures.own_style()
def draw_codes(
    rows: dict[str, dict[str, np.ndarray]], title: str, path: pathlib.Path
) -> None:
    """Draw quantiles of codes over those of N(0, 1), a line for each dimension.

    A dimension that is N(0, 1) lies on the dashed line; its offset is the height in
    the middle, its scale the slope, its shape the bend.

    Args:
      rows: name of the row -> label of the panel -> codes [N, Z].
      title: of the figure.
      path: a PNG file.
    """
    columns = len(next(iter(rows.values())))
    figure = figures.new_figure(figsize=(2.5 * columns + 0.5, 2.5 * len(rows) + 0.5))
    axes = figure.subplots(len(rows), columns, squeeze=False, sharex=True, sharey=True)
    share = np.linspace(0.001, 0.999, 400)
    normal = special.ndtri(share)
    for line, (name, panels) in zip(axes, rows.items(), strict=True):
        for axis, (label, z_NZ) in zip(line, panels.items(), strict=True):
            quantiles = np.quantile(z_NZ, share, axis=0)
            axis.plot(normal, quantiles, linewidth=0.6, alpha=0.6)
            axis.plot(normal[[0, -1]], normal[[0, -1]], "k--", linewidth=1)
            std = z_NZ.std(axis=0).mean()
            shown = figures.as_text(f"{name}, {label}, std {std:.2f}")
            axis.set_title(shown, fontsize=8)
            axis.grid(alpha=0.3)
        line[0].set_ylabel("quantile of the code", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("quantile of N(0, 1)", fontsize=8)
    figure.suptitle(figures.as_text(title), fontsize=9)
    figure.tight_layout()
    figures.save(figure, path, dpi=110)
