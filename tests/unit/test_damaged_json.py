"""Damaged JSON files of ours: one reader, one message; a damaged log blocks nothing."""

import json
import math
import pathlib

import pytest

from lgan_jax import cells
from lgan_jax import options as lgan_options
from veegan_jax import config as configs
from veegan_jax.common import errors, json_files, metrics_log, plots, records
from veegan_jax.experiments import stored
from veegan_jax.presets import resolve
from veegan_jax.runtime import workdirs

DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
DAMAGED = {
    b"": "Expecting value",
    b'{"a": 1': "Expecting",
    b"\xff\xfe\x00": "codec can't decode",
    DEEP: "it is nested too deeply",
    b'{"a": ' * 40 + b"1" + b"}" * 40: "it is nested too deeply",
    b'{"a":' + b"[" * 400 + b"]" * 400 + b"}": "it is nested too deeply",
    b'{"a": ' + b"9" * 5000 + b"}": "Exceeds the limit",
    b'{"a": NaN}': "NaN is no JSON number",
    b'{"a": 1e999}': "1e999 is no finite number",
    b'{"a": 1, "b": 2, "a": 3}': "the name 'a' occurs twice",
    b"[1]": "it holds a list, not an object",
    b"null": "it holds a NoneType, not an object",
}


@pytest.mark.parametrize(("text", "why"), DAMAGED.items(), ids=map(str, range(12)))
def test_the_message_names_file_reason_and_remedy(tmp_path, text, why):
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(errors.InputError) as raised:
        json_files.read(path, "do this")
    assert str(raised.value).startswith(f"{path} cannot be read (")
    assert why in str(raised.value) and str(raised.value).endswith("): do this")
    with pytest.raises(errors.InputError, match=r"cannot be read .*: put it back"):
        workdirs.claim(tmp_path, {"a": 1})
    with pytest.raises(errors.InputError, match=r"cannot be read .*: put it back"):
        stored.configuration(tmp_path)
    assert path.read_bytes() == text


def test_a_folder_or_nothing_in_place_of_a_file_is_named(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(errors.InputError, match=r"a\.json cannot be read \(Is a dir"):
        json_files.read(tmp_path / "a.json", "move it")
    with pytest.raises(errors.InputError, match=r"b\.json cannot be read \(No such"):
        json_files.read(tmp_path / "b.json", "move it")


def test_what_we_write_is_read(tmp_path):
    record = {"a": [1, 2.5, None, "ü"], "b": {"c": {"d": []}}, "command": "python x"}
    records.write(tmp_path / "r.json", record)
    assert records.read(tmp_path / "r.json") == record
    (tmp_path / "r.json").write_bytes(b"\xef\xbb\xbf" + b'{"a": 1}')  # an editor's mark
    assert records.read(tmp_path / "r.json") == {"a": 1}


def set_in(values, name, value):
    *groups, last = name.split(".")
    for group in groups:
        values = values[group]
    values[last] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", "many", "--steps='many' must be a whole number"),
        ("steps", 10.0, "--steps=10.0 must be a whole number"),
        ("steps", True, "--steps=True must be a whole number"),
        ("steps", None, "--steps=None must be a whole number"),
        ("steps", 2**31, "--steps=2147483648 must be below 2**31"),
        ("batch_size", [1], "--batch_size=[1] must be a whole number"),
        ("seeds", 10**12, "--seeds=1000000000000 must be below 2**31"),
        ("seeds", "2", "--seeds='2' must be a whole number"),
        ("first_seed", -1, "--first_seed=-1 must be in [0, 2**32)"),
        ("dataset", "moon", "unknown dataset 'moon'"),
        ("dataset", 1, "--dataset=1 must be a text"),
        ("method", ["gan"], "unhashable type"),
        ("networks.generator_widths", 8, "must be whole numbers"),
        ("networks.generator_widths", [8, "x"], "=(8, 'x') must be whole numbers"),
        ("networks.generator_widths", [10**400], "... must be below 2**31"),
        ("networks.dropout", 10**400, "must be in [0, 1)"),
        ("networks.batch_norm", 1, "--batch_norm=1 must be true or false"),
        ("networks.kind", {}, "unhashable type"),
        ("networks", [], "KeyError('kind')"),
        ("data.size", 0, "--size=0 must be at least 1"),
        ("data.scale", "1", "--scale='1' must be a number"),
        ("optimizer.learning_rate", "fast", "--learning_rate='fast' must be a number"),
        ("optimizer.learning_rate", 0, "--learning_rate=0 must be above 0"),
        ("optimizer", None, "must be a mapping"),
        ("objective.gamma", 1.0, "unexpected keyword argument 'gamma'"),
        ("colour", 1, "unexpected keyword argument 'colour'"),
    ],
)
def test_a_configuration_of_wrong_values_is_refused(tmp_path, name, value, message):
    config = resolve.resolve("gan", "ring")
    identity = configs.to_json(config) | {"seeds": 2, "first_seed": 5}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"version": workdirs.VERSION, **identity}))
    assert stored.configuration(tmp_path) == (config, range(5, 7))
    set_in(identity, name, value)
    path.write_text(json.dumps({"version": workdirs.VERSION, **identity}))
    with pytest.raises(errors.InputError) as raised:
        stored.configuration(tmp_path)
    text = str(raised.value)
    assert text.startswith(f"{path} does not describe one run of a method (")
    assert message in text and text.endswith(
        "; give a work directory of a training script"
    )


