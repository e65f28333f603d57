"""Processes that decode images for a stream: they change nothing and outlive nobody."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from absl import flags
from support.image_streams import (
    B,
    children,
    command,
    feed,
    initial,
    read,
    take,
    write,
)

from veegan_jax.data import photos, streams

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def parsed():
    """Workers need it: google/grain issue 1355."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """The same images, decoded as needed and in memory."""
    folder = tmp_path_factory.mktemp("streams") / "data"
    write(folder)
    return {"files": read(folder), "memory": read(folder, photos.MEMORY)}


@pytest.mark.parametrize(
    ("kind", "workers", "start"), [("memory", 1, 1), ("files", 2, 7)]
)
def test_workers_change_nothing(lists, kind, workers, start):
    whole = take(lists["memory"], 14)
    rest = take(lists[kind], 14 - start, start_step=start, num_workers=workers)
    assert rest == whole[start:]
    assert not children()


def test_a_worker_that_dies_is_told_at_once(lists):
    with streams.Stream(lists["files"], B, 3, num_workers=2) as stream:
        next(stream)
        assert len(children()) == 2
        os.kill(max(children()), signal.SIGKILL)
        start = time.perf_counter()
        with pytest.raises(RuntimeError, match="process that decodes images died"):
            for _ in range(100):
                next(stream)
        assert time.perf_counter() - start < 20
    assert not children()


SCRIPT = """
import pathlib, sys, time
from absl import flags
from veegan_jax.runtime import program
from veegan_jax.data import photos, streams
from support import image_streams

DATA = flags.DEFINE_string("data", None, "a folder")

def main():
    examples = image_streams.read(pathlib.Path(DATA.value))
    stream = streams.Stream(examples, 4, 3, num_workers=2)
    for _ in range(3):
        print(image_streams.numbers(next(stream)), flush=True)
    print(*image_streams.children(), flush=True)
    HOW

if __name__ == "__main__":
    program.run(main)
"""


def run_script(tmp_path, lists, how):
    """Starts a script that streams with two workers; returns it and its output."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.replace("HOW", how))
    root = lists["files"].files.root
    process = subprocess.Popen(
        [sys.executable, "-W", "error", path, f"--data={root}"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline() for _ in range(4)]
    assert "[" in lines[0], process.communicate()[1]
    return process, lines[:3], [int(pid) for pid in lines[3].split()]


def gone(pids, seconds=20):
    """Whether all of some processes end in time."""
    end = time.monotonic() + seconds
    while any(command(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(command(pid) for pid in pids)


@pytest.mark.parametrize(
    ("how", "status"), [("raise SystemExit(3)", 3), ("time.sleep(60)", -9)]
)
def test_workers_end_with_their_script(tmp_path, lists, how, status):
    """After an error, and when it is killed; signals do not reach them."""
    process, lines, workers = run_script(tmp_path, lists, how)
    assert lines == [f"{numbers}\n" for numbers in take(lists["memory"], 3)]
    assert len(workers) == 2
    if status == -9:
        for pid in workers:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.3)
        assert all(command(pid) for pid in workers)
        process.kill()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == status, stderr
    assert gone(workers)
    if status != -9:
        assert "Traceback" not in stderr and "leaked" not in stderr, stderr


def test_a_dead_worker_ends_the_training(lists):
    with feed(lists["files"], steps=1000, num_workers=2) as trainer:
        run = trainer.run_steps(0, 4)
        state, _ = run(initial(1))
        os.kill(min(children()), signal.SIGKILL)
        with pytest.raises(RuntimeError, match="died"):
            for _ in range(100):
                state, _ = run(state)
    assert not children()
    assert state.step.tolist()[0] % 4 == 0
