"""Builds the README's tables and figures from the records in results/.

    python scripts/make_tables.py
    python scripts/make_tables.py --add=runs/quick/ring-gan --add=runs/quick/ring-ali
    python scripts/make_tables.py --add_ablations=runs/ablation/quick/ring
    python scripts/make_tables.py --add=runs/lgan/mnist/0.1
    python scripts/make_tables.py --add_lgan_ablation=runs/lgan/ablation/mnist/lgan

The first rewrites what stands between the markers `<!-- table: NAME -->` and
`<!-- end -->` in README.md and results/README.md, and draws results/figures/. --add
first copies finished runs (results.json and some of the first seed's samples) to
results/table1/PRESET/DATASET-METHOD, results/stacked_mnist/PRESET/METHOD,
results/cifar10/PRESET/METHOD (with its IvOM, if it was measured) and so on, or
results/lgan; --add_ablations those of ablate.py to results/ablation/PRESET-DATASET.
Nothing is computed here: a cell without a record stays empty. Seconds on one CPU core.
"""

import json
import pathlib
import re

import jax
import numpy as np
from absl import flags
from tables import images as image_tables
from tables import lgan as lgan_tables
from tables import speed as speed_tables

from veegan_jax.common import errors, plots, records
from veegan_jax.data import mixtures
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.metrics import published
from veegan_jax.presets import mixtures as mixture_presets
from veegan_jax.presets import stacked_mnist as stacked_mnist_presets
from veegan_jax.runtime import program

# Lists with commas would forget all but the last of a flag given twice.
ADD = flags.DEFINE_multi_string(
    "add", [], "work directory of a finished run to copy first; may be repeated"
)
ADD_ABLATIONS = flags.DEFINE_multi_string(
    "add_ablations", [], "folders of ablate.py's finished runs to copy first"
)
ADD_LGAN_ABLATION = flags.DEFINE_multi_string(
    "add_lgan_ablation", [], "folders of lgan_ablate.py's finished runs to copy first"
)
ROOT = flags.DEFINE_string(
    "root", str(pathlib.Path(__file__).parents[1]), "the checkout to work on"
)

LABELS = {
    "gan": "GAN",
    "pacgan": "PacGAN",
    "ali": "ALI",
    "unrolled": "Unrolled GAN",
    "veegan": "VEEGAN",
    "veegan_adversarial": "VEEGAN, adversarial R",
    "veegan_mean": "VEEGAN, mean reconstruction",
    "veegan_plus": "VEEGAN+",
}
EMPTY = "(not measured yet)"
TITLES = {"ring": "ring (8)", "grid": "grid (25)", "high_dim": "1200-D (10)"}

Runs = dict[str, dict[str, dict[str, dict]]]  # preset -> dataset -> method -> record


def add(run: pathlib.Path, results: pathlib.Path) -> None:
    """Copies a finished run's record and some of its first seed's samples."""
    path = run / "results.json"
    if not path.exists():
        raise errors.InputError(
            f"--add={run}: no results.json there; is the run finished?"
        )
    record = json.loads(path.read_text())
    if "cells" in record:
        lgan_tables.add(run, results)
        return
    if image_tables.folder_of(record):
        image_tables.add(run, record, results)
        return
    config = record["config"]
    stack = config["dataset"] in stacked_mnist_experiment.DIGITS
    folder = results / (config["dataset"] if stack else "table1")
    folder /= record["options"]["preset"]
    folder.mkdir(parents=True, exist_ok=True)
    name = config["method"] if stack else f"{config['dataset']}-{config['method']}"
    target = folder / name
    records.publish(target.with_suffix(".json"), record)
    with np.load(run / "samples.npz", allow_pickle=False) as data:
        if stack:
            kept = {"image": data["image"][0, :32]}
            np.savez_compressed(folder / "real.npz", image=data["real"])
        else:
            kept = {"plane": data["plane"][0].astype(np.float16)}
    np.savez_compressed(target.with_suffix(".npz"), **kept)


def add_ablations(folder: pathlib.Path, results: pathlib.Path) -> None:
    """Copies the records of one dataset's ablations."""
    paths = sorted(folder.glob("*/ablation.json"))
    if not paths:
        raise errors.InputError(f"--add_ablations={folder}: no */ablation.json there")
    for path in paths:
        record = json.loads(path.read_text())
        name = f"{record['options']['preset']}-{record['config']['dataset']}"
        target = results / "ablation" / name / f"{path.parent.name}.json"
        records.publish(target, record)


