"""Tables and figures of single images: CIFAR-10, faces, inference. No flags here."""

import pathlib
from typing import Any

import numpy as np
from tables import common

from veegan_jax.common import files, plots, plots_errors, records
from veegan_jax.experiments import images as image_experiment
from veegan_jax.experiments import inference, ivom_table
from veegan_jax.presets import images as image_presets

FOLDERS = ("cifar10", "faces", "inference_mnist")
_SHOWN = 16  # images of a figure
# The columns of the first table of a page; the "-details" have all.
_IVOM = ("ivom", "ivom_5", "ivom_25", "ivom_from_r", "r", "random", "latent_rms")
_INFERENCE = ("reconstruction", "agreement", "latent", "code_std", "code_energy")


def folder_of(record: dict[str, Any]) -> str | None:
    """Name the folder in results/ of a run on single images; None: it is another."""
    dataset = record["config"]["dataset"]
    if "code" in record:
        return f"inference_{dataset}"
    return dataset if dataset in image_presets.SHAPES else None


def add(run: pathlib.Path, record: dict[str, Any], results: pathlib.Path) -> None:
    """Copy a finished run's record, its IvOM if it was measured, and some images."""
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
        ivom = records.read(measured, "command", "ivom_of")
        if ivom["trained"] is not None:
            # Where it was trained, and how, is in the record beside it.
            ivom["trained"] = {n: ivom["trained"][n] for n in ("commit", "options")}
        records.publish(folder / f"{method}-ivom.json", ivom)
        with np.load(run / "ivom" / "nearest.npz", allow_pickle=False) as data:
            kept |= {n: data[n][:_SHOWN] for n in ("test", "nearest")}
            kept |= {n: data[n].astype(np.float32) for n in ("error", "pca")}
            kept["mean_image"] = data["mean_image"].astype(np.float32)
    files.write_compressed(folder / f"{method}.npz", **kept)


def tables(results: pathlib.Path) -> dict[str, str]:
    """Make the tables by name, and draw results/figures/FOLDER-PRESET*.png.

    The names are "FOLDER-PRESET" and "FOLDER-PRESET-details".

    Args:
      results: the folder of the records.
    """
    made = {}
    for folder in FOLDERS:
        for preset in image_presets.PRESETS:
            name, path = f"{folder}-{preset}", results / folder / preset
            rows = common.read(path)
            if not rows:
                made[name] = made[f"{name}-details"] = common.EMPTY
                continue
            by_label = common.labelled(rows)
            if folder.startswith("inference"):
                made[name] = inference.table(by_label, _INFERENCE)
                parts = [inference.table(by_label), common.repeat(rows)]
            else:
                parts = [image_experiment.table(by_label), common.repeat(rows)]
                measured = common.labelled(common.read(path, "-ivom"))
                made[name] = common.EMPTY
                if measured:
                    made[name] = ivom_table.table(measured, _IVOM)
                    parts += [ivom_table.table(measured), _repeat_ivom(measured)]
            made[f"{name}-details"] = "\n\n".join(parts)
            _draw(results, name, path, {m: common.LABELS[m] for m in rows})
    return made


def _repeat_ivom(rows: common.Rows) -> str:
    lines = [
        [
            label,
            f"`{r['command']}`",
            r["commit"][:10],
            f"{r['options']['images']} x {r['options']['starts']}",
            common.minutes(r),
            r["device"],
        ]
        for label, r in rows.items()
    ]
    header = ["IvOM", "command", "commit", "images x starts", "minutes", "device"]
    return records.table(header, lines)


def _draw(
    results: pathlib.Path, name: str, path: pathlib.Path, labels: dict[str, str]
) -> None:
    """Draw samples, reconstructions, and real images over each method's nearest."""
    (results / "figures").mkdir(parents=True, exist_ok=True)
    samples, reconstructed, nearest, errors, baselines = {}, {}, {}, {}, {}
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
                baselines = {"PCA": data["pca"], "mean image": data["mean_image"]}
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
            errors | baselines,
            figures / f"{name}-errors.png",
            dashed=tuple(baselines),
            title=f"{name}: distance of the nearest generated image, first seed",
        )
