"""The tables of the amplification experiment, made of its records.

Dimension key: S seeds, A shares, R repeats, E evaluation points.
"""

from typing import Any

import numpy as np

from lgan_jax import sample_quality, statistics
from lgan_jax.options import ALL, BASIC, NONE, SHARES
from veegan_jax.common import records

# The blog post's table, of a tenth of MNIST.
PUBLISHED = {ALL: 96.85, NONE: 94.0, "lgan": (94.3, 95.0, 92.6)}
PUBLISHED_FRACTION = 0.1

Record = dict[str, Any]


def accuracies(record: Record, generator: str, kind: str = BASIC) -> np.ndarray:
    """Return the % right, averaged over repeats, [S, A, E]; A is 1 for ALL and NONE."""
    cells = record["cells"][kind][generator]
    return np.mean([cell["accuracy"] for cell in cells], axis=2)


def gain(record: Record, generator: str, share: int, kind: str = BASIC) -> str:
    """Show an accuracy, and its paired difference to no generation with an interval.

    Args:
      record: a run's.
      generator: its name.
      share: the place of the share in `SHARES`.
      kind: of classifier.
    """
    ours_S = accuracies(record, generator, kind)[:, share, -1]
    none_S = accuracies(record, NONE, kind)[:, 0, -1]
    return f"{ours_S.mean():.2f} {interval(statistics.paired(ours_S, none_S))}"


def interval(found: statistics.Interval) -> str:
    """Show a difference and its interval, if there is one."""
    if np.isnan(found.low):
        return f"({found.mean:+.2f})"
    return f"({found.mean:+.2f}, {found.low:+.2f} to {found.high:+.2f})"


def error_cut(record: Record, generator: str, share: int, kind: str = BASIC) -> str:
    """Show the error's fall relative to no generation in %, with a 95 % interval.

    It is "" if nothing is wrong without generation.
    """
    ours_S = 100 - accuracies(record, generator, kind)[:, share, -1]
    none_S = 100 - accuracies(record, NONE, kind)[:, 0, -1]
    if not none_S.any():  # there is no error to cut
        return ""
    cut = statistics.paired(none_S, ours_S)
    low, mean, high = (100 * v / none_S.mean() for v in (cut.low, cut.mean, cut.high))
    return f"{mean:.1f}" if np.isnan(low) else f"{mean:.1f} ({low:.1f} to {high:.1f})"


def everything(record: Record) -> str:
    """Make all tables of one run, each under a line that names it."""
    parts = [f"{record['data']}; judged by {record['judged_by']}"]
    for kind in record["cells"]:
        parts += [f"The {kind} classifier:", table(record, kind)]
    if made := sample_quality_table(record):
        parts += ["Sample quality:", made]
    if made := eval_points_table(record):
        parts += ["The same training runs, compared at other points:", made]
    return "\n\n".join(parts)


def table(record: Record, kind: str = BASIC) -> str:
    """Make the table of every generator at every share, with the published row.

    Where held-out images judge, ALL holds them too, and its label says so.
    """
    held_out = record["options"].get("validate", False)
    judged = "held-out" if held_out else "test"
    shares = [f"{s:.0%} generated" for s in (0, *SHARES)]
    header = [f"{judged} accuracy (difference)", *shares, "best error cut, %"]
    compared = _compared(record) and kind == BASIC
    rows = []
    for generator in (ALL, NONE):
        label = f"{record['known']:,} images, nothing else"
        if generator == ALL:
            label = f"{ALL}, the judging ones too" if held_out else ALL
        found = f"{accuracies(record, generator, kind)[:, 0, -1].mean():.2f}"
        if compared:
            found += f" (published {PUBLISHED[generator]:g})"
        rows.append([label, found, *[""] * 4])
    for generator in record["cells"][kind]:
        if generator in (ALL, NONE):
            continue
        means = accuracies(record, generator, kind)[:, :, -1].mean(axis=0)
        best = error_cut(record, generator, int(means.argmax()), kind)
        cells = [gain(record, generator, a, kind) for a in range(len(SHARES))]
        rows.append([f"**{generator}**", "", *cells, best])
        if generator == "lgan" and compared:
            theirs = [f"{x:g} ({x - PUBLISHED[NONE]:+g})" for x in PUBLISHED["lgan"]]
            cut = 100 * (max(PUBLISHED["lgan"]) - PUBLISHED[NONE])
            cut = f"{cut / (100 - PUBLISHED[NONE]):.0f}"
            rows.append(["L-GAN, published", "", *theirs, cut])
    return records.table(header, rows)


def _compared(record: Record) -> bool:
    """Whether the published accuracies are of the same data: a tenth of MNIST."""
    config = record["config"]
    same = config["fraction"] == PUBLISHED_FRACTION and config["dataset"] == "mnist"
    return same and not record["options"].get("validate", False)


