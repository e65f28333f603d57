"""make_tables.py reads and checks all of a run before it writes into results/."""

import json
import pathlib

import numpy as np
import pytest
from support import programs, records_of_runs
from tables import ablations, checks, lgan, mixtures, speed, stacked_mnist

from veegan_jax.common import errors

ROOT = pathlib.Path(__file__).parents[2]
PLANE = np.ones((2, 9, 2), np.float32)


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("make_tables")


def changed(record, name, value):
    """Return the record with another value, or without it if that is `del`."""
    record = json.loads(json.dumps(record))
    *groups, last = name.split(".")
    group = record
    for one in groups:
        group = group[one]
    if value is del_:
        del group[last]
    else:
        group[last] = value
    return record


def del_():
    """Stand for no value."""


LACKS = [
    "command",
    "commit",
    "config.steps",
    "config.method",
    "options.preset",
    "options.first_seed",
    "wall_seconds",
    "per_seed",
    "mean",
    "std",
    "oracle",
    "mean.spread",
    "oracle.modes",
]
WRONG = {
    "config": 5,
    "config.dataset": "../../evil",
    "config.method": "a/b",
    "config.steps": -1,
    "options": [],
    "options.preset": "/tmp/x",
    "options.first_seed": "0",
    "command": "python x.py --note='it",
    "commit": None,
    "device": 1,
    "wall_seconds": "a minute",
    "mean": [1],
    "std": None,
    "mean.modes": "8",
    "std.modes": True,
    "mean.else": 1.0,
    "oracle.modes": None,
    "oracle.high_quality": 10**400,
    "per_seed": 3,
}


@pytest.mark.parametrize(
    ("name", "value"), [*[(n, del_) for n in LACKS], *WRONG.items()]
)
def test_one_message_names_the_file_and_the_field(script, tmp_path, name, value):
    run, results = tmp_path / "run", tmp_path / "results"
    record = records_of_runs.leave(run, "ring", "quick", plane=PLANE)
    script.add([run], results)
    files = {p: p.read_bytes() for p in results.rglob("*.*")}
    damaged = json.dumps(changed(record, name, value))
    (run / "results.json").write_text(damaged)
    what = f" lacks {name}" if value is del_ else f": {name} must be"
    message = rf"results\.json{what}"
    with pytest.raises(errors.InputError, match=message):
        script.add([run], results)
    assert files == {p: p.read_bytes() for p in results.rglob("*.*")}
    # The same in results/, where the tables are made of it.
    (results / "ring/quick/gan.json").write_text(damaged)
    message = message.replace("results", "gan", 1)
    with pytest.raises(errors.InputError, match=message):
        mixtures.read(results, "quick")


@pytest.mark.parametrize("method", ["svgan", 3, ["gan"], None])
def test_a_method_without_a_row_is_refused(script, tmp_path, method):
    run = tmp_path / "run"
    records_of_runs.leave(run, "ring", "quick", plane=PLANE, method=method)
    with pytest.raises(
        errors.InputError, match=r"config\.method must be one of gan, p"
    ):
        script.add([run], tmp_path / "results")


def test_nothing_is_written_if_the_last_cannot_be_read(script, tmp_path):
    records_of_runs.leave(tmp_path / "a", "ring", "quick", plane=PLANE)
    records_of_runs.leave(tmp_path / "b", "grid", "quick", other=PLANE)
    with pytest.raises(
        errors.InputError, match=r"b/samples\.npz lacks the array plane"
    ):
        script.add([tmp_path / "a", tmp_path / "b"], tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_two_runs_do_not_become_one(script, tmp_path):
    for name in "ab":
        records_of_runs.leave(tmp_path / name, "ring", "quick", plane=PLANE)
    with pytest.raises(errors.InputError, match=r"a/results\.json and .*b/.* both"):
        script.add([tmp_path / "a", tmp_path / "b"], tmp_path / "results")
    script.add([tmp_path / "a", tmp_path / "a"], tmp_path / "results")


def no_file(path):
    path.unlink()


def empty_file(path):
    path.write_bytes(b"")


def cut_file(path):
    path.write_bytes(path.read_bytes()[:-40])


def one_array(path):
    with path.open("wb") as file:
        np.save(file, PLANE)


def no_samples(path):
    np.savez(path, plane=PLANE[:, :0])


def no_seed_axis(path):
    np.savez(path, plane=PLANE[0])


def texts(path):
    np.savez(path, plane=PLANE.astype(str))


def pickles(path):
    np.savez(path, plane=PLANE.astype(object))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_file, r" cannot be read \(No such file"),
        (empty_file, r" cannot be read \("),
        (cut_file, r" cannot be read \("),
        (one_array, r" cannot be read \("),
        (pickles, r" cannot be read \(Object arrays"),
        (no_samples, r": plane must be numbers of shape any x any x 2, not float32 of"),
        (no_seed_axis, r": plane must be numbers of shape any x any x 2"),
        (texts, r": plane must be numbers of shape any x any x 2, not <U"),
    ],
)
def test_damaged_samples_are_one_message(script, tmp_path, damage, message):
    run, results = tmp_path / "run", tmp_path / "results"
    records_of_runs.leave(run, "ring", "quick", plane=PLANE)
    damage(run / "samples.npz")
    with pytest.raises(errors.InputError, match=rf"samples\.npz{message}"):
        script.add([run], results)
    assert not results.exists()


