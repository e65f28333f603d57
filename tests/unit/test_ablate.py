"""ablate.py runs the whole and every variant, and keeps what each one changes."""

import json
import pathlib

import pytest
from support import programs

from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.presets import resolve
from veegan_jax.runtime import loop


@pytest.fixture
def script(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for script in programs.as_module("ablate"):
        monkeypatch.setattr(script.distributed, "use_cpu_cores", lambda num: None)
        yield script


@pytest.fixture
def trained(script, monkeypatch):
    """Replace training by a list of the configurations that would be trained."""
    found = []

    def run(config, options, workdir):
        found.append((config, options, workdir))
        workdir.mkdir(parents=True)
        return {"seeds": list(options.seed_numbers())}

    for experiment, _ in script.EXPERIMENTS.values():
        monkeypatch.setattr(experiment, "check", lambda runs, options: None)
        monkeypatch.setattr(experiment, "run", run)
        monkeypatch.setattr(experiment, "table", lambda rows: f"table of {[*rows]}")
    return found


@pytest.mark.parametrize("dataset", ["ring", "high_dim", "stacked_digits"])
def test_every_variant_is_trained_with_its_changes(script, trained, dataset, capsys):
    flags = script.flags.FLAGS
    flags.dataset, flags.seeds = dataset, 2
    script.main()
    printed = capsys.readouterr().out
    assert len(trained) >= 9
    for config, options, folder in trained:
        assert options.seed_numbers() == range(100, 102)
        record = json.loads((folder / "ablation.json").read_text())
        assert folder.parent == pathlib.Path("runs/ablation", dataset, "quick")
        assert folder.name == record["without"].replace(" ", "_")
        assert record["seeds"] == [100, 101]
        changes = record["changes"]
        assert config == resolve.resolve("veegan_plus", dataset, "quick", **changes)
        assert f"'{record['without']}'" in printed
        assert (config == trained[0][0]) == (changes == {})


def test_only_those_named_are_trained_beside_the_whole(script, trained, capsys):
    flags = script.flags.FLAGS
    flags.only = ["averaging"]
    script.main()
    (whole, *_), (config, *_) = trained
    assert config == whole.replace(ema=0.0)
    assert "table of ['everything', 'averaging']" in capsys.readouterr().out


def test_steps_are_those_of_every_variant_but_of_one_about_steps(script, trained):
    flags = script.flags.FLAGS
    flags.dataset, flags.preset, flags.steps = "grid", "best", 7
    flags.only = ["longer run", "averaging"]
    script.main()
    steps = {folder.name: config.steps for config, _, folder in trained}
    assert steps == {"everything": 7, "averaging": 7, "longer_run": 10000}


def test_a_variant_that_diverges_stops_no_other(script, trained, capsys, monkeypatch):
    run = script.mixture_experiment.run

    def diverges(config, options, workdir):
        record = run(config, options, workdir)
        if workdir.name == "penalty":
            raise loop.NonFinite("seed 100 became non-finite")
        seed = {"seed": 101, "failed": "became non-finite after step 3"}
        return record | ({"per_seed": [seed]} if workdir.name == "averaging" else {})

    monkeypatch.setattr(script.mixture_experiment, "run", diverges)
    script.flags.FLAGS.only = ["penalty", "averaging"]
    with pytest.raises(loop.NonFinite) as raised:
        script.main()
    assert str(raised.value).splitlines() == [
        "runs/ablation/ring/quick/penalty: seed 100 became non-finite",
        "runs/ablation/ring/quick/averaging: seed 101 became non-finite after step 3",
    ]
    assert "table of ['everything', 'averaging']" in capsys.readouterr().out
    assert len(trained) == 3


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("only", ["averages"], "--only=averages: unknown; any of everything"),
        ("dataset", "cifar10", "--dataset=cifar10 must be one of ring"),
        ("preset", "fast", "unknown preset 'fast'"),
    ],
)
def test_bad_flags_fail_before_any_work(script, trained, flag, value, message):
    setattr(script.flags.FLAGS, flag, value)
    with pytest.raises(errors.InputError, match=message):
        script.main()
    assert not trained and not pathlib.Path("runs").exists()


def test_another_method_lists_its_own_ingredients(script, trained, capsys):
    flags = script.flags.FLAGS
    flags.method, flags.dataset, flags.seeds = "rpgan", "grid", 2
    script.main()
    assert "rpgan on grid" in capsys.readouterr().out
    folders = [folder for _, _, folder in trained]
    assert folders[0] == pathlib.Path("runs/ablation/grid/quick-rpgan/everything")
    objectives = {f.name: c.objective for c, _, f in trained}
    r1 = objectives["R1"]
    assert (r1.penalty_real, r1.penalty_fake, r1.relativistic) == (False, True, True)
    both = objectives["pairing_and_R2"]
    assert (both.penalty_fake, both.relativistic) == (False, False)


def test_a_method_without_a_list_of_ingredients_is_refused(script):
    script.flags.FLAGS.method = "hinge"
    with pytest.raises(errors.InputError, match=r"--method=hinge has no function abl"):
        script.main()


def test_a_method_of_the_users_is_taken_apart(script, trained, monkeypatch):
    monkeypatch.setattr(methods, "METHODS", dict(methods.METHODS))
    text = """
from veegan_jax.methods import gan
init, train_step, sample = gan.init, gan.train_step, gan.sample
"""
    pathlib.Path("mine.py").write_text(text)
    script.flags.FLAGS.method_file = "mine.py"
    with pytest.raises(errors.InputError, match=r"--method_file=mine.py has no func"):
        script.main()
    text += """
def ablations(config):
    return {"everything": {}, "averaging": {"ema": 0.0}}
"""
    pathlib.Path("mine2.py").write_text(text)
    script.flags.FLAGS.method_file = "mine2.py"
    script.main()
    assert [c.optimizer.ema for c, _, _ in trained] == [0.999, 0.0]
