"""Records of single images: what is kept of a run, and the tables made of it."""

import json

import numpy as np
import PIL.Image
import pytest
from support import programs
from tables import common
from tables import images as image_tables

from veegan_jax.common import errors, plots, records

METHODS = ("gan", "veegan")


@pytest.fixture(scope="module")
def make_tables():
    yield from programs.as_module("make_tables")


def record(method, dataset="cifar10", **more):
    return {
        "command": f"python scripts/train_cifar10.py --method={method} --workdir=/x",
        "commit": "0123456789abcdef",
        "config": {"method": method, "dataset": dataset, "steps": 10},
        "options": {"preset": "quick", "first_seed": 0, "images": 20, "starts": 3},
        "device": "1 x cpu",
        "wall_seconds": 60.0,
        "per_seed": [{"seed": seed} for seed in range(3)],
        "mean": {"variety": 0.9},
        "std": {"variety": 0.1},
        **more,
    }


def run(path, generator, method, ivom):
    """A work directory as the scripts leave it, of made-up figures."""
    (path / "ivom").mkdir(parents=True)
    whole = record(method)
    (path / "results.json").write_text(json.dumps(whole))
    pixels = generator.integers(0, 256, (3, 20, 8, 8, 3), np.uint8)
    np.savez(path / "samples.npz", image=pixels, real=pixels[0])
    measured = record(method) | {
        "mean": {"ivom": ivom, "random": 0.09, "converged": 50.0},
        "std": {"ivom": 0.001, "random": 0.002, "converged": 1.0},
        "baselines": {"mean_image": 0.06, "pca": 0.0081},
        "ivom_of": {"latent_size": 64, "step": 10},
        "trained": whole,
    }
    (path / "ivom" / "results.json").write_text(json.dumps(measured))
    errors = generator.uniform(0.01, 0.1, size=(3, 20))
    np.savez(
        path / "ivom" / "nearest.npz",
        test=pixels[0],
        nearest=pixels[1],
        error=errors,
        pca=errors[0],
        random=errors,
        mean_image=errors[1],
    )
    return path, whole


def test_records_become_tables_and_figures(generator, tmp_path):
    results = tmp_path / "results"
    for method, ivom in (("gan", 0.0312), ("veegan", 0.0214)):
        path, whole = run(tmp_path / method, generator, method, ivom)
        for copy in image_tables.collect(path, whole, results):
            copy.write()
    kept = results / "cifar10" / "quick"
    assert {p.name for p in kept.iterdir()} == {
        f"{m}{end}" for m in METHODS for end in (".json", "-ivom.json", ".npz")
    }
    text = (kept / "gan.json").read_text()
    assert "--method=gan" in text and "workdir" not in text  # no place of the disk
    assert sum(p.stat().st_size for p in kept.iterdir()) < 2**20
    with np.load(kept / "gan.npz", allow_pickle=False) as data:
        assert data["nearest"].shape == (16, 8, 8, 3)
        assert data["error"].shape == (3, 20)

    tables = image_tables.tables(results)
    rows = [line.split("|")[1:4] for line in tables["cifar10-quick"].splitlines()[2:]]
    rows = [tuple(cell.strip() for cell in row) for row in rows]
    assert rows == [
        ("mean image", "", "0.06"),
        ("PCA", "64", "0.0081"),
        ("**GAN**", "64", "0.0312 ± 0.001"),
        ("**VEEGAN**", "64", "0.0214 ± 0.001"),
    ]
    assert "converged" not in tables["cifar10-quick"]
    details = tables["cifar10-quick-details"]
    assert "converged" in details and "20 x 3" in details
    assert "`python scripts/train_cifar10.py --method=gan` " in details
    empty = {n for n, t in tables.items() if t == common.EMPTY}
    assert {"cifar10-paper", "faces-quick", "inference_mnist-dense"} <= empty
    for end in ("", "-nearest", "-errors"):
        with PIL.Image.open(results / "figures" / f"cifar10-quick{end}.png") as image:
            assert min(image.size) > 100


def test_later_seeds_join_both_records_of_a_row(generator, tmp_path):
    results, ivom = tmp_path / "results", {0: 0.02, 1: 0.03, 2: 0.07}
    for numbers in ([0, 1], [2]):
        path, whole = run(tmp_path / f"gan-{numbers[0]}", generator, "gan", 0.0)
        whole["options"]["first_seed"] = numbers[0]
        whole["per_seed"] = [{"seed": n, "variety": 0.9} for n in numbers]
        searched = records.read(path / "ivom" / "results.json")
        searched["per_seed"] = [
            {"seed": n, "ivom": ivom[n], "random": 0.09, "converged": 50.0}
            for n in numbers
        ]
        (path / "results.json").write_text(json.dumps(whole))
        (path / "ivom" / "results.json").write_text(json.dumps(searched))
        for copy in image_tables.collect(path, whole, results):
            copy.write()
    names = {path.name for path in (results / "cifar10" / "quick").glob("*.json")}
    ends = "", "-ivom", "-from-2", "-ivom-from-2"
    assert names == {f"gan{end}.json" for end in ends}
    tables = image_tables.tables(results)
    assert "| 0.04 ± 0.026 " in tables["cifar10-quick"]
    assert "| 1 from 2 " in tables["cifar10-quick-details"]


