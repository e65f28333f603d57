"""Records of one training with different seeds make one row of a table."""

import json

import numpy as np
import pytest
from support import programs, records_of_runs
from tables import common, mixtures, seeds

from veegan_jax.common import errors

MODES = {0: 7.0, 1: 8.0, 2: 6.0, 3: 8.0}
PLANE = np.zeros((2, 4, 2), np.float32)


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("make_tables")


def leave(folder, numbers, **changes):
    """A finished run of the ring with these seeds, whose modes are those of MODES."""
    plane = PLANE + numbers[0]
    record = records_of_runs.leave(folder, "ring", "quick", plane=plane)
    per_seed = [record["mean"] | {"seed": n, "modes": MODES[n]} for n in numbers]
    modes = [MODES[n] for n in numbers]
    record["mean"] |= {"modes": float(np.mean(modes))}
    record["std"] = dict.fromkeys(record["mean"])
    record["options"]["first_seed"] = numbers[0]
    record |= {"per_seed": per_seed, "wall_seconds": 60.0 * len(numbers)} | changes
    (folder / "results.json").write_text(json.dumps(record))
    return folder


def row(results):
    return common.read(results / "ring" / "quick", mixtures.form("ring"))["gan"]


def test_later_seeds_join_the_row(script, tmp_path):
    results = tmp_path / "results"
    for numbers in ([2, 3], [1], [0]):
        script.add([leave(tmp_path / str(numbers[0]), numbers)], results)
    names = sorted(path.name for path in (results / "ring/quick").glob("*.json"))
    assert names == ["gan-from-1.json", "gan-from-2.json", "gan.json"]
    found = row(results)
    assert seeds.numbers(found) == [0, 1, 2, 3]
    assert found["mean"]["modes"] == pytest.approx(np.mean([*MODES.values()]))
    assert found["std"]["modes"] == pytest.approx(np.std([*MODES.values()], ddof=1))
    assert found["std"]["spread"] == 0  # each seed has the same
    shown = mixtures.summary({"ring": {"gan": found}})
    assert "7.2 ± 1.0" in shown
    told = [line.split("|") for line in common.repeat({"gan": found}).splitlines()[2:]]
    assert [line[4].strip() for line in told] == ["1 from 0", "1 from 1", "2 from 2"]
    assert [line[6].strip() for line in told] == ["1.0", "1.0", "2.0"]
    with np.load(common.arrays_of(results / "ring" / "quick", "gan")) as arrays:
        assert (arrays["plane"] == 0).all()  # of seed 0


def test_records_without_seed_0_make_a_row_too(script, tmp_path):
    results = tmp_path / "results"
    script.add([leave(tmp_path / "runs", [2, 3])], results)
    assert seeds.numbers(row(results)) == [2, 3]
    with np.load(common.arrays_of(results / "ring" / "quick", "gan")) as arrays:
        assert (arrays["plane"] == 2).all()


def test_a_diverged_seed_is_left_out(script, tmp_path):
    results, record = tmp_path / "results", {"seed": 1, "failed": "became non-finite"}
    script.add([leave(tmp_path / "0", [0]), leave(tmp_path / "2", [2])], results)
    script.add([leave(tmp_path / "1", [1], per_seed=[record])], results)
    found = row(results)
    assert seeds.numbers(found) == [0, 1, 2]
    assert found["mean"]["modes"] == 6.5
    no_modes = {"seed": 3, "modes": None}
    names = dict.fromkeys(found["mean"], 1.0)
    script.add([leave(tmp_path / "3", [3], per_seed=[names | no_modes])], results)
    found = row(results)
    assert (found["mean"]["modes"], found["std"]["modes"]) == (None, None)


def test_a_seed_is_in_one_record_only(script, tmp_path):
    results = tmp_path / "results"
    script.add([leave(tmp_path / "a", [1, 2])], results)
    script.add([leave(tmp_path / "again", [1, 2])], results)  # takes its place
    whole = leave(tmp_path / "b", [0, 1])
    message = r"from-1\.json and .*b/results\.json both have seed 1: move one"
    with pytest.raises(errors.InputError, match=message):
        script.add([whole], results)
    assert not (results / "ring/quick/gan.json").exists()
    with pytest.raises(errors.InputError, match="both have seed 1"):
        script.add([whole, leave(tmp_path / "c", [1])], tmp_path / "others")
    assert not (tmp_path / "others").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"config": {"dataset": "ring", "method": "gan", "steps": 20}},
            r"differ in steps \(10 and 20\), but a row has seeds of one configuration",
        ),
        (
            {"options": {"preset": "quick", "first_seed": 1, "samples": 9}},
            r"differ in samples \(2500 and 9\)",
        ),
    ],
)
def test_seeds_of_other_configurations_do_not_join(script, tmp_path, changes, message):
    results = tmp_path / "results"
    options = {"preset": "quick", "first_seed": 0, "samples": 2500}
    script.add([leave(tmp_path / "a", [0], options=options)], results)
    with pytest.raises(errors.InputError, match=message):
        script.add([leave(tmp_path / "b", [1], **changes)], results)
    assert seeds.numbers(row(results)) == [0]


def test_the_curves_of_all_seeds_are_joined(tmp_path):
    folder = tmp_path / "ring"
    folder.mkdir()
    steps, kl = np.array([10.0, 20.0]), np.array([[2.0, 1.0]])

    def keep(name, **arrays):
        (folder / f"{name}.json").write_text("{}")
        np.savez(folder / f"{name}.npz", **arrays)

    def curves(unit="minutes"):
        return common.curves(folder, "gan", unit, ["kl"])

    assert curves() == {}
    keep("gan", minutes=steps, kl=kl)  # older than its steps
    keep("gan-from-1", minutes=steps + 6, steps=steps, kl=kl + 2)
    assert curves()["kl"].tolist() == [[2, 1]]
    keep("gan", minutes=steps, steps=steps, kl=kl)
    keep("gan-from-2", minutes=steps, steps=steps[:1], kl=kl[:, :1])
    found = curves()
    assert found["kl"].tolist() == [[2, 1], [4, 3]]  # of seeds 0 and 1
    assert found["minutes"].tolist() == [13, 23]
    assert curves("steps")["steps"].tolist() == [10, 20]
    keep("gan", other=kl)
    assert curves()["kl"].tolist() == [[4, 3]]


def test_a_damaged_later_record_is_named(script, tmp_path):
    results = tmp_path / "results"
    script.add([leave(tmp_path / "0", [0]), leave(tmp_path / "1", [1])], results)
    path = results / "ring/quick/gan-from-1.json"
    record = json.loads(path.read_text())
    record["per_seed"][0]["modes"] = "many"
    path.write_text(json.dumps(record))
    message = r"gan-from-1\.json: per_seed\[0\]\.modes must be a number"
    with pytest.raises(errors.InputError, match=message):
        row(results)
    path.write_text(json.dumps(record | {"per_seed": [{}]}))
    with pytest.raises(errors.InputError, match=r"lacks per_seed\[0\]\.seed"):
        row(results)
