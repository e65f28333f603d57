"""Faults of a run on one machine: what it says, what it keeps and how it goes on.

Every run is a process of its own that trains a tiny GAN (`forks`), and ends, however
it was stopped, with the very bits of one that nothing disturbed.
"""

import contextlib
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
from support import forks, image_sets
from support.faults import (
    GO_ON,
    LOG,
    SAVED,
    SCRIPT,
    TINY,
    assert_same_end,
    disk,
    lines,
    remount,
    steps,
    until,
)


@pytest.fixture(scope="module")
def whole(scripts, tmp_path_factory) -> pathlib.Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = scripts.run(SCRIPT, *TINY, "--workdir=whole", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert steps(folder / "whole") == [200, 300, 400]
    return folder / "whole"


# Signals


def half_saved(run: pathlib.Path) -> Iterator[pathlib.Path]:
    return (run / "checkpoints").glob("*.orbax-checkpoint-tmp")


def wait_for(
    kind: str, process: forks.Fork, run: pathlib.Path, chance: random.Random
) -> None:
    """Waits until a random moment while a run starts, trains or saves."""
    more, share = chance.randrange(1, 3), chance.random()
    if kind == "starting":
        time.sleep(2 * share)
        return
    # It has dropped the lines of steps after its checkpoint when its bar appears.
    until(process, lambda: "steps/s" in process.stderr)
    enough = lines(run) + more
    until(process, lambda: lines(run) >= enough)
    if kind == "saving":
        until(process, lambda: any(half_saved(run)))
        time.sleep(max(0, share - 0.5) / 25)  # at once, or a bit later
    else:
        time.sleep(share / 5)  # or an interval


def test_killed_ten_times_ends_as_if_never_stopped(scripts, tmp_path):
    command = [*TINY, "--steps=3000", "--method=veegan_plus"]  # the largest state
    done = scripts.run(SCRIPT, *command, "--workdir=whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run, seed = tmp_path / "run", "20170522"
    chance = random.Random(seed)
    kinds = ["saving"] * 5 + ["training"] * 3 + ["starting"] * 2
    chance.shuffle(kinds)
    told, half_written = [f"seed {seed!r}"], 0
    for kind in kinds:
        process = scripts.start(SCRIPT, *command, "--workdir=run", cwd=tmp_path)
        wait_for(kind, process, run, chance)
        process.send_signal(signal.SIGKILL)
        told.append(f"{kind}: {process.wait()} after {lines(run)} lines")
        assert process.returncode == -signal.SIGKILL, [told, process.stderr]
        half_written += any(half_saved(run))
    assert half_written >= 2, told
    done = scripts.run(SCRIPT, *command, "--workdir=run", cwd=tmp_path)
    assert done.returncode == 0, [told, done.stderr]
    try:
        assert_same_end(run, tmp_path / "whole")
    except AssertionError as error:
        raise AssertionError(f"{told}") from error
    assert not list((run / "checkpoints").glob("*tmp")), told


@pytest.mark.parametrize("numbers", [["SIGINT"], ["SIGTERM"], ["SIGINT", "SIGINT"]])
def test_a_signal_saves_and_a_second_one_does_not_wait(
    scripts, whole, tmp_path, numbers
):
    run = tmp_path / "run"
    # Only the signal saves.
    command = [*TINY, "--save_every=1e9", "--workdir=run"]
    process = scripts.start(SCRIPT, *command, cwd=tmp_path)
    assert until(process, lambda: lines(run) >= 1)
    for number in numbers:
        process.send_signal(signal.Signals[number])
        time.sleep(0.02)
    code = process.wait(60)
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


# Damage


def the_largest(folder: pathlib.Path) -> pathlib.Path:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def cut(run):
    path = the_largest(run / "checkpoints" / "400")
    os.truncate(path, path.stat().st_size // 2)


def garbled(run):
    path = the_largest(run / "checkpoints" / "400")
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 4, 3 * len(data) // 4)
    data[middle] = bytes(byte ^ 0x55 for byte in data[middle])
    path.write_bytes(data)


def without_metadata(run):
    (run / "checkpoints" / "400" / "state" / "_METADATA").unlink()


def emptied(run):
    shutil.rmtree(run / "checkpoints" / "400")
    (run / "checkpoints" / "400").mkdir()


@pytest.mark.parametrize("harm", [cut, garbled, without_metadata, emptied])
def test_a_damaged_checkpoint_is_set_aside(scripts, whole, tmp_path, harm):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    harm(run)
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
        (b'{"steps": 4', r"run/config.json is not a run's configuration \(.+\): put "),
        (b"\xff\xfe{}", r"run/config.json is not a run's configuration \(.+\): put "),
        (b"[1]", r"config.json is not a run's configuration \(it holds a list\): put "),
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


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


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


# Disks


def test_a_disk_that_fills_up_again_and_again_stops_a_run_with_one_message(
    scripts, whole, tmp_path
):
    """Wherever it is full: each time the same command, with a little more room."""
    written = sum(path.stat().st_size for path in whole.rglob("*"))
    shares = (int(share * written) // 1024 for share in (0.1, 0.3, 0.9))
    sizes = ["2k", "8k", *(f"{size}k" for size in shares)]
    told = []
    with disk(tmp_path / "disk", sizes[0]) as place:
        run = place / "run"
        for size in sizes:
            remount(place, f"size={size}")
            done = scripts.run(SCRIPT, *TINY, "--workdir=disk/run", cwd=tmp_path)
            assert done.returncode == 1, [size, done.stderr]
            *_, last = done.stderr.strip().splitlines()
            refused = r"cannot be written \(No space left on device\).*: make room, "
            named = rf"disk/run(/{SAVED}|/config.json)? {refused}"
            assert re.search(f"{named}{GO_ON}$", last), [size, done.stderr]
            assert done.stderr.count("cannot be written") == 1
            assert "Traceback" not in done.stderr
            assert "Exception" not in done.stderr
            if "disk/run/checkpoints cannot" in last:
                newest = f"step {steps(run)[-1]} is kept" if steps(run) else "no step"
                assert f"; {newest}" in last
            told.append(last)
        assert "disk/run/config.json" in told[0]
        assert re.search(LOG, told[1])
        kept = steps(run)[-1]
        remount(place, "size=20m")
        done = scripts.run(SCRIPT, *TINY, "--workdir=disk/run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{kept}/400 [00:00" in done.stderr  # where the last one began
        assert_same_end(run, whole)


def test_limits_of_file_sizes_stop_a_run(scripts, whole, tmp_path):
    """The same without a right to mount: a file may have so many bytes."""
    command = [SCRIPT, *TINY, "--workdir=run"]
    for limit, named in {
        200: "run/config.json",
        2000: "run/checkpoints",
        30_000: "a file under .*run",
    }.items():
        done = scripts.run(*command, cwd=tmp_path, RLIMIT_FSIZE=limit)
        assert done.returncode == 1
        *_, last = done.stderr.strip().splitlines()
        refused = rf"{named} cannot be written \(File too large\).*: allow larger"
        assert re.search(rf"{refused} files \(ulimit -f\), {GO_ON}$", last), done.stderr
        assert "Traceback" not in done.stderr
    done = scripts.run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_end(tmp_path / "run", whole)


@contextlib.contextmanager
def read_only(place: pathlib.Path) -> Iterator[None]:
    """Root writes whatever the mode bits say, but on no read-only file system."""
    if os.geteuid():
        modes = {path: path.stat().st_mode for path in [place, *place.rglob("*")]}
        for path, mode in modes.items():
            path.chmod(mode & 0o555)
        yield
        for path, mode in modes.items():
            path.chmod(mode)
    else:
        subprocess.run(["mount", "--bind", place, place], check=True)
        try:
            remount(place, "bind,ro")
            yield
        finally:
            subprocess.run(["umount", place], check=True)


def test_a_read_only_run_can_be_measured_but_not_trained(scripts, whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    ivom = ["run", "--images=4", "--starts=2", "--iterations=2"]
    with read_only(run):
        before = contents(run)
        for folder in ("run", "run/new"):
            done = scripts.run(SCRIPT, *TINY, f"--workdir={folder}", cwd=tmp_path)
            assert done.returncode == 1
            refused = rf"--workdir={folder} cannot be used \((Read-only|Permission)"
            assert re.search(refused, done.stderr), done.stderr
            assert "give a directory that can be written" in done.stderr
            assert "Traceback" not in done.stderr
        done = scripts.run("eval_ivom.py", *ivom, cwd=tmp_path)
        assert done.returncode == 1
        assert "--output=run/ivom cannot be used (" in done.stderr
        assert "Traceback" not in done.stderr
        done = scripts.run("eval_ivom.py", *ivom, "--output=out", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "out" / "results.json").exists()
        assert contents(run) == before


def test_a_file_for_a_work_directory_is_refused_and_kept(scripts, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for flag, why in {
        "thesis.txt": "it is a file",
        "thesis.txt/run": "Not a directory",
        "l" * 256: "File name too long",
    }.items():
        done = scripts.run(SCRIPT, *TINY, f"--workdir={flag}", cwd=tmp_path)
        assert done.returncode == 1
        assert f"--workdir={flag} cannot be used ({why}); give a direc" in done.stderr
        assert "Traceback" not in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


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
    for name in ("-dash %d {x} $HOME 'q\" é 日本\nnew line", "l" * 255):
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


@pytest.mark.parametrize("locale", ["C", "tr_TR.UTF-8"])
def test_an_ascii_locale_prints_and_refuses_what_it_cannot_name(
    scripts, whole, tmp_path, locale
):
    settings = {
        "LC_ALL": locale,  # Turkish has other capitals; not installed, it is C
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
    # "±" in a table, as this locale's terminal can show it.
    assert b"\\xb1" in out or "±".encode() in out
    assert_same_end(tmp_path / "I run", whole)
    if locale != "C":
        return
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
