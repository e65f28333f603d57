"""From flags to runs: which configurations, in which work directories.

A method in a user's own file, of three functions, goes through a whole script.
"""

import json
import pathlib

import pytest
from absl.testing import flagsaver
from support import programs

from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.experiments import base, stored
from veegan_jax.presets import resolve

QUICK = base.Options()
DATASETS = ("ring", "grid")


def paths(runs) -> list[str]:
    return [str(path) for path, _ in runs]


def test_a_run_has_the_work_directory_dataset_preset_method():
    runs = base.plan(QUICK, {}, ["ring"], None)
    expected = resolve.resolve("veegan_plus", "ring", "quick")
    assert runs == [(pathlib.Path("runs/ring/quick/veegan_plus"), expected)]
    options = base.Options(preset="paper")
    runs = base.plan(options, {"method": "gan"}, ["grid"], None)
    expected = resolve.resolve("gan", "grid", "paper")
    assert runs == [(pathlib.Path("runs/grid/paper/gan"), expected)]


def test_changes_reach_every_run_and_stay_as_they_were():
    changes = {"method": "all", "steps": 7, "generator_widths": (4,)}
    runs = base.plan(QUICK, changes, DATASETS, None)
    assert len(runs) == len(DATASETS) * len(resolve.ROWS)
    for _, config in runs:
        assert config.steps == 7 and config.networks.generator_widths == (4,)
    assert changes == {"method": "all", "steps": 7, "generator_widths": (4,)}


def test_all_methods_are_the_rows_of_the_tables():
    runs = base.plan(QUICK, {"method": "all"}, ["ring"], None)
    assert paths(runs) == [f"runs/ring/quick/{name}" for name in resolve.ROWS]
    assert [config.method for _, config in runs] == list(resolve.ROWS)
    assert set(resolve.ROWS) <= set(methods.METHODS)
    few = base.plan(QUICK, {"method": "all"}, ["ring"], None, rows=("ali", "veegan"))
    assert paths(few) == ["runs/ring/quick/ali", "runs/ring/quick/veegan"]
    one = base.plan(QUICK, {"method": "gan"}, ["ring"], None, rows=("ali", "veegan"))
    assert paths(one) == ["runs/ring/quick/gan"]  # rows restrict "all" alone


def test_a_folder_takes_the_datasets_place():
    runs = base.plan(QUICK, {}, ["digits"], None, folder="inference_digits")
    assert paths(runs) == ["runs/inference_digits/quick/veegan_plus"]
    assert runs[0][1].dataset == "digits"


@pytest.mark.parametrize(
    ("method", "datasets", "expected"),
    [
        ("gan", ["ring"], ["w"]),
        ("gan", DATASETS, ["w/ring", "w/grid"]),
        ("all", ["ring"], ["w/ali", "w/veegan"]),
        (
            "all",
            DATASETS,
            ["w/ring/ali", "w/ring/veegan", "w/grid/ali", "w/grid/veegan"],
        ),
    ],
)
def test_a_work_directory_is_of_one_run_or_holds_those_of_several(
    method, datasets, expected
):
    runs = base.plan(
        QUICK, {"method": method}, datasets, "w", rows=("ali", "veegan"), folder="f"
    )
    assert paths(runs) == expected


@pytest.mark.parametrize(
    ("changes", "dataset", "message"),
    [
        ({}, "cube", "unknown dataset 'cube': one of ring, grid, high_dim, stacked"),
        ({"method": "vae"}, "ring", "unknown method 'vae': one of gan, pacgan, ali"),
        ({"method": "all", "gamma": 1.0}, "ring", "--gamma: gan on ring has no such"),
        ({"steps": 0}, "ring", "--steps=0 must be at least 1"),
    ],
)
def test_what_does_not_exist_is_refused(changes, dataset, message):
    with pytest.raises(errors.InputError) as raised:
        base.plan(QUICK, changes, [dataset], None)
    assert str(raised.value).startswith(message)
    with pytest.raises(errors.InputError, match="unknown preset 'tiny': one of quick"):
        base.plan(base.Options(preset="tiny"), {}, ["ring"], None)