def log(workdir: pathlib.Path, *lines: bytes) -> pathlib.Path:
    path = workdir / "metrics.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def line(step: int, **more) -> bytes:
    values = {"step": step, "seconds": 1.5, "modes": [8, None]} | more
    return json.dumps(values).encode()


@pytest.mark.parametrize(
    "damage",
    [
        DEEP,
        b'{"step": 20}',
        line(-3),
        line(0),
        line(10**30),
        line(20, seconds=-1),
        line(20, seconds="2"),
        line(20, seconds=True),
        line(True),
        line(20, modes=8),
        line(20, modes=["8", 9]),
        line(20, modes=[8]),
        line(20, modes=[10**400, 1]),
        line(20, modes=[[8], [9]]),
        line(20, modes=[math.nan, 1]),
        b'{"step": 20, "step": 20, "seconds": 1}',
    ],
    ids=range(16),
)
def test_a_line_that_cannot_be_read_blocks_no_run(tmp_path, caplog, damage):
    path = log(tmp_path, line(10), damage, line(30), line(40))
    with pytest.raises(errors.InputError, match="line 2 cannot be read"):
        metrics_log.read(tmp_path)
    metrics_log.MetricsLog(tmp_path, 30).close()
    assert f"{path}: line 2 cannot be read and is left out" in caplog.text
    assert damage in (tmp_path / "metrics.jsonl.damaged").read_bytes()
    kept = metrics_log.read(tmp_path)
    assert [one["step"] for one in kept] == [10, 30]
    # The seconds of the lost line are lost.
    assert [one["seconds"] for one in kept] == [1.5, None]
    assert metrics_log.wall_seconds(tmp_path) is None
    metrics_log.MetricsLog(tmp_path, 30).close()
    assert metrics_log.read(tmp_path) == kept


def test_blank_lines_of_a_log_are_passed_over(tmp_path):
    log(tmp_path, b"", line(10), b" \r", b"", line(20))
    assert [one["step"] for one in metrics_log.read(tmp_path)] == [10, 20]
    metrics_log.MetricsLog(tmp_path, 20).close()
    assert not list(tmp_path.glob("*.damaged"))
    assert metrics_log.wall_seconds(tmp_path) == 3
    log(tmp_path, b"", line(10), b"{", line(20))
    with pytest.raises(errors.InputError, match="line 3 cannot be read"):
        metrics_log.read(tmp_path)


def test_a_log_that_is_a_folder_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(errors.InputError, match=r"metrics\.jsonl cannot be read \(Is"):
        metrics_log.MetricsLog(tmp_path, 0)


def test_a_metric_that_some_lines_lack_is_drawn_where_it_is(tmp_path):
    log(tmp_path, line(10), line(20, kl=[1, 2]), line(30))
    lines = metrics_log.read(tmp_path)
    assert metrics_log.names(lines) == ["modes", "kl"]
    assert metrics_log.wall_seconds(tmp_path) == 4.5
    plots.curves(lines, ["modes", "kl", "other"], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", [DEEP, b'{"seed": 0}', b"[]"], ids=["a", "b", "c"])
def test_a_damaged_cell_of_the_amplification_is_measured_again(tmp_path, text):
    path = cells.cell_path(tmp_path, lgan_options.BASIC, "lgan", 0)
    path.parent.mkdir()
    assert not cells.is_measured(path)
    good = b'{"seed": 0, "shares": [0.5], "accuracy": [[[9.0]]], "seconds": 1.0}'
    path.write_bytes(good)
    assert cells.is_measured(path)
    path.with_suffix(".npz").write_bytes(b"PK")
    assert not cells.is_measured(path)
    assert cells.is_measured(path)  # without its images, as those of other seeds are
    path.write_bytes(text)
    assert not cells.is_measured(path)
    assert path.with_name(path.name + ".damaged").read_bytes() == text
