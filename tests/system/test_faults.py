"""Faults of a run on one machine: what it says, what it keeps and how it goes on.

Every run is a process of its own that trains a tiny GAN (`forks`), and ends, however
it was stopped, with the very bits of one that nothing disturbed.
"""

import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from support import forks
from support.faults import (
    SCRIPT,
    TINY,
    assert_same_end,
    lines,
    steps,
    until,
)

# Signals


def half_saved(run: pathlib.Path) -> Iterator[pathlib.Path]:
    return (run / "checkpoints").glob("*.orbax-checkpoint-tmp")


def wait_for(
    kind: str, process: forks.Fork, run: pathlib.Path, chance: random.Random
) -> None:
    """Waits until a random moment while a run starts or trains, or within a save."""
    more, share = chance.randrange(1, 3), chance.random()
    if kind == "starting":
        time.sleep(2 * share)
        return
    # It has dropped the lines of steps after its checkpoint when its bar appears.
    until(process, lambda: "steps/s" in process.stderr)
    enough = lines(run) + more
    until(process, lambda: lines(run) >= enough)
    if kind == "training":
        time.sleep(share / 5)  # or an interval
        return
    while until(process, lambda: any(half_saved(run))):
        time.sleep(share / 50)
        process.send_signal(signal.SIGSTOP)
        if any(half_saved(run)):
            return
        process.send_signal(signal.SIGCONT)  # the save has ended: in the next one


