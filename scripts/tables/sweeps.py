"""Sweeps of the weights of reconstruction: of z, or of x? No flags here."""

import pathlib
from typing import Any

from tables import checks, common, mixtures, seeds

from veegan_jax.common import records
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.presets import mixtures as mixture_presets

FOLDER = "sweeps"
_SHOWN = ("modes", "filled_modes", "mode_tv", "sliced_wasserstein")


def form() -> dict[str, Any]:
    """Return the form of a record of sweep.py; see `checks`."""
    metrics = {f"{name}?": checks.METRIC for name in mixture_metrics.METRICS}
    return {
        **common.REPEAT,
        "config": {
            "method": common.METHOD,
            "dataset": checks.one_of(mixture_presets.DATASETS),
            "steps": checks.COUNT,
        },
        "options": {"first_seed": checks.COUNT, "seeds": checks.COUNT},
        "variants": [
            {
                "values": {"*": checks.NUMBER},
                "per_seed": seeds.PER_SEED,
                "mean": metrics,
                "std": metrics,
            }
        ],
        "oracle": metrics,
    }


def collect(run: pathlib.Path, results: pathlib.Path) -> common.Copy:
    """Read the record of a sweep.

    Raises:
      InputError: naming the file and the field that cannot be used.
    """
    source = run / "results.json"
    record = checks.read(source, form())
    fields = "-".join(record["variants"][0]["values"])
    # Not "-from-": sweeps with other seeds are not joined to one row.
    first, method = record["options"]["first_seed"], record["config"]["method"]
    name = f"{method}-{fields}-seed-{first}"
    folder = results / FOLDER / record["config"]["dataset"]
    return common.Copy(source, folder / f"{name}.json", record)


def table(results: pathlib.Path) -> str:
    """Make the table of every data set: the variants that were tried, then the chosen.

    The chosen one is judged by seeds from 0, the others by later seeds.

    Args:
      results: the folder of the records.
    """
    parts = []
    for dataset, title in mixtures.TITLES.items():
        paths = sorted((results / FOLDER / dataset).glob("*.json"))
        found = [checks.read(path, form()) for path in paths]
        if not found:
            continue
        order = list(common.LABELS)
        found.sort(key=lambda r: (order.index(r["config"]["method"]), _tried(r)))
        parts += [f"### {title}", _of_one(dataset, found)]
    return "\n\n".join(parts) or common.EMPTY


def _tried(record: dict[str, Any]) -> int:
    return -record["options"]["first_seed"]


def _of_one(dataset: str, found: list[dict[str, Any]]) -> str:
    quality = "calibrated" if "calibrated" in found[0]["oracle"] else "high_quality"
    shown = [n for n in (quality, *_SHOWN) if n in found[0]["oracle"]]
    if quality == "calibrated":
        shown[shown.index("modes")] = "calibrated_modes"
    oracle = [records.cell(found[0]["oracle"].get(n)) for n in shown]
    rows = [["true samples", "", "", *oracle]]
    for record in found:
        first = record["options"]["first_seed"]
        label = common.LABELS[record["config"]["method"]]
        label = label if first else f"**{label}**"
        for variant in record["variants"]:
            values = ", ".join(f"{v:g}" for v in variant["values"].values())
            count = f"{len(variant['per_seed'])} from {first}"
            mean, std = variant["mean"], variant["std"]
            cells = [records.cell(mean.get(n), std.get(n)) for n in shown]
            rows.append([label, values, count, *cells])
    header = ["", "weight", "seeds", *(n.replace("_", " ") for n in shown)]
    return records.table(header, rows)


def repeat(results: pathlib.Path) -> str:
    """List the commands of all sweeps."""
    paths = sorted((results / FOLDER).glob("*/*.json"))
    found = [checks.read(path, form()) for path in paths]
    lines = [
        [f"`{r['command']}`", r["commit"][:10], common.minutes(r), r["device"]]
        for r in found
    ]
    header = ["command", "commit", "minutes", "device"]
    return records.table(header, lines) if lines else common.EMPTY