def sample_quality_table(record: Record) -> str:
    """Make the table of sample quality; "" if it was not measured."""
    rows = []
    for generator, cells in record["cells"][BASIC].items():
        if "sample_quality" not in cells[0]:
            continue
        found = [cell["sample_quality"] for cell in cells]
        rows.append([generator, *_quality_cells(found)])
    if not rows:
        return ""
    made = records.table(["", *sample_quality.METRICS], rows)
    if used := record.get("effective_dimension"):
        size = record["config"]["latent_size"]
        made += f"\n\nEffective dimension of a class's encodings: {used:.1f} of {size}."
    return made


def _quality_cells(found: list[dict[str, Any]], spread: bool = True) -> list[str]:
    """Show the mean over seeds of each metric of sample quality, and its spread."""
    cells = []
    for name in sample_quality.METRICS:
        mean, std = records.mean_and_std(np.array([f[name] for f in found], float))
        cells.append(records.cell(mean, std if spread else None))
    return cells


def eval_points_table(record: Record, generator: str = "lgan") -> str:
    """Compare the same training runs at other points: what may explain a gain?

    Returns:
      The table; "" if the run does not have the generator.
    """
    if generator not in record["cells"][BASIC]:
        return ""
    ours_SAE, none_SE = accuracies(record, generator), accuracies(record, NONE)[:, 0]
    eval_points = none_SE.shape[1]
    known = record["known"]
    every = known + record["classes"] * record["options"]["generated"]

    def after(steps_share: float) -> np.ndarray:
        """Interpolate the accuracy without generation over log steps, [S]."""
        place_E = np.log(np.arange(1, eval_points + 1))
        place = np.log(steps_share * eval_points)
        return np.array([np.interp(place, place_E, none_E) for none_E in none_SE])

    def row(label: str, theirs_AS: list, ours_AS: list) -> list[str]:
        pairs = zip(ours_AS, theirs_AS, strict=True)
        return [label, *[interval(statistics.paired(*pair)) for pair in pairs]]

    last = [ours_SAE[:, a, -1] for a in range(len(SHARES))]
    rows = [
        row("equal steps", [none_SE[:, -1]] * 3, last),
        row(
            "equal epochs, of what a batch is drawn from in proportion",
            [after(1 - share) for share in SHARES],
            last,
        ),
        row(
            "best step by the test set, for both",
            [none_SE.max(axis=1)] * 3,
            [ours_SAE[:, a].max(axis=1) for a in range(len(SHARES))],
        ),
    ]
    if eval_points * known >= every:  # else it is before the first point
        label = "equal epochs, of all images known and generated"
        rows.insert(2, row(label, [after(known / every)] * 3, last))
    lucky = ours_SAE[:, :, -1].max(axis=0) - none_SE[:, -1].mean()
    rows.append(["luckiest seed over the mean", *[f"({x:+.2f})" for x in lucky]])
    if _compared(record):
        theirs = [f"({x - PUBLISHED[NONE]:+g})" for x in PUBLISHED["lgan"]]
        rows.append(["published", *theirs])
    return records.table([generator, *[f"{s:.0%} generated" for s in SHARES]], rows)


def ablation_table(rows: dict[str, Record], generator: str) -> str:
    """Make the table of every variant's gain over no generation and sample quality.

    Args:
      rows: variant -> record.
      generator: the one that is taken apart.
    """
    header = ["", *[f"{s:.0%} generated" for s in SHARES], *sample_quality.METRICS]
    lines = []
    for name, record in rows.items():
        none_S = accuracies(record, NONE)[:, 0, -1]
        found_SA = accuracies(record, generator)[:, :, -1]
        gains = [statistics.paired(found_SA[:, a], none_S) for a in range(len(SHARES))]
        metrics = [cell["sample_quality"] for cell in record["cells"][BASIC][generator]]
        changed = " ".join(f"--{k}={v}" for k, v in record["changes"].items())
        label = f"{name} (`{changed}`)" if changed else name
        cells = _quality_cells(metrics, spread=False)
        lines.append([label, *map(interval, gains), *cells])
    return records.table(header, lines)


def fractions_table(found: dict[float, Record]) -> str:
    """Make the table of accuracy over the fraction known, each at its best share.

    Args:
      found: fraction -> record. The rows are the generators that most of them have.
    """
    header = ["", *[f"{r['known']:,} images" for r in found.values()]]
    rows = []
    for name in (ALL, NONE):
        means = (accuracies(r, name)[:, 0, -1].mean() for r in found.values())
        rows.append([name, *[f"{mean:.2f}" for mean in means]])
    names = dict.fromkeys(name for r in found.values() for name in r["cells"][BASIC])
    for generator in names:
        having = [r for r in found.values() if generator in r["cells"][BASIC]]
        if generator in (ALL, NONE) or len(having) < min(3, len(found)):
            continue
        cells = []
        for record in found.values():
            cells.append("")
            if generator in record["cells"][BASIC]:
                best = accuracies(record, generator)[:, :, -1].mean(axis=0).argmax()
                cells[-1] = gain(record, generator, int(best))
        rows.append([f"**{generator}**", *cells])
    return records.table(header, rows)
