"""make_tables.py: --add copies finished runs, and only tables are rewritten."""

import json
import pathlib

import numpy as np
import pytest
from support import programs, records_of_runs

from veegan_jax.common import errors, plots
from veegan_jax.metrics import stacked_mnist as stacked_mnist_metrics

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("make_tables")


def test_add_copies_every_run_below_a_folder_to_the_same_path(script, tmp_path):
    plane = np.ones((2, 9, 2), np.float32)
    image = np.zeros((2, 40, 8, 8, 3), np.uint8)
    runs, results = tmp_path / "runs", tmp_path / "results"
    records_of_runs.leave(runs / "ring/quick/gan", "ring", "quick", plane=plane)
    stacked = runs / "stacked_mnist/full/gan"
    records_of_runs.leave(stacked, "stacked_mnist", "full", image=image, real=image[0])
    variant = runs / "ablation/grid/best-gan/no_penalty"
    record = records_of_runs.leave(variant, "grid", "best", plane=plane)
    about = {"without": "penalty", "changes": {"penalty": False}}
    (variant / "ablation.json").write_text(json.dumps(about | record))
    script.add([runs], results)
    made = {str(p.relative_to(results)) for p in results.rglob("*.*")}
    assert made == {
        "ring/quick/gan.json",
        "ring/quick/gan.npz",
        "stacked_mnist/full/gan.json",
        "stacked_mnist/full/gan.npz",
        "stacked_mnist/full/real.npz",
        "ablation/grid/best-gan/no_penalty.json",
    }
    kept = json.loads((results / "ring/quick/gan.json").read_text())
    assert kept["command"] == "python scripts/train.py --dataset=ring"
    kept = json.loads((results / "ablation/grid/best-gan/no_penalty.json").read_text())
    assert kept["without"] == "penalty"
    with np.load(results / "ring/quick/gan.npz") as data:
        assert data["plane"].shape == (9, 2)
    with np.load(results / "stacked_mnist/full/gan.npz") as data:
        assert data["image"].shape == (32, 8, 8, 3)


@pytest.mark.parametrize(
    ("preset", "unit", "times"),
    [("full", "minutes", [1.0, 1.5]), ("quarter", "steps", [10, 20])],
)
def test_kl_and_modes_over_the_training_are_kept_and_drawn(
    script, tmp_path, monkeypatch, preset, unit, times
):
    drawn = {}

    def keep(figure, path, *, dpi):
        drawn[path.name] = figure

    monkeypatch.setattr(plots.figures, "save", keep)
    image = np.zeros((2, 40, 8, 8, 3), np.uint8)
    runs, results = tmp_path / "runs", tmp_path / "results"
    for method in ("gan", "veegan"):
        run = runs / "stacked_mnist" / preset / method
        arrays = dict(image=image, real=image[0])
        records_of_runs.leave(run, "stacked_mnist", preset, method=method, **arrays)
    lines = [
        {"step": 10, "seconds": 60.0, "kl_uniform": [2.0, 4.0], "modes": [50, 70]},
        {"step": 20, "seconds": 30.0, "kl_uniform": [1.0, 2.0], "modes": [80, 90]},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(n) + "\n" for n in lines))
    script.add([runs], results)
    (results / "figures").mkdir()
    script.stacked_mnist.tables(results)
    kl, modes = drawn[f"stacked_mnist-{preset}-{unit}.png"].axes
    (line, floor), (other, _) = kl.lines, modes.lines  # the GAN has no log
    assert line.get_label() == "VEEGAN"
    assert kl.get_xlabel() == f"{unit} of training"
    assert line.get_xydata().tolist() == [[times[0], 3.0], [times[1], 1.5]]
    assert other.get_xydata().tolist() == [[times[0], 60.0], [times[1], 85.0]]
    # Perfect samples: 1000 - 1000 (1 - 1 / 1000)^2000 modes are met, and KL is not 0.
    assert modes.lines[1].get_ydata()[0] == pytest.approx(864.8, abs=0.01)
    assert floor.get_ydata()[0] == pytest.approx(0.285, abs=0.001)


def test_add_copies_a_benchmark(script, tmp_path):
    path = ROOT / "results/speed/training.json"
    script.add([path], tmp_path / "results")
    copy = tmp_path / "results/speed/training.json"
    assert json.loads(copy.read_text()) == json.loads(path.read_text())


def leave_rescored(path: pathlib.Path, modes: float, seed: int = 0, **more) -> None:
    """Write what eval_stacked_mnist.py --output does."""
    metrics = dict.fromkeys(stacked_mnist_metrics.METRICS, 0.5) | {"modes": modes}
    judge = {"seed": seed, "sha256": f"{seed}" * 64, "test_accuracy": 99.4}
    record = {
        "command": "python scripts/eval_stacked_mnist.py --classifier=/x run",
        "file": "runs/stacked_mnist/quick/gan",
        "dataset": "mnist",
        "metrics": metrics,
        "histogram": [],
        "classifier": judge,
    }
    path.write_text(json.dumps(record | more))


