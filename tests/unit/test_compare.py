"""bench/compare.py names the rows of a benchmark that fell by more than their range."""

import json
import pathlib

import compare
import pytest

from veegan_jax.common import errors

RESULTS = pathlib.Path(__file__).parents[2] / "results" / "speed"
RECORDS = sorted(path.name for path in RESULTS.glob("*.json"))


def record(rates=(90.0, 100.0, 110.0), ratio=(2.0, [1.8, 2.2]), **changes) -> dict:
    """A record of one row, of training.py unless changed."""
    row = {
        "method": "gan",
        "preset": "quick",
        "seeds": 1,
        "jax_steps_per_second": list(rates),
        "torch_steps_per_second_by_threads": {"1": [50.0, 50.0, 50.0]},
        "ratio": ratio[0],
        "ratio_range": ratio[1],
    }
    about = {
        "command": "python scripts/bench/training.py",
        "versions": {"jax": "0.10.2", "python": "3.11.7"},
        "device": "2 x cpu (A)",
        "torch": "2.13.0",
    }
    return about | {"rows": [row]} | changes


@pytest.fixture
def report(tmp_path):
    """Compare two records, or texts, written to files."""

    def write(name, content):
        path = tmp_path / name
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text)
        return path

    return lambda old, new: compare.report(
        write("old.json", old), write("new.json", new)
    )


@pytest.mark.parametrize(
    ("rates", "fell", "verdict"),
    [
        ((60.0, 70.0, 81.0), True, "FELL: -10.0% beyond the ranges"),
        ((60.0, 70.0, 90.0), False, "within the ranges"),  # touches the range
        ((60.0, 300.0), False, "within the ranges"),
        ((132.0, 140.0), False, "rose: +20.0% beyond the ranges"),
    ],
)
def test_a_row_falls_when_its_best_is_below_the_old_worst(rates, fell, verdict, report):
    text, any_fell = report(record(), record(rates))
    assert any_fell == fell and verdict in text
    assert ("fell: gan, quick, seeds 1: jax_steps_per_second" in text) == fell
    assert "90 to 110" in text and "torch_steps" not in text


def test_between_machines_only_ratios_are_compared(report):
    other = record((1.0, 2.0), device="2 x cpu (B)", torch="2.14.0")
    text, fell = report(record(), other)
    assert not fell and "jax_steps_per_second" not in text
    assert "warning: they differ in device, torch; rates are not compared" in text
    assert "2 x cpu (A)" in text and "2 x cpu (B)" in text
    text, fell = report(record(), other | record(ratio=(1.5, [1.4, 1.71])))
    assert fell and "fell: gan, quick, seeds 1: ratio" in text
    assert "FELL: -5.0% beyond" in text


def test_what_an_older_record_does_not_say_is_no_difference(report):
    new = record(processor="A", cpu_cores=2)
    new["versions"]["jaxlib"] = "0.10.2"
    text, _ = report(record(), new)
    assert "warning" not in text and "jaxlib 0.10.2" in text
    assert "jax_steps_per_second" in text


def test_missing_and_new_rows_are_named_and_are_no_fall(report):
    old, new = record(), record()
    old["rows"] += [old["rows"][0] | {"seeds": 5}]
    new["rows"] += [new["rows"][0] | {"preset": "paper"}]
    text, fell = report(old, new)
    assert not fell
    assert "missing: gan, quick, seeds 5: jax_steps_per_second" in text
    assert "new: gan, paper, seeds 1: ratio" in text


def test_forms_of_a_row_are_rows_and_rivals_are_none():
    found = dict(compare.rows({"jax_steps_per_second_by_form": {"scan": [2.0, 4.0]}}))
    name = "jax_steps_per_second_by_form: scan"
    assert found == {name: compare.Row(3.0, 2.0, 4.0, False)}
    rivals = {"a_per_second_by_form": {"flax": [1.0]}, "scipy": {"b_per_second": [1.0]}}
    assert not dict(compare.rows(rivals))


def test_more_flops_or_bytes_are_a_fall(report):
    def counted(flops, size):
        row = {"case": "ring-gan", "flops": flops, "temporary_bytes": size}
        return record(command="python scripts/bench/scaling.py", rows=[row])

    text, fell = report(counted(100, 100), counted(125, 100))
    assert fell and "fell: ring-gan: flops" in text and "-25.0%" in text
    assert report(counted(100, 100), counted(80, 125))[1]
    assert not report(counted(100, 100), counted(80, 100))[1]


def test_a_record_from_before_precisions_compares_with_one_of_float32(report):
    new = record((60.0, 70.0, 81.0))
    new["rows"][0]["precision"] = "float32"
    text, fell = report(record(), new)
    assert fell and "missing" not in text and "1 of 2 rows fell" in text


@pytest.mark.parametrize(
    ("field", "better"), (("seconds", [1.0, 1.5]), ("milliseconds", [0.9, 1.9]))
)
def test_a_longer_time_falls(field, better, tmp_path):
    for name, times in (("old", better), ("new", [2.5, 2.0])):
        rows = [{"name": "ring", "start": "warm", field: times}]
        (tmp_path / f"{name}.json").write_text(json.dumps(record(rows=rows)))
    old, new = (tmp_path / f"{n}.json" for n in ("old", "new"))
    text, fell = compare.report(old, new)
    assert fell and f"fell: ring, warm: {field}" in text and "(2 to 2.5)" in text
    text, fell = compare.report(new, old)
    assert not fell and "rose" in text


@pytest.mark.parametrize("name", RECORDS)
def test_committed_records_compare(name, tmp_path):
    copy = tmp_path / "copy.json"
    copy.write_bytes((RESULTS / name).read_bytes())
    text, fell = compare.report(RESULTS / name, copy)
    assert not fell and "0 of " in text and "FELL" not in text
    assert "missing" not in text and "nan" not in text


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("{", r"new.json cannot be read .*: make it again"),
        ("[1]", "holds a list, not an object"),
        ({}, "new.json is no record of a benchmark: give two records"),
        (record(command="python scripts/train_mixtures.py"), "no record of a bench"),
        (record(command=3), "no record of a benchmark"),
        (record(command="python scripts/bench/images.py"), "of training, .* of images"),
        (record(tiny=True), "old.json is of training, .* of training --tiny"),
        (record(rows=[]), "have no row in common: measure the same again"),
        (record(rows=3), "have no row in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(new, message, report):
    with pytest.raises(errors.InputError, match=message):
        report(record(), new)


def test_a_file_with_itself_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(record()))
    with pytest.raises(errors.InputError, match="are the same file"):
        compare.report(path, tmp_path / "." / "a.json")
    with pytest.raises(errors.InputError, match=r"b.json cannot be read \(No such"):
        compare.report(path, tmp_path / "b.json")
