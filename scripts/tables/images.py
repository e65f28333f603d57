"""Tables and figures of single images: CIFAR-10, faces, inference. No flags here."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from veegan_jax.common import plots, plots_errors, records
from veegan_jax.experiments import images as image_experiment
from veegan_jax.experiments import inference
from veegan_jax.experiments import ivom as ivom_experiment
from veegan_jax.presets import images as image_presets

EMPTY = "(not measured yet)"
FOLDERS = ("cifar10", "faces", "infer_mnist")
_SHOWN = 16  # images of a figure
# Of the README's table; all are in results/README.md.
_IVOM = ("ivom", "ivom_5", "ivom_25", "ivom_from_r", "r", "random", "radius")
_INFERENCE = ("reconstruction", "agreement", "latent", "code_std", "code_energy")

Rows = dict[str, dict[str, Any]]  # label -> record


def folder_of(record: dict[str, Any]) -> str | None:
    """Where a record of single images is kept in results/; None: it is of others."""
    dataset = record["config"]["dataset"]
    if "code" in record:
        return f"infer_{dataset}"
    return dataset if dataset in image_presets.SHAPES else None


def add(run: pathlib.Path, record: dict[str, Any], results: pathlib.Path) -> None:
    """Copies a finished run's record, its IvOM if it was measured, and some images."""
    folder = results / folder_of(record) / record["options"]["preset"]
    method = record["config"]["method"]
    records.publish(folder / f"{method}.json", record)
    kept = {}
    with np.load(run / "samples.npz", allow_pickle=False) as data:
        kept["samples"] = data["image"][0, :_SHOWN]
        kept["real"] = data["real"][:_SHOWN]
    reconstructed = run / "reconstructions.npz"
    if reconstructed.exists():
        with np.load(reconstructed, allow_pickle=False) as data:
            kept["x"], kept["reconstructed"] = data["x"], data["reconstructed"][0]
    measured = run / "ivom" / "results.json"
    if measured.exists():
        ivom = json.loads(measured.read_text())
        if ivom["trained"] is not None:
            # Where it was trained, and how, is in the record beside it.
            ivom["trained"] = {n: ivom["trained"][n] for n in ("commit", "options")}
        records.publish(folder / f"{method}-ivom.json", ivom)
        with np.load(run / "ivom" / "nearest.npz", allow_pickle=False) as data:
            kept |= {n: data[n][:_SHOWN] for n in ("test", "nearest")}
            kept |= {n: data[n].astype(np.float32) for n in ("error", "pca")}
            kept["mean_image"] = data["mean_image"].astype(np.float32)
    np.savez_compressed(folder / f"{method}.npz", **kept)


def tables(
    results: pathlib.Path, labels: dict[str, str], repeat: Callable[[Rows], str]
) -> dict[str, str]:
    """Tables by name, "FOLDER-PRESET" and with "-details"; draws their figures.

    Args:
      results: the folder of the records.
      labels: method -> what the tables call it.
      repeat: makes the table of how to repeat records, by method.
    """
    found = {}
    for folder in FOLDERS:
        for preset in image_presets.PRESETS:
            name, path = f"{folder}-{preset}", results / folder / preset
            rows = {m: _read(path / f"{m}.json") for m in labels}
            rows = {m: record for m, record in rows.items() if record}
            if not rows:
                found[name] = found[f"{name}-details"] = EMPTY
                continue
            ivoms = {m: _read(path / f"{m}-ivom.json") for m in rows}
            ivoms = {m: record for m, record in ivoms.items() if record}
            labelled = {labels[m]: record for m, record in rows.items()}
            if folder.startswith("infer"):
                found[name] = inference.table(labelled, _INFERENCE)
                parts = [inference.table(labelled), repeat(rows)]
            else:
                measured = {labels[m]: record for m, record in ivoms.items()}
                found[name] = (
                    ivom_experiment.table(measured, _IVOM) if measured else EMPTY
                )
                parts = [image_experiment.table(labelled), repeat(rows)]
                if measured:
                    parts += [ivom_experiment.table(measured), _repeat_ivom(measured)]
            found[f"{name}-details"] = "\n\n".join(parts)
            _draw(results, name, path, {m: labels[m] for m in rows})
    return found


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _repeat_ivom(rows: Rows) -> str:
    lines = [
        [
            label,
            f"`{r['command']}`",
            r["commit"][:10],
            f"{r['options']['images']} x {r['options']['starts']}",
            f"{r['wall_seconds'] / 60:.1f}",
            r["device"],
        ]
        for label, r in rows.items()
    ]
    header = ["IvOM", "command", "commit", "images x starts", "minutes", "device"]
    return records.table(header, lines)


def _draw(
    results: pathlib.Path, name: str, path: pathlib.Path, labels: dict[str, str]
) -> None:
    """Samples; reconstructions; the same real images over each method's nearest."""
    (results / "figures").mkdir(parents=True, exist_ok=True)
    samples, reconstructed, nearest, errors, floors = {}, {}, {}, {}, {}
    for method, label in labels.items():
        with np.load(path / f"{method}.npz", allow_pickle=False) as data:
            samples |= {} if samples else {"real": data["real"]}
            samples[label] = data["samples"]
            if "reconstructed" in data:
                reconstructed |= {} if reconstructed else {"test x": data["x"]}
                reconstructed[f"G(R(x)), {label}"] = data["reconstructed"]
            if "nearest" in data:
                nearest |= {} if nearest else {"real": (data["test"], None)}
                error_N = data["error"][0]
                captions = [f"{e:.3f}" for e in error_N[: len(data["test"])]]
                nearest[label] = data["nearest"], captions
                errors[label] = error_N
                floors = {"PCA": data["pca"], "mean image": data["mean_image"]}
    figures = results / "figures"
    title = f"{name}: the first seed's first samples"
    plots.image_grid(samples, figures / f"{name}.png", title)
    if reconstructed:
        path = figures / f"{name}-reconstructions.png"
        title = f"{name}: the first test digits of each class, first seed"
        columns = len(reconstructed["test x"])
        plots.image_grid(reconstructed, path, title, columns=columns)
    if nearest:
        title = f"{name}: the first test images over the nearest that G can make"
        plots_errors.captioned(nearest, figures / f"{name}-nearest.png", title=title)
        plots_errors.distribution(
            errors | floors,
            figures / f"{name}-errors.png",
            dashed=tuple(floors),
            title=f"{name}: distance of the nearest generated image, first seed",
        )
