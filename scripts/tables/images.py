"""Tables and figures of single images: CIFAR-10, faces, inference. No flags here."""

import pathlib
from typing import Any

import numpy as np
from tables import checks, common, seeds

from veegan_jax.common import errors, plots, plots_errors, records
from veegan_jax.experiments import images as image_experiment
from veegan_jax.experiments import inference, ivom_table
from veegan_jax.presets import images as image_presets

# Folder in results/ -> data set.
FOLDERS = {"cifar10": "cifar10", "faces": "faces", "inference_mnist": "mnist"}
_SHOWN = 16  # images of a figure
_NEAREST = 12  # fewer, as they are captioned and drawn larger
# The columns of the first table of a page; the "-details" have all.
_IVOM = (
    *("ivom", "ivom_5", "ivom_25", "ivom_from_r", "r", "random", "latent_rms"),
    *("recall", "recall_any_z"),
)
# The columns of a longer search, of which 200 iterations are a part.
_SEARCH = ("ivom", "ivom_200", "ivom_25", "ivom_from_r", "converged", "latent_rms")
IMAGES = (None, None, None, None)
# The arrays of nearest.npz: images, and their errors by seed and by the baselines.
NEAREST = {
    "test": IMAGES,
    "nearest": IMAGES,
    "error": (None, None),
    "pca": (None,),
    "mean_image": (None,),
}
OVER_TIME = ("ivom_25", "variety")  # what a run measured while it trained
_TRAINED = {"commit": checks.TEXT, "options": {}}
_SEARCHED = {  # what names the run of a longer search
    "config": {"method": common.METHOD, "dataset": checks.one_of(FOLDERS.values())},
    "trained": {
        **_TRAINED,
        "options": {
            "preset": checks.one_of(image_presets.PRESETS),
            "first_seed": checks.COUNT,
        },
    },
}
IVOM = {  # of a record of eval_ivom.py
    **common.REPEAT,
    "options": {"images": checks.COUNT, "starts": checks.COUNT},
    "ivom_of": {"latent_size": checks.COUNT},
    "baselines": {
        "mean_image": checks.METRIC,
        "pca": checks.METRIC,
        "nearest_training?": checks.METRIC,
    },
    "mean": {"ivom": checks.METRIC, "*": checks.METRIC},
    "std": {"*": checks.METRIC},
}
_INFERENCE = ("reconstruction", "agreement", "latent", "code_std", "code_energy")


def folder_of(record: dict[str, Any]) -> str | None:
    """Name the folder in results/ of a run on single images; None: it is another."""
    dataset = record["config"]["dataset"]
    if "code" in record:
        return f"inference_{dataset}"
    return dataset if dataset in image_presets.SHAPES else None


def form(folder: str) -> dict[str, Any]:
    """Return the form of a record in a folder of results/; see `checks`."""
    of_all, more = {"variety": checks.METRIC}, {}
    if folder.startswith("inference"):
        of_all |= dict.fromkeys(inference.COLUMNS, checks.METRIC)
        more = {
            "other_metrics": checks.METRIC,
            "code": checks.TEXT,
            "baselines": {"*": {"*": checks.METRIC}},
            "classifier": {"test_accuracy": checks.NUMBER},
        }
    else:
        more = {"other_metrics": checks.NOTHING}
    return common.run(FOLDERS[folder], image_presets.PRESETS, of_all, **more)


def collect(
    run: pathlib.Path, record: dict[str, Any], results: pathlib.Path
) -> list[common.Copy]:
    """Read a finished run's record, its IvOM if it was measured, and some images.

    Args:
      run: the work directory.
      record: its record, which names its data set.
      results: the folder of the records.

    Raises:
      InputError: naming the file that cannot be used.
    """
    source, name = run / "results.json", folder_of(record)
    if name not in FOLDERS:
        raise errors.InputError(
            f"{source}: no table shows runs of {name}, only {', '.join(FOLDERS)}: "
            "--add the folders of other runs, or move it away"
        )
    checks.check(source, record, form(name))
    folder = results / name / record["options"]["preset"]
    shapes = {"image": (None, *IMAGES), "real": IMAGES}
    data = checks.arrays(run / "samples.npz", shapes)
    kept = {"samples": data["image"][0, :_SHOWN], "real": data["real"][:_SHOWN]}
    if name.startswith("inference"):
        shapes = {"x": IMAGES, "reconstructed": (None, *IMAGES)}
        data = checks.arrays(run / "reconstructions.npz", shapes)
        kept |= {"x": data["x"], "reconstructed": data["reconstructed"][0]}
    kept |= common.over_time(run, OVER_TIME)
    found = []
    measured = run / "ivom" / "results.json"
    if measured.exists():
        ivom = checks.read(measured, IVOM | {"trained": checks.OrNull(_TRAINED)})
        if ivom["trained"] is not None:
            # Where it was trained, and how, is in the record beside it.
            ivom["trained"] = {n: ivom["trained"][n] for n in _TRAINED}
        target = folder / f"{seeds.record_name(record, '-ivom')}.json"
        found = [common.Copy(measured, target, ivom)]
        data = checks.arrays(run / "ivom" / "nearest.npz", NEAREST)
        kept |= {n: data[n][:_SHOWN] for n in ("test", "nearest")}
        kept |= {n: data[n].astype(np.float32) for n in ("error", "pca", "mean_image")}
    target = folder / f"{seeds.record_name(record)}.json"
    arrays = {target.with_suffix(".npz"): kept}
    return [common.Copy(source, target, record, arrays), *found]