def test_killed_again_and_again_ends_as_if_never_stopped(scripts, tmp_path):
    command = [*TINY, "--steps=2000"]
    done = scripts.run(SCRIPT, *command, "--workdir=whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    chance = random.Random(20170522)
    told = []
    for kind in ("saving", "training", "saving", "starting"):
        process = scripts.start(SCRIPT, *command, "--workdir=run", cwd=tmp_path)
        wait_for(kind, process, run, chance)
        process.send_signal(signal.SIGKILL)
        told.append(f"{kind}: {process.wait()} after {lines(run)} lines")
        assert process.returncode == -signal.SIGKILL, [told, process.stderr]
        assert kind != "saving" or any(half_saved(run)), told
    done = scripts.run(SCRIPT, *command, "--workdir=run", cwd=tmp_path)
    assert done.returncode == 0, [told, done.stderr]
    try:
        assert_same_end(run, tmp_path / "whole")
    except AssertionError as error:
        raise AssertionError(f"{told}") from error
    assert not list((run / "checkpoints").glob("*tmp")), told


@pytest.mark.parametrize("numbers", [["SIGINT"], ["SIGINT", "SIGINT"]])
def test_a_signal_saves_and_a_second_one_does_not_wait(
    scripts, whole, tmp_path, numbers
):
    for attempt in range(10):  # on a busy machine a run may end before the signal comes
        run = tmp_path / f"run{attempt}"
        # Only the signal saves.
        command = [*TINY, "--save_every=1e9", f"--workdir={run}"]
        process = scripts.start(SCRIPT, *command, cwd=tmp_path)
        until(process, lambda run=run: lines(run) >= 1)
        for number in numbers:
            process.send_signal(signal.Signals[number])
            time.sleep(0.02)
        code = process.wait(60)
        if code != 0:
            break
    assert "Traceback" not in process.stderr
    if len(numbers) == 1:
        assert code == os.EX_TEMPFAIL, process.stderr
        at = re.search(
            rf"stopped by {numbers[0]} at step (\d+) of 400, saved; give the same "
            "command to go on",
            process.stderr,
        )
        assert at and steps(run) == [int(at[1])]
    elif code != os.EX_TEMPFAIL:  # it had saved before the second one came
        assert code == 128 + signal.SIGINT, process.stderr
        assert "stopped at once by SIGINT; give the same command" in process.stderr
    done = scripts.run(SCRIPT, *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_end(run, whole)


# Two runs at a time


def test_a_second_run_is_refused_until_the_first_has_died(scripts, tmp_path):
    run = tmp_path / "run"
    command = [SCRIPT, *TINY, "--workdir=run"]
    first = scripts.start(*command, "--steps=100000", cwd=tmp_path)
    assert until(first, lambda: (run / ".in_use.json").exists())
    first.send_signal(signal.SIGSTOP)  # it keeps the lock and uses no time
    other = scripts.run(*command, "--steps=100000", cwd=tmp_path)
    assert other.returncode == 1
    assert f"--workdir=run is in use by process {first.pid} on " in other.stderr
    assert "wait until it ends, or give another --workdir" in other.stderr
    assert "Traceback" not in other.stderr
    (run / ".in_use.json").write_text("{")  # what it says may be damaged
    other = scripts.run(*command, "--steps=100000", cwd=tmp_path)
    assert "--workdir=run is in use by another process: wait" in other.stderr
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    third = scripts.start(*command, "--steps=100000", cwd=tmp_path)
    assert until(third, lambda: lines(run) > 0), third.stderr
    third.send_signal(signal.SIGTERM)
    assert third.wait() == os.EX_TEMPFAIL, third.stderr
    at = re.search(r"stopped by SIGTERM at step (\d+) of 100000, saved", third.stderr)
    assert at and steps(run)[-1] == int(at[1])  # a slow machine saved before, too


def test_a_measurement_in_use_is_refused(scripts, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    command = ["eval_ivom.py", "run", "--images=4", "--starts=2", "--output=out"]
    first = scripts.start(*command, "--iterations=100000", cwd=tmp_path)
    assert until(first, lambda: (tmp_path / "out" / ".in_use.json").exists())
    first.send_signal(signal.SIGSTOP)
    other = scripts.run(*command, "--iterations=100000", cwd=tmp_path)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert other.returncode == 1
    assert f"--output=out is in use by process {first.pid} on " in other.stderr
    assert "give another --output" in other.stderr
    assert "Traceback" not in other.stderr


# Names, locales and clocks


def test_odd_names_of_work_directories(scripts, whole, tmp_path):
    name = "-dash %d {x} $HOME 'q\" é 日本\nnew line"
    name += "l" * (255 - len(name.encode()))
    done = scripts.run(SCRIPT, *TINY, f"--workdir={name}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert name in done.stdout
    assert_same_end(tmp_path / name, whole)


def as_typed(*arguments, cwd, **environment):
    """The script in a process that starts with other settings."""
    return subprocess.Popen(
        [sys.executable, forks.SCRIPTS / SCRIPT, *TINY, *arguments],
        cwd=cwd,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_an_ascii_locale_prints_and_refuses_what_it_cannot_name(
    scripts, whole, tmp_path
):
    settings = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONHASHSEED": "77",
        "TZ": "Pacific/Chatham",
        "JAX_COMPILATION_CACHE_DIR": str(scripts.compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    process = as_typed("--workdir=I run", cwd=tmp_path, **settings)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert b"\\xb1" in out  # "±" in a table, as this locale's terminal can show it
    assert_same_end(tmp_path / "I run", whole)
    process = as_typed("--workdir=é".encode(), cwd=tmp_path, **settings)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert b"this name is not UTF-8 for a program with this locale" in err
    assert b"Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["I run"]


JUMP = """\
import os, time
real = time.time
def set_back():
    return real() - 3600 * os.path.exists({path!r})
time.time = set_back
time.time_ns = lambda: int(1e9 * set_back())
"""


def test_a_clock_that_is_set_back_loses_nothing(scripts, whole, tmp_path):
    run, jump = tmp_path / "run", tmp_path / "jump"
    (tmp_path / "sitecustomize.py").write_text(JUMP.format(path=str(jump)))
    settings = {
        "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
        "JAX_COMPILATION_CACHE_DIR": str(scripts.compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    process = as_typed("--workdir=run", cwd=tmp_path, **settings)
    while lines(run) < 1:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    jump.touch()
    reached = steps(run)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    assert process.returncode in (0, os.EX_TEMPFAIL), err
    if process.returncode:  # else it had ended before
        assert steps(run)[-1] > max(reached, default=0)
    # Its successor starts an hour before it did.
    process = as_typed("--workdir=run", cwd=tmp_path, **settings)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert b"400/400" in err
    assert not re.search(rb"\[-|<-|, -", err)  # time taken, time left and rate
    files = sorted(run.glob("events.out.tfevents.*"))
    assert files[-1].stat().st_mtime_ns == max(p.stat().st_mtime_ns for p in files)
    assert_same_end(run, whole)