def ablations(results: pathlib.Path) -> str:
    """What VEEGAN+ loses with each of its ingredients, dataset by dataset."""
    parts = []
    folders = (results / "ablation").glob("*")
    titles = TITLES | {"stacked_mnist": "Stacked MNIST"}
    for folder in sorted(
        folders, key=lambda f: list(titles).index(f.name.split("-")[1])
    ):
        found = [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))]
        whole = [r for r in found if not r["changes"]]
        rest = sorted((r for r in found if r["changes"]), key=_quality)
        rows = {_without(r): r | {"published": None} for r in [*whole, *rest]}
        preset, dataset = folder.name.split("-")
        first = found[0]
        seeds = f"{len(first['per_seed'])} seeds from {first['options']['first_seed']}"
        parts.append(
            f"### {titles[dataset]}, {preset}: {seeds}, `{first['command']}`\n\n"
            + (
                stacked_mnist_experiment.table(rows)
                if dataset in stacked_mnist_experiment.DIGITS
                else mixture_experiment.table(rows)
            )
        )
    return "\n\n".join(parts) or EMPTY


def _quality(record: dict) -> float:
    """By the measure that true samples pass."""
    mean = record["mean"]
    if "kl_uniform" in mean:
        return -mean["kl_uniform"]
    return mean.get("calibrated", mean["high_quality"])


def _without(record: dict) -> str:
    if not record["changes"]:
        return "everything"
    changes = record["changes"].items()
    # A list of layers is written as its flag is.
    flags_ = " ".join(
        f"--{k}={','.join(map(str, v)) if isinstance(v, list) else v}"
        for k, v in changes
    )
    return f"without {record['without']} (`{flags_}`)"


def read(results: pathlib.Path) -> Runs:
    """All records of results/table1."""
    runs: Runs = {}
    for preset in mixture_presets.PRESETS:
        for dataset in mixture_presets.DATASETS:
            for method in LABELS:
                path = results / "table1" / preset / f"{dataset}-{method}.json"
                if path.exists():
                    rows = runs.setdefault(preset, {}).setdefault(dataset, {})
                    rows[method] = json.loads(path.read_text())
    return runs


def read_stacked(results: pathlib.Path) -> Runs:
    """All records of results/stacked_*: dataset -> preset -> method -> record."""
    runs: Runs = {}
    for dataset in stacked_mnist_experiment.DIGITS:
        for preset in stacked_mnist_presets.PRESETS:
            for method in LABELS:
                path = results / dataset / preset / f"{method}.json"
                if path.exists():
                    rows = runs.setdefault(dataset, {}).setdefault(preset, {})
                    rows[method] = json.loads(path.read_text())
    return runs


def stacked_tables(runs: Runs, results: pathlib.Path) -> dict[str, str]:
    """Tables by name, "DATASET-PRESET" and with "-details", and their figures."""
    tables = {}
    for dataset in stacked_mnist_experiment.DIGITS:
        for preset in stacked_mnist_presets.PRESETS:
            name = f"{dataset}-{preset}"
            rows = runs.get(dataset, {}).get(preset)
            if not rows:
                tables[name] = tables[f"{name}-details"] = EMPTY
                continue
            tables[name] = stacked_mnist_experiment.table(
                {LABELS[m]: r for m, r in rows.items()}
            )
            tables[f"{name}-details"] = repeat(rows)
            panels = {}
            for file, label in {"real": "real", **{m: LABELS[m] for m in rows}}.items():
                path = results / dataset / preset / f"{file}.npz"
                with np.load(path, allow_pickle=False) as data:
                    panels[label] = data["image"]
            path = results / "figures" / f"{name}.png"
            title = f"{dataset}, preset {preset}: the first seed's first samples"
            plots.image_grid(panels, path, title)
    return tables


def summary(runs: dict[str, dict[str, dict]]) -> str:
    """One preset: modes / % high quality of each method, over the published ones."""
    header = ["modes / % high quality", *TITLES.values(), "1200-D, calibrated"]
    oracle = [_cell(next(iter(runs[d].values()))["oracle"], {}) for d in runs]
    oracle = dict(zip(runs, oracle, strict=True))
    rows = [["oracle", *[oracle.get(d, "") for d in TITLES]]]
    high = runs.get("high_dim", {})
    floor = next(iter(high.values()))["oracle"] if high else None
    rows[0].append(_calibrated(floor, {}) if floor else "")
    compared = set()  # a family's published row stands once, below its first
    for method, label in LABELS.items():
        if not any(method in runs[d] for d in runs):
            continue
        ours = [runs.get(d, {}).get(method) for d in TITLES]
        cells = [_cell(r["mean"], r["std"]) if r else "" for r in ours]
        last = ours[-1]
        cells.append(_calibrated(last["mean"], last["std"]) if last else "")
        rows.append([f"**{label}**", *cells])
        family = method.split("_")[0]
        theirs = [published.MIXTURES[d].get(family) for d in TITLES]
        if any(theirs) and family not in compared:
            compared.add(family)
            cells = [f"{t[0]:g} / {t[1]:g}" if t else "" for t in theirs]
            rows.append([f"{LABELS[family]}, published", *cells, ""])
    return records.table(header, rows)