# The script of the mixtures.


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("train_mixtures")


@pytest.fixture
def registry(monkeypatch):
    """The methods as they are; what a test registers is gone after it."""
    monkeypatch.setattr(methods, "METHODS", dict(methods.METHODS))


def test_the_scripts_flags_make_the_plan(script):
    flags = {"dataset": "all", "method": "all", "steps": 9, "generator_widths": ["4"]}
    with flagsaver.flagsaver(**flags):
        runs = script.plan(QUICK)
    assert len(runs) == 3 * len(resolve.ROWS)
    assert paths(runs)[-1] == "runs/high_dim/quick/veegan_plus"
    for _, config in runs:
        assert config.steps == 9 and config.networks.generator_widths == (4,)
    with (
        flagsaver.flagsaver(dataset="digits"),
        pytest.raises(errors.InputError, match="--dataset=digits must be one of ring"),
    ):
        script.plan(QUICK)


MINE = """
from veegan_jax.methods import gan

init = gan.init


def train_step(state, x_BX, *, config, axis_name=None):
    assert not hasattr(config.objective, "gamma")
    return gan.train_step(state, x_BX, config=config, axis_name=axis_name)


def sample(state, key, num_samples, *, config):
    return 0 * gan.sample(state, key, num_samples, config=config)
"""


def test_a_file_of_three_functions_is_a_method(
    script, registry, tmp_path, monkeypatch, capsys
):
    """It has no settings of its own, and maps no latents that it is given."""
    monkeypatch.setattr(script.distributed, "use_cpu_cores", lambda num: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    flags = {
        "method_file": "mine.py",
        "steps": 4,
        "batch_size": 8,
        "seeds": 1,
        "samples": 50,
        "generator_widths": ["4"],
        "discriminator_widths": ["4"],
    }
    with flagsaver.flagsaver(**flags):
        script.main()
    assert "| mine " in capsys.readouterr().out
    workdir = tmp_path / "runs/ring/quick/mine"
    record = json.loads((workdir / "results.json").read_text())
    assert record["mean"]["modes"] == 0  # all samples are the ring's centre
    assert record["config"]["method"] == "mine"
    assert record["config"]["objective"] == {}
    config, seeds, done, _ = stored.restore(workdir)
    expected = resolve.resolve("gan", "ring", steps=4, batch_size=8)
    expected = expected.replace(generator_widths=(4,), discriminator_widths=(4,))
    assert config == expected.replace(method="mine")
    assert (list(seeds), done) == ([0], 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("init = train_step = None", "method 'other' lacks sample"),
        ("sample = None", "method 'other' lacks init, train_step"),
    ],
)
def test_a_file_without_the_functions_is_refused(registry, tmp_path, text, message):
    (tmp_path / "other.py").write_text(text)
    with pytest.raises(errors.InputError, match=message):
        methods.register_file(str(tmp_path / "other.py"))
    assert "other" not in methods.METHODS


def test_a_file_may_not_take_a_methods_name(registry, tmp_path):
    (tmp_path / "gan.py").write_text(MINE)
    with pytest.raises(errors.InputError, match="method 'gan' exists already"):
        methods.register_file(str(tmp_path / "gan.py"))


def test_a_dry_run_prints_the_configuration_and_the_cost(capsys):
    options = base.Options(dry_run=True)
    runs = base.plan(options, {"steps": 7}, ["ring"], None)
    base.run_all(
        runs, options, train=None, dry_run=lambda *_: "the cost of a step", table=None
    )
    out = capsys.readouterr().out
    assert out.startswith("run: method veegan_plus, dataset ring, steps 7,")
    assert "optimizer: learning_rate 0.001" in out
    assert out.endswith("\n\nthe cost of a step\n\n")
