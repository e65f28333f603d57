"""The tables of the amplification experiment, made of its records.

Dimension key: S seeds, A shares, R repeats, E readings.
"""

from typing import Any

import numpy as np

from lgan_jax import evidence, statistics
from lgan_jax.amplification import ALL, BASIC, NONE, SHARES, TENTH
from veegan_jax.common import records

PUBLISHED = {ALL: 96.85, NONE: 94.0, "lgan": (94.3, 95.0, 92.6)}  # the text's table

Record = dict[str, Any]


def accuracies(record: Record, way: str, kind: str = BASIC) -> np.ndarray:
    """% right: the mean over the repeats, [S, A, E]; A is 1 without generation."""
    cells = record["cells"][kind][way]
    return np.mean([cell["accuracy"] for cell in cells], axis=2)


def gain(record: Record, way: str, share: int, kind: str = BASIC) -> str:
    """Accuracy, and its paired difference to no generation with a 95 % interval.

    Args:
      record: a run's.
      way: to generate.
      share: the place of the share in `SHARES`.
      kind: of classifier.
    """
    ours_S = accuracies(record, way, kind)[:, share, -1]
    none_S = accuracies(record, NONE, kind)[:, 0, -1]
    return f"{ours_S.mean():.2f} {interval(statistics.paired(ours_S, none_S))}"


def interval(found: statistics.Interval) -> str:
    """A difference and its interval; without the interval if there is none."""
    if np.isnan(found.low):
        return f"({found.mean:+.2f})"
    return f"({found.mean:+.2f}, {found.low:+.2f} to {found.high:+.2f})"


def error_cut(record: Record, way: str, share: int, kind: str = BASIC) -> str:
    """The error's fall relative to no generation in %, with its 95 % interval."""
    ours_S = 100 - accuracies(record, way, kind)[:, share, -1]
    none_S = 100 - accuracies(record, NONE, kind)[:, 0, -1]
    cut = statistics.paired(none_S, ours_S)
    low, mean, high = (100 * v / none_S.mean() for v in (cut.low, cut.mean, cut.high))
    return f"{mean:.1f}" if np.isnan(low) else f"{mean:.1f} ({low:.1f} to {high:.1f})"


def everything(record: Record) -> str:
    """All tables of one run, with a line over each."""
    parts = [f"{record['data']}; judged by {record['judged_by']}"]
    for kind in record["cells"]:
        parts += [f"The {kind} classifier:", table(record, kind)]
    if made := evidence_table(record):
        parts += ["What is generated:", made]
    if made := readings_table(record):
        parts += ["The same trainings read in other ways:", made]
    return "\n\n".join(parts)


def table(record: Record, kind: str = BASIC) -> str:
    """Every way at every share, over the published row.

    All data hold the images that judge where those are held-out ones, and say so.
    """
    held_out = record["options"].get("validate", False)
    judged = "held-out" if held_out else "test"
    shares = [f"{s:.0%} generated" for s in (0, *SHARES)]
    header = [f"{judged} accuracy (difference)", *shares, "best error cut, %"]
    compared = _compared(record) and kind == BASIC
    rows = []
    for way in (ALL, NONE):
        label = f"{record['known']:,} images, nothing else"
        if way == ALL:
            label = f"{ALL}, the judging ones too" if held_out else ALL
        found = f"{accuracies(record, way, kind)[:, 0, -1].mean():.2f}"
        if compared:
            found += f" (published {PUBLISHED[way]:g})"
        rows.append([label, found, *[""] * 4])
    for way in record["cells"][kind]:
        if way in (ALL, NONE):
            continue
        means = accuracies(record, way, kind)[:, :, -1].mean(axis=0)
        best = error_cut(record, way, int(means.argmax()), kind)
        cells = [gain(record, way, a, kind) for a in range(len(SHARES))]
        rows.append([f"**{way}**", "", *cells, best])
        if way == "lgan" and compared:
            theirs = [f"{x:g} ({x - PUBLISHED[NONE]:+g})" for x in PUBLISHED["lgan"]]
            cut = 100 * (max(PUBLISHED["lgan"]) - PUBLISHED[NONE])
            cut = f"{cut / (100 - PUBLISHED[NONE]):.0f}"
            rows.append(["L-GAN, published", "", *theirs, cut])
    return records.table(header, rows)


