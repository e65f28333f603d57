"""make_tables.py: --add copies finished runs, and only tables are rewritten."""

import json
import pathlib

import numpy as np
import pytest
from support import programs

from veegan_jax.common import errors


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("make_tables")


def leave_run(folder: pathlib.Path, dataset: str, preset: str, **arrays) -> None:
    """Write what a training script leaves in its work directory."""
    folder.mkdir(parents=True)
    record = {
        "command": f"python scripts/train.py --dataset={dataset} --workdir=/x",
        "config": {"dataset": dataset, "method": "gan"},
        "options": {"preset": preset},
    }
    (folder / "results.json").write_text(json.dumps(record))
    np.savez(folder / "samples.npz", **arrays)


def test_add_copies_every_run_below_a_folder_to_the_same_path(script, tmp_path):
    plane = np.ones((2, 9, 2), np.float32)
    image = np.zeros((2, 40, 8, 8, 3), np.uint8)
    runs, results = tmp_path / "runs", tmp_path / "results"
    leave_run(runs / "ring/quick/gan", "ring", "quick", plane=plane)
    stacked = runs / "stacked_mnist/wide/gan"
    leave_run(stacked, "stacked_mnist", "wide", image=image, real=image[0])
    variant = runs / "ablation/grid/best/no_penalty"
    leave_run(variant, "grid", "best", plane=plane)
    about = {"without": "penalty", "changes": {"penalty": False}}
    record = json.loads((variant / "results.json").read_text())
    (variant / "ablation.json").write_text(json.dumps(about | record))
    script.add(runs, results)
    made = {str(p.relative_to(results)) for p in results.rglob("*.*")}
    assert made == {
        "ring/quick/gan.json",
        "ring/quick/gan.npz",
        "stacked_mnist/wide/gan.json",
        "stacked_mnist/wide/gan.npz",
        "stacked_mnist/wide/real.npz",
        "ablation/grid/best/no_penalty.json",
    }
    kept = json.loads((results / "ring/quick/gan.json").read_text())
    assert kept["command"] == "python scripts/train.py --dataset=ring"
    kept = json.loads((results / "ablation/grid/best/no_penalty.json").read_text())
    assert kept["without"] == "penalty"
    with np.load(results / "ring/quick/gan.npz") as data:
        assert data["plane"].shape == (9, 2)
    with np.load(results / "stacked_mnist/wide/gan.npz") as data:
        assert data["image"].shape == (32, 8, 8, 3)


def test_add_copies_a_benchmark(script, tmp_path):
    path = tmp_path / "training.json"
    path.write_text(json.dumps({"command": "python scripts/bench/training.py"}))
    script.add(path, tmp_path / "results")
    assert (tmp_path / "results/speed/training.json").exists()


def test_samples_scored_by_several_classifiers_make_a_table(script, tmp_path):
    results = tmp_path / "results"
    for seed, modes in enumerate((10, 12, 17)):
        path = tmp_path / f"gan-{seed}.json"
        record = {
            "command": "python scripts/eval_stacked_mnist.py --classifier=/x run",
            "file": "runs/stacked_mnist/quick/gan",
            "metrics": {"modes": modes, "kl_data": 0.5},
            "histogram": [],
            "classifier": {
                "seed": seed,
                "sha256": f"{seed}" * 64,
                "test_accuracy": 99.4,
            },
        }
        path.write_text(json.dumps(record))
        script.add(path, results)
    trained = results / "stacked_mnist/quick/gan.json"
    trained.parent.mkdir()
    trained.write_text(json.dumps({"std": {"modes": 48.2, "kl_data": 0.681}}))
    lines = script.stacked_mnist.classifiers(results).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == ["", "classifier", "modes", "kl data"]
    assert cells[3] == ["GAN", "11111111, seed 1, 99.40 %", "12", "0.5"]
    # (3^2 + 1^2 + 4^2) / 2 = 13
    assert cells[5] == ["**GAN**", "all classifiers", "13 ± 3.6", "0.5 ± 0"]
    assert cells[6] == ["GAN", "spread over training seeds", "± 48", "± 0.68"]


@pytest.mark.parametrize("name", ["empty", "none.json"])
def test_add_refuses_what_is_no_run(script, tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.InputError, match=f"--add=.*{name}: "):
        script.add(tmp_path / name, tmp_path / "results")


def test_fill_rewrites_what_is_between_markers_only(script, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table: one -->\nold\n<!-- end -->\nb\n")
    script.fill(page, {"one": "new"})
    assert page.read_text() == "a\n<!-- table: one -->\nnew\n<!-- end -->\nb\n"
    with pytest.raises(errors.InputError, match=r"page\.md: unknown table 'one'"):
        script.fill(page, {})