def _cell(mean: dict, std: dict, names: tuple = ("modes", "high_quality")) -> str:
    digits = (1, 1)
    return " / ".join(
        f"{mean[n]:.{d}f}" + (f" ± {std[n]:.{d}f}" if std.get(n) is not None else "")
        for n, d in zip(names, digits, strict=True)
    )


def _calibrated(mean: dict, std: dict) -> str:
    return _cell(mean, std, ("calibrated_modes", "calibrated"))


def details(runs: dict[str, dict[str, dict]]) -> str:
    """One preset in full: every figure, mixture by mixture, and how to repeat it."""
    parts = []
    for dataset, rows in runs.items():
        labelled = {LABELS[m]: r for m, r in rows.items()}
        parts.append(f"### {TITLES[dataset]}\n\n{mixture_experiment.table(labelled)}")
        parts.append(repeat(rows))
    return "\n\n".join(parts)


def repeat(rows: dict[str, dict]) -> str:
    """How to repeat each record, and what it took."""
    lines = [
        [
            LABELS[m],
            f"`{r['command']}`",
            r["commit"][:10],
            f"{len(r['per_seed'])} from {r['options']['first_seed']}",
            f"{r['config']['steps']}",
            f"{r['wall_seconds'] / 60:.1f}",
            r["device"],
        ]
        for m, r in rows.items()
    ]
    header = ["", "command", "commit", "seeds", "steps", "minutes", "device"]
    return records.table(header, lines)


def draw(runs: Runs, results: pathlib.Path) -> None:
    """Side-by-side figures: each method's first seed over the truth, and density."""
    (results / "figures").mkdir(parents=True, exist_ok=True)
    for preset, datasets in runs.items():
        for dataset, rows in datasets.items():
            truth = mixtures.sample(mixtures.get(dataset), jax.random.key(0), 2500)
            truth = mixture_experiment.project(np.asarray(truth), dataset)
            panels = {"true": truth}
            for method in rows:
                path = results / "table1" / preset / f"{dataset}-{method}.npz"
                with np.load(path, allow_pickle=False) as data:
                    panels[LABELS[method]] = data["plane"].astype(np.float32)
            plots.samples_and_density(
                panels,
                truth,
                results / "figures" / f"{preset}-{dataset}.png",
                axes=mixture_experiment.AXES.get(dataset, ("x1", "x2")),
                title=f"{TITLES[dataset]}, preset {preset}: first seed's samples",
            )


def fill(path: pathlib.Path, tables: dict[str, str]) -> None:
    """Replaces what stands between a file's table markers.

    Raises:
      InputError: for a marker whose name is not a table.
    """

    def replace(match: re.Match) -> str:
        name = match[1]
        if name not in tables:
            raise errors.InputError(f"{path}: unknown table {name!r}")
        return f"<!-- table: {name} -->\n{tables[name]}\n<!-- end -->"

    pattern = r"<!-- table: (\S+) -->\n.*?<!-- end -->"
    path.write_text(re.sub(pattern, replace, path.read_text(), flags=re.DOTALL))


def main() -> None:
    root = pathlib.Path(ROOT.value)
    for run in ADD.value:
        add(pathlib.Path(run), root / "results")
    for folder in ADD_ABLATIONS.value:
        add_ablations(pathlib.Path(folder), root / "results")
    for folder in ADD_LGAN_ABLATION.value:
        lgan_tables.add_ablation(pathlib.Path(folder), root / "results")
    runs = read(root / "results")
    tables = lgan_tables.tables(root / "results")
    for preset in mixture_presets.PRESETS:
        present = runs.get(preset)
        tables[preset] = summary(present) if present else EMPTY
        tables[f"{preset}-details"] = details(present) if present else EMPTY
    tables |= speed_tables.tables(root / "results", LABELS)
    tables["ablation"] = ablations(root / "results")
    draw(runs, root / "results")
    tables |= stacked_tables(read_stacked(root / "results"), root / "results")
    tables |= image_tables.tables(root / "results", LABELS, repeat)
    fill(root / "README.md", tables)
    fill(root / "results" / "README.md", tables)


if __name__ == "__main__":
    program.run(main)
