"""The table of IvOM: baselines and ours."""

from collections.abc import Sequence
from typing import Any

from veegan_jax.common import records

# The meaning of each metric, in the order the tables print them.
METRICS = {
    "ivom": "the lowest error over the starts, mean over images",
    "ivom_5": "the same after 5 iterations",
    "ivom_25": "the same after 25 iterations",
    "ivom_from_r": "from the one start R(x)",
    "r": "the error of G(R(x)), without optimization",
    "random": "the best of as many random z as there are starts, not optimized",
    "converged": "% of the images whose best start stopped by itself, since a step "
    "lowers the error by at most a millionth; see `ivom.ivom` for how near that is",
    "recall": "% of the images that G comes nearer to than the nearest training image "
    "is, at a z within the ball that holds 99.9 % of the prior's draws",
    "recall_any_z": "the same at any z",
    "latent_rms": "root mean square of the coordinates of the z found; the prior has 1",
}


UNDEFINED = {"ivom": "empty where G(z) is not finite for all starts of an image"}


def table(
    runs: dict[str, dict[str, Any]], names: Sequence[str] = tuple(METRICS)
) -> str:
    """Results as Markdown: the baselines, then ours.

    Args:
      runs: label of the row -> record.
      names: which of `METRICS`.
    """
    first = next(iter(runs.values()))
    names = [n for n in names if any(n in r["mean"] for r in runs.values())]
    header = ["", "latent size", *[n.replace("_", " ") for n in names]]
    blank = [""] * (len(names) - 1)
    size = str(first["ivom_of"]["latent_size"])
    rows = [["mean image", "", records.cell(first["baselines"]["mean_image"]), *blank]]
    for run in runs.values():  # older records do not have it
        if error := run["baselines"].get("nearest_training"):
            rows.append(["nearest training image", "", records.cell(error), *blank])
            break
    for run in {r["ivom_of"]["latent_size"]: r for r in runs.values()}.values():
        size = str(run["ivom_of"]["latent_size"])
        rows.append(["PCA", size, records.cell(run["baselines"]["pca"]), *blank])
    for label, run in runs.items():
        cells = [records.cell(run["mean"].get(n), run["std"].get(n)) for n in names]
        size = str(run["ivom_of"]["latent_size"])
        rows.append([f"**{label}**", size, *cells])
    why = records.why_empty([run["mean"] for run in runs.values()], UNDEFINED)
    return records.table(header, rows) + why