def rescored_cells(script, results) -> list[list[str]]:
    lines = script.stacked_mnist.classifiers(results).splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_samples_scored_by_several_classifiers_make_a_table(script, tmp_path):
    results = tmp_path / "results"
    for seed, modes in enumerate((10, 12, 17)):
        leave_rescored(tmp_path / f"gan-{seed}.json", modes, seed)
    # A slash at the end, or another folder above, is the same run.
    leave_rescored(tmp_path / "gan-1.json", 12, 1, file="/w/stacked_mnist/quick/gan/")
    script.add(sorted(tmp_path.glob("gan-*.json")), results)
    cells = rescored_cells(script, results)
    assert cells[0][:4] == ["", "classifier", "modes", "kl uniform"]
    assert cells[3][:4] == ["GAN", "11111111, seed 1, 99.40 %", "12", "0.5"]
    # (3^2 + 1^2 + 4^2) / 2 = 13
    assert cells[5][:4] == ["**GAN**", "all classifiers", "13 ± 3.6", "0.5 ± 0"]
    assert len(cells) == 6  # the run's own record is not in results/
    image = np.zeros((2, 40, 8, 8, 3), np.uint8)
    run = tmp_path / "run"
    std = dict.fromkeys(stacked_mnist_metrics.METRICS, 0.681) | {"vendi": None}
    records_of_runs.leave(
        run, "stacked_mnist", "quick", image=image, real=image[0], std=std
    )
    script.add([run], results)
    last = ["GAN", "spread over training seeds", *["± 0.68"] * 5, ""]
    assert rescored_cells(script, results)[6] == last


def test_one_classifier_has_no_spread_and_an_infinite_kl_no_mean(script, tmp_path):
    results = tmp_path / "results"
    leave_rescored(tmp_path / "one.json", 10)
    script.add([tmp_path / "one.json"], results)
    assert rescored_cells(script, results)[3][2:4] == ["10", "0.5"]
    metrics = dict.fromkeys(stacked_mnist_metrics.METRICS, None)
    leave_rescored(tmp_path / "two.json", 0, 1, metrics=metrics)
    script.add([tmp_path / "two.json"], results)
    assert rescored_cells(script, results)[4][2:4] == ["", ""]


@pytest.mark.parametrize("name", ["empty", "none.json"])
def test_add_refuses_what_is_no_run(script, tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.InputError, match=f"--add=.*{name}: "):
        script.add([tmp_path / name], tmp_path / "results")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"file": "st3.npy"}, "file must be the work directory of a run, .*'st3.npy'"),
        ({"file": "/data/w"}, "file must be the work directory of a run"),
        ({"file": "w/stacked_mnist/quick/svgan"}, "file must be the work directory"),
        ({"file": "w/stacked_mnist/tiny/gan"}, "file must be the work directory"),
        ({"file": "w/stacked_digits/quick/gan"}, "file must be the work directory"),
        ({"file": 3}, "file must be the work directory"),
        ({"dataset": "digits"}, "dataset must be one of mnist, not 'digits'"),
        ({"classifier": {"seed": 0, "sha256": "0"}}, "lacks classifier.test_accuracy"),
        ({"command": "python x.py --note='it"}, "command must be a command as a shell"),
    ],
)
def test_a_rescored_record_that_no_table_can_show_is_refused(
    script, tmp_path, more, message
):
    leave_rescored(tmp_path / "e3.json", 10, **more)
    with pytest.raises(errors.InputError, match=f"e3.json.* {message}"):
        script.add([tmp_path / "e3.json"], tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_record_of_no_table_is_not_a_benchmark(script, tmp_path):
    of_samples = {"command": "python x.py", "histogram": [], "dataset": "ring"}
    (tmp_path / "only.json").write_text(json.dumps(of_samples | {"metrics": {}}))
    with pytest.raises(errors.InputError, match=r"only\.json: no table shows it; give"):
        script.add([tmp_path / "only.json"], tmp_path / "results")
    (tmp_path / "training.json").write_text(json.dumps(of_samples))
    with pytest.raises(errors.InputError, match=r"training\.json lacks commit: make"):
        script.add([tmp_path / "training.json"], tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_table_on_no_page_is_named(script, tmp_path):
    names = ("stacked_digits/quick/gan", "cifar10/quick/gan", "ring/quick/gan")
    records = [tmp_path / f"{n}.json" for n in (*names, "lgan/mnist-1")]
    records.append(tmp_path / "stacked_mnist/classifiers/a.json")
    records.append(tmp_path / "ablation/stacked_digits/quick-rpgan/R1.json")
    (line,) = script.unplaced(records, {"cifar10-quick"})
    assert "<!-- table: stacked_digits-quick --> and <!-- end -->" in line


def test_fill_rewrites_what_is_between_markers_only(script, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table: one -->\nold\n<!-- end -->\nb\n")
    assert script.fill(page, {"one": "new"}) == {"one"}
    assert page.read_text() == "a\n<!-- table: one -->\nnew\n<!-- end -->\nb\n"
    with pytest.raises(errors.InputError, match=r"page\.md: unknown table 'one'"):
        script.fill(page, {})


def test_the_command_of_variants_trained_apart_names_none_of_them(script):
    whole = {"command": "python scripts/ablate.py --dataset=ring '--only=R1 and R2'"}
    one = {"command": "python scripts/ablate.py --dataset=ring --only=R1"}
    command = script.ablations._command
    assert command([whole, whole], whole) == whole["command"]
    assert command([whole, one], whole) == "python scripts/ablate.py --dataset=ring"