def collect_search(path: pathlib.Path, results: pathlib.Path) -> common.Copy:
    """Read a record of eval_ivom.py that stands beside the one of its own run.

    It is of a longer search, written to a folder of its own by --output.

    Raises:
      InputError: naming the file and the field that cannot be used.
    """
    record = checks.read(path, IVOM | _SEARCHED)
    trained = record["trained"]
    folder = results / record["config"]["dataset"] / trained["options"]["preset"]
    end = seeds.tail(trained["options"]["first_seed"])
    record["trained"] = {n: trained[n] for n in _TRAINED}
    target = folder / f"{record['config']['method']}-search{end}.json"
    return common.Copy(path, target, record)


def tables(results: pathlib.Path) -> dict[str, str]:
    """Make the tables by name, and draw results/figures/FOLDER-PRESET*.png.

    The names are "FOLDER-PRESET", "FOLDER-PRESET-search" (IvOM by a longer search) and
    "FOLDER-PRESET-details".

    Args:
      results: the folder of the records.
    """
    made = {}
    for folder in FOLDERS:
        for preset in image_presets.PRESETS:
            name, path = f"{folder}-{preset}", results / folder / preset
            rows = common.read(path, form(folder))
            if not rows:
                for end in ("", "-search", "-details"):
                    made[f"{name}{end}"] = common.EMPTY
                continue
            by_label = common.labelled(rows)
            if folder.startswith("inference"):
                made[name] = inference.table(by_label, _INFERENCE)
                parts = [inference.table(by_label), common.repeat(rows)]
            else:
                parts = [image_experiment.table(by_label), common.repeat(rows)]
                measured = common.read(path, IVOM, "-ivom")
                made[name] = common.EMPTY
                if measured:
                    by_label = common.labelled(measured)
                    made[name] = ivom_table.table(by_label, _IVOM)
                    parts += [ivom_table.table(by_label), _repeat_ivom(measured)]
            made[f"{name}-search"] = common.EMPTY
            if searched := common.read(path, IVOM, "-search"):
                by_label = common.labelled(searched)
                made[f"{name}-search"] = ivom_table.table(by_label, _SEARCH)
                parts.append(_repeat_ivom(searched))
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
        for label, r in common.parts(rows)
    ]
    header = ["IvOM", "command", "commit", "images x starts", "minutes", "device"]
    return records.table(header, lines)


def _draw(
    results: pathlib.Path, name: str, path: pathlib.Path, labels: dict[str, str]
) -> None:
    """Draw samples, reconstructions, and real images over each method's nearest."""
    (results / "figures").mkdir(parents=True, exist_ok=True)
    samples, reconstructed, nearest, distances, baselines = {}, {}, {}, {}, {}
    curves = {}
    for method, label in labels.items():
        shapes = {"samples": IMAGES, "real": IMAGES}
        if name.startswith("inference"):
            shapes |= {"x": IMAGES, "reconstructed": IMAGES}
        if seeds.parts(path / f"{method}-ivom.json"):
            shapes |= NEAREST
        data = checks.arrays(common.arrays_of(path, method), shapes)
        if found := common.curves(path, method, "minutes", OVER_TIME):
            curves[label] = found
        samples |= {} if samples else {"real": data["real"]}
        samples[label] = data["samples"]
        if "reconstructed" in data:
            reconstructed |= {} if reconstructed else {"test x": data["x"]}
            reconstructed[f"G(R(x)), {label}"] = data["reconstructed"]
        if "nearest" in data:
            nearest |= {} if nearest else {"real": (data["test"][:_NEAREST], None)}
            error_N = data["error"][0]
            captions = [f"{e:.3f}" for e in error_N[:_NEAREST]]
            nearest[label] = data["nearest"][:_NEAREST], captions
            distances[label] = error_N
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
            distances | baselines,
            figures / f"{name}-errors.png",
            dashed=tuple(baselines),
            title=f"{name}: distance of the nearest generated image, first seed",
        )
    if curves:
        titles = {"ivom_25": "IvOM after 25 iterations", "variety": "variety"}
        panels = {
            title: {label: (c["minutes"], c[metric]) for label, c in curves.items()}
            for metric, title in titles.items()
        }
        plots.over_time(
            panels,
            figures / f"{name}-minutes.png",
            best={"variety": 1.0},
            title=f"{name}, while training: one start for each of a few test images",
        )