def test_a_longer_search_stands_beside_the_run(make_tables, generator, tmp_path):
    results = tmp_path / "results"
    path, whole = run(tmp_path / "gan", generator, "gan", 0.03)
    for copy in image_tables.collect(path, whole, results):
        copy.write()
    assert image_tables.tables(results)["cifar10-quick-search"] == common.EMPTY
    searched = records.read(path / "ivom" / "results.json")
    searched["mean"] = {"ivom": 0.02, "ivom_200": 0.025, "converged": 99.0}
    searched["options"] |= {"images": 7, "starts": 10}
    folder = tmp_path / "search" / "gan"
    folder.mkdir(parents=True)
    records.write(folder / "results.json", searched)
    (copy,) = make_tables.collect(tmp_path / "search", results)
    assert copy.target == results / "cifar10" / "quick" / "gan-search.json"
    copy.write()
    tables = image_tables.tables(results)
    *_, row = tables["cifar10-quick-search"].splitlines()
    assert row.replace(" ", "") == "|**GAN**|64|0.02±0.001|0.025|99±1|"
    assert "| 0.03 ± 0.001 " in tables["cifar10-quick"]  # as it was
    assert "7 x 10" in tables["cifar10-quick-details"]
    searched["trained"] = None
    records.write(folder / "results.json", searched)
    with pytest.raises(errors.InputError, match=r"results\.json: trained must be"):
        make_tables.collect(tmp_path / "search", results)


def test_ivom_over_the_minutes_is_kept_and_drawn(generator, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        plots.figures, "save", lambda figure, path, *, dpi: drawn.update({path: figure})
    )
    results = tmp_path / "results"
    lines = [
        {"step": 4, "seconds": 30.0, "ivom_25": [0.05, 0.03], "variety": [0.5, 0.7]},
        {"step": 8, "seconds": 60.0, "ivom_25": [0.02, 0.01], "variety": [0.8, 1.0]},
    ]
    for method in METHODS:
        path, whole = run(tmp_path / method, generator, method, 0.03)
        if method == "veegan":
            log = "".join(json.dumps(line) + "\n" for line in lines)
            (path / "metrics.jsonl").write_text(log)
        for copy in image_tables.collect(path, whole, results):
            copy.write()
    image_tables.tables(results)
    figure = drawn[results / "figures/cifar10-quick-minutes.png"]
    ivom, variety = figure.axes
    (line,) = ivom.lines  # the GAN has no log, and the best is not known
    assert line.get_label() == "VEEGAN"
    np.testing.assert_allclose(line.get_xydata(), [[0.5, 0.04], [1.5, 0.015]])
    line, best = variety.lines
    np.testing.assert_allclose(line.get_xydata(), [[0.5, 0.6], [1.5, 0.9]])
    assert list(best.get_ydata()) == [1, 1]


@pytest.mark.parametrize(
    ("file", "name", "value", "message"),
    [
        ("ivom/results.json", "trained", {}, "lacks trained.commit"),
        ("ivom/results.json", "trained", None, ""),
        ("ivom/results.json", "baselines", {"pca": 0.1}, "lacks baselines.mean_image"),
        ("ivom/nearest.npz", "pca", None, "lacks the array pca"),
        ("ivom/nearest.npz", "", None, "cannot be read"),
        ("samples.npz", "real", None, "lacks the array real"),
        ("results.json", "mean", {}, "lacks mean.variety"),
        ("results.json", "code", "R(x)", "no table shows runs of inference_cifar10"),
    ],
)
def test_a_damaged_run_changes_no_results(
    generator, tmp_path, file, name, value, message
):
    path, _ = run(tmp_path / "gan", generator, "gan", 0.03)
    if file.endswith(".json"):
        changed = json.loads((path / file).read_text()) | {name: value}
        (path / file).write_text(json.dumps(changed))
    elif name:
        with np.load(path / file) as data:
            kept = {n: data[n] for n in data if n != name}
        np.savez(path / file, **kept)
    else:
        (path / file).unlink()
    whole = json.loads((path / "results.json").read_text())
    if not message:  # an IvOM of a run that goes on
        copies = image_tables.collect(path, whole, tmp_path / "results")
        assert copies[1].record["trained"] is None
        return
    with pytest.raises(errors.InputError, match=f"{file}:? {message}"):
        image_tables.collect(path, whole, tmp_path / "results")


def test_where_records_belong():
    folder_of = image_tables.folder_of
    assert folder_of(record("gan")) == "cifar10"
    assert folder_of(record("gan", "faces")) == "faces"
    assert folder_of(record("veegan", "mnist", code="R(x)")) == "inference_mnist"
    assert folder_of(record("gan", "stacked_mnist")) is None
    assert folder_of(record("gan", "ring")) is None