def test_drawing_names_a_missing_file(script, tmp_path):
    records_of_runs.leave(tmp_path / "run", "ring", "quick", plane=PLANE)
    script.add([tmp_path / "run"], tmp_path / "results")
    (tmp_path / "results/ring/quick/gan.npz").unlink()
    runs = mixtures.read(tmp_path / "results", "quick")
    with pytest.raises(errors.InputError, match=r"gan\.npz cannot be read \(No such"):
        mixtures.draw(tmp_path / "results", "quick", runs)


def test_a_variant_is_added_from_within_its_folder(script, tmp_path, monkeypatch):
    run, results = tmp_path / "no_penalty", tmp_path / "results"
    record = records_of_runs.leave(run, "grid", "best", plane=PLANE)
    about = {"without": "penalty", "changes": {"penalty": False}}
    (run / "ablation.json").write_text(json.dumps(about | record))
    monkeypatch.chdir(run)
    target = results / "ablation/grid/best-gan/no_penalty.json"
    assert script.add([pathlib.Path()], results) == [target]
    damaged = json.dumps(record | {"without": "penalty"})
    target.write_text(damaged)
    with pytest.raises(errors.InputError, match=r"no_penalty\.json lacks changes"):
        ablations.table(results)


def test_an_undefined_metric_sorts_last():
    worst = ablations._quality({"mean": {"modes": 1.0, "high_quality": None}})
    assert worst < ablations._quality({"mean": {"modes": 1.0, "high_quality": 0.0}})
    assert ablations._quality({"mean": {"kl_uniform": None}}) == worst
    assert ablations._quality({"mean": {"kl_uniform": 0.0}}) == 0.0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("known", del_, "lacks known"),
        ("config.dataset", "../x", "config.dataset must be one of mnist, digits"),
        ("cells.basic.none", del_, "lacks cells.basic.none"),
        ("cells.basic.lgan", [], "cells.basic.lgan must be a list of at least one"),
        ("cells.basic.lgan", 4, "cells.basic.lgan must have 10 seeds with 3 x 2"),
        ("options.classifier_steps", None, "options.classifier_steps must be a whole"),
    ],
)
def test_a_damaged_record_of_lgan(tmp_path, name, value, message):
    record = json.loads((ROOT / "results/lgan/mnist-0.1.json").read_text())
    if value == 4:
        value = record["cells"]["basic"]["lgan"][:4]
    path = tmp_path / "lgan" / "mnist-0.1.json"
    path.parent.mkdir()
    path.write_text(json.dumps(changed(record, name, value)))
    with pytest.raises(errors.InputError, match=rf"mnist-0\.1\.json:? {message}"):
        lgan.tables(tmp_path)


@pytest.mark.parametrize("path", sorted((ROOT / "results/speed").glob("*")))
def test_a_benchmark_without_a_value(tmp_path, path):
    record = json.loads(path.read_text())
    if "efficiency" in record:
        (tmp_path / path.name).write_text(json.dumps(record | {"efficiency": 0}))
        with pytest.raises(errors.InputError, match="efficiency must be a number abov"):
            speed.collect(tmp_path / path.name, tmp_path)
    for name in ("device", "rows"):
        if name in record:
            (tmp_path / path.name).write_text(json.dumps(changed(record, name, del_)))
            with pytest.raises(errors.InputError, match=f"json lacks {name}: make it"):
                speed.collect(tmp_path / path.name, tmp_path)


def test_forms_know_the_data_sets():
    assert stacked_mnist.form("stacked_digits")["config"]["dataset"].fits(
        "stacked_digits"
    )
    assert "dead_rms" in mixtures.form("high_dim")["mean"]
    assert "dead_rms" not in mixtures.form("ring")["mean"]
    with pytest.raises(errors.InputError, match=r"x\[1\] must be a number, not None"):
        checks.check("a", {"x": [1, None]}, {"x": [checks.NUMBER]})
