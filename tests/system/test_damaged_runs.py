"""Damaged checkpoints, logs and configurations: set aside or refused, never lost."""

import os
import re
import shutil

import pytest
from support import image_sets
from support.faults import (
    SCRIPT,
    TINY,
    assert_same_end,
    contents,
)


def test_a_damaged_checkpoint_is_set_aside(scripts, whole, tmp_path):
    """One cut short; test_checkpoint.py has other harm."""
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    files = [p for p in (run / "checkpoints" / "400").rglob("*") if p.is_file()]
    path = max(files, key=lambda path: path.stat().st_size)
    os.truncate(path, path.stat().st_size // 2)
    # A second one: what the first was set aside as is not overwritten.
    aside = run / "checkpoints" / "damaged-400"
    aside.mkdir()
    (aside / "kept").touch()
    # And what a save that was killed left behind.
    (run / "checkpoints" / "350.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    harmed = {
        str(path.relative_to(run / "checkpoints" / "400")): path.read_bytes()
        for path in (run / "checkpoints" / "400").rglob("*")
        if path.is_file()
    }
    done = scripts.run(SCRIPT, *TINY, "--workdir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = rf"checkpoint {run}/checkpoints/400 cannot be read \(.+\): set aside as "
    assert re.search(words + "damaged-400-2", done.stderr)
    assert "Traceback" not in done.stderr
    assert (aside / "kept").exists()
    again = run / "checkpoints" / "damaged-400-2"
    assert harmed == {
        str(path.relative_to(again)): path.read_bytes()
        for path in again.rglob("*")
        if path.is_file()
    }
    assert not list((run / "checkpoints").glob("*tmp"))
    assert_same_end(run, whole)


def test_lost_checkpoints_start_a_run_over_and_it_says_so(scripts, whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    for step in (200, 300, 400):
        shutil.rmtree(run / "checkpoints" / str(step))
    done = scripts.run(SCRIPT, *TINY, "--workdir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = "metrics.jsonl has step 400, but there is no checkpoint: the run "
    assert words + "starts over" in done.stderr
    assert_same_end(run, whole)


def test_a_garbled_log_is_kept_and_its_good_lines_are_used(scripts, whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    log = run / "metrics.jsonl"
    first, *rest = log.read_bytes().splitlines(keepends=True)
    harmed = b"".join([first, b"\0\xff\xfe\n", b"[1]\n", *rest])
    log.write_bytes(harmed)
    done = scripts.run(SCRIPT, *TINY, "--workdir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "run/metrics.jsonl: line 2, 3 cannot be read and is left out" in done.stderr
    assert "kept as metrics.jsonl.damaged" in done.stderr
    assert (run / "metrics.jsonl.damaged").read_bytes() == harmed
    assert_same_end(run, whole)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"steps": 4', r"run/config.json cannot be read \(.+\): put "),
        (b"\xff\xfe{}", r"run/config.json cannot be read \(.+\): put "),
        (
            b"[1]",
            r"run/config.json cannot be read \(it holds a list, .+\): put ",
        ),
        (None, "--workdir=run holds checkpoints, but config.json, which says of what "),
    ],
)
def test_a_damaged_configuration_is_refused(scripts, whole, tmp_path, text, words):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "config.json").unlink()
    if text is not None:
        (run / "config.json").write_bytes(text)
    before = contents(run)
    done = scripts.run(SCRIPT, *TINY, "--workdir=run", cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(words, done.stderr), done.stderr
    assert "or give another --workdir" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(run) == before


@pytest.mark.parametrize("script", ["train_cifar10.py", "lgan_amplify.py"])
def test_a_truncated_data_file_stops_a_run_before_any_work(scripts, tmp_path, script):
    image_sets.write(tmp_path / "data")
    path = next((tmp_path / "data").rglob("mnist-train.array_record-00001*"))
    os.truncate(path, path.stat().st_size // 2)
    flags = ["--dataset=mnist", "--data_dir=data", "--workdir=run"]
    done = scripts.run(script, *flags, cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(rf"data/.*{path.name} cannot be read \(.+\)", done.stderr), (
        done.stderr
    )
    assert "Traceback" not in done.stderr
    left = {path.name for path in (tmp_path / "run").glob("*")}
    assert left <= {"config.json", ".in_use.json", ".in_use.lock"}
