"""Records: the time that they say the user waited, and their cells in tables."""

import json
import pathlib
import re
import types

import pytest

from veegan_jax.common import metrics_log, records


def test_the_clock_counts_all_commands(tmp_path, monkeypatch):
    seconds = iter((5.0, 12.0, 20.0))
    clock = types.SimpleNamespace(perf_counter=lambda: next(seconds))
    monkeypatch.setattr(metrics_log, "time", clock)
    lines = ({"step": 10, "seconds": 100.5}, {"step": 20, "seconds": 50})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text)
    before = metrics_log.Clock(tmp_path)
    # What this command trains is logged meanwhile, and counts once.
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 30, "seconds": 4}\n')
    assert before.seconds() == 150.5 + 7
    assert metrics_log.Clock(tmp_path / "new")._before == 0


@pytest.mark.parametrize(
    ("mean", "shown"),
    [(9999.4, "9999"), (9999.6, "10000"), (260_000, "260000"), (3e9, "3e+09")],
)
def test_a_cell_shows_ten_thousand_modes_in_full(mean, shown):
    assert records.cell(mean) == shown
    assert records.cell(mean, 12.3) == f"{shown} ± 12"


@pytest.mark.parametrize(
    ("command", "published"),
    [
        ("train.py --workdir=/x/run --seeds=2 --data_dir /x", "train.py --seeds=2"),
        (
            "eval.py /home/me/runs/cifar10/gan --images=3",
            "eval.py runs/cifar10/gan --images=3",
        ),
        ("eval.py runs/a --output=/home/me/runs/b", "eval.py runs/a --output=runs/b"),
        ("train.py --method_file=/home/me/own.py", "train.py --method_file=own.py"),
        ("train.py --only=a=/b --x=1/2", "train.py --only=a=/b --x=1/2"),
    ],
)
def test_a_published_command_has_no_path_of_the_machine(command, published, tmp_path):
    records.publish(tmp_path / "record.json", {"command": f"python scripts/{command}"})
    found = json.loads((tmp_path / "record.json").read_text())
    assert found == {"command": f"python scripts/{published}"}


def test_no_record_of_results_has_a_path_of_a_machine():
    root = pathlib.Path(__file__).parents[2] / "results"
    paths = [*root.rglob("*.json"), *root.rglob("*.md")]
    assert len(paths) > 50
    for path in paths:
        found = re.findall(r"""[\s"'=](/[\w.-]+/[\w./-]*)""", path.read_text())
        assert not found, f"{path}: {found}"