def _compared(record: Record) -> bool:
    """Whether the published figures are of the same data: of a tenth of MNIST."""
    config = record["config"]
    same = config["fraction"] == TENTH and config["dataset"] == "mnist"
    return same and not record["options"].get("validate", False)


def evidence_table(record: Record) -> str:
    """What the generated images are like, way by way; "" if it was not measured."""
    ways = {
        way: [cell["evidence"] for cell in cells]
        for way, cells in record["cells"][BASIC].items()
        if "evidence" in cells[0]
    }
    if not ways:
        return ""
    rows = []
    for way, found in ways.items():
        metrics = {n: [f[n] for f in found] for n in evidence.METRICS}
        spread = [np.std(v, ddof=1) if len(v) > 1 else None for v in metrics.values()]
        pairs = zip(metrics.values(), spread, strict=True)
        rows.append([way, *[records.cell(np.mean(v), s) for v, s in pairs]])
    made = records.table(["", *evidence.METRICS], rows)
    if used := record.get("effective_dimension"):
        size = record["config"]["latent_size"]
        made += f"\n\nEffective dimension of a class's encodings: {used:.1f} of {size}."
    return made


def readings_table(record: Record, way: str = "lgan") -> str:
    """What the published gain may rest on: the same training runs read in other ways.

    "" if the run did not generate in this way.
    """
    if way not in record["cells"][BASIC]:
        return ""
    ours_SAE, none_SE = accuracies(record, way), accuracies(record, NONE)[:, 0]
    readings = none_SE.shape[1]
    known = record["known"]
    every = known + record["classes"] * record["options"]["generated"]

    def after(steps_share: float) -> np.ndarray:
        """Without generation, [S], between readings: curves bend less over log steps"""
        place_E = np.log(np.arange(1, readings + 1))
        place = np.log(steps_share * readings)
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
    if readings * known >= every:  # it was read so early
        label = "equal epochs, of all images known and generated"
        rows.insert(2, row(label, [after(known / every)] * 3, last))
    lucky = ours_SAE[:, :, -1].max(axis=0) - none_SE[:, -1].mean()
    rows.append(["luckiest seed over the mean", *[f"({x:+.2f})" for x in lucky]])
    if _compared(record):
        theirs = [f"({x - PUBLISHED[NONE]:+g})" for x in PUBLISHED["lgan"]]
        rows.append(["published", *theirs])
    return records.table([way, *[f"{s:.0%} generated" for s in SHARES]], rows)


def ablation_table(rows: dict[str, Record], way: str) -> str:
    """Every variant's gain over no generation, and what it generates.

    Args:
      rows: variant -> record.
      way: what is taken apart.
    """
    header = ["", *[f"{s:.0%} generated" for s in SHARES], *evidence.METRICS]
    lines = []
    for name, record in rows.items():
        none_S = accuracies(record, NONE)[:, 0, -1]
        found_SA = accuracies(record, way)[:, :, -1]
        gains = [statistics.paired(found_SA[:, a], none_S) for a in range(len(SHARES))]
        metrics = [cell["evidence"] for cell in record["cells"][BASIC][way]]
        means = (np.mean([f[n] for f in metrics]) for n in evidence.METRICS)
        changed = " ".join(f"--{k}={v}" for k, v in record["changes"].items())
        label = f"{name} (`{changed}`)" if changed else name
        lines.append([label, *map(interval, gains), *map(records.cell, means)])
    return records.table(header, lines)


def fractions_table(found: dict[float, Record]) -> str:
    """The accuracy over the fraction known: every way at its best share.

    Args:
      found: fraction -> record; the rows are the ways that most of them have.
    """
    header = ["", *[f"{r['known']:,} images" for r in found.values()]]
    rows = [
        [way, *[f"{accuracies(r, way)[:, 0, -1].mean():.2f}" for r in found.values()]]
        for way in (ALL, NONE)
    ]
    ways = dict.fromkeys(w for r in found.values() for w in r["cells"][BASIC])
    for way in ways:
        having = [r for r in found.values() if way in r["cells"][BASIC]]
        if way in (ALL, NONE) or len(having) < min(3, len(found)):
            continue
        cells = []
        for record in found.values():
            cells.append("")
            if way in record["cells"][BASIC]:
                best = accuracies(record, way)[:, :, -1].mean(axis=0).argmax()
                cells[-1] = gain(record, way, int(best))
        rows.append([f"**{way}**", *cells])
    return records.table(header, rows)
