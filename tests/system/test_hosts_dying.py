"""Two hosts of one run, played by two processes: what one does when the other dies.

Nobody may wait for ever for one that is gone, and what is left goes on, given the same
command, to the very bits of a run that lost nobody.
"""

import os
import pathlib
import re
import signal
import socket
from collections.abc import Iterator

import pytest
from support import forks
from support.faults import (
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

from veegan_jax.runtime import watchdog

TOGETHER = [*TINY, "--steps=180", "--interval=12", "--parallel=pmap"]
SOON = 120  # seconds; a minute is enough where the cores are free
STOPS = "stops. Give the same command to all of them to go on"


def pair(scripts, workdir: str, *flags, cwd: pathlib.Path) -> list[forks.Fork]:
    """Starts both."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = [*TOGETHER, f"--workdir={workdir}", "--distributed", *flags]
    if any(flag.startswith("--method_file=") for flag in flags):
        flags.remove("--method=gan")
    flags += [f"--coordinator=localhost:{port}", "--num_processes=2"]
    return [
        scripts.start(SCRIPT, *flags, f"--process_id={process}", cwd=cwd)
        for process in (0, 1)
    ]


def words(process: forks.Fork) -> str:
    """Return what a process printed, without its progress bar."""
    return "\n".join(t for t in process.stderr.splitlines() if "steps/s" not in t)


def trained(processes: list[forks.Fork], run: pathlib.Path, more: int) -> bool:
    """Waits for lines of the log after those there were; False if one has ended."""
    # The first drops the lines of steps after its checkpoint before its bar appears.
    until(processes[0], lambda: "steps/s" in processes[0].stderr)
    enough = lines(run) + more
    return until(processes[0], lambda: lines(run) >= enough)


def assert_left(process: forks.Fork, said: str) -> None:
    """It ends soon, because another one is gone, and says so.

    JAX aborts a process that has heard of it, and may be faster than we are.
    """
    code = process.wait(SOON)
    if code == -signal.SIGABRT:
        assert (
            "detected fatal errors. This most likely indicates that" in process.stderr
        )
    else:
        assert code == os.EX_TEMPFAIL, process.stderr  # the same command goes on
        assert re.search(said, words(process)), process.stderr
        assert STOPS in words(process)


@pytest.fixture(scope="module")
def whole(scripts, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("together")
    both = pair(scripts, "whole", cwd=folder)
    assert [p.wait() for p in both] == [0, 0], [p.stderr for p in both]
    return folder / "whole"


@pytest.fixture(scope="module", autouse=True)
def abandoned(
    scripts, tmp_path_factory
) -> Iterator[dict[str, tuple[list[forks.Fork], pathlib.Path]]]:
    """Runs whose one process has just been frozen or killed.

    The others notice after up to a minute; meanwhile the other tests of this file run.
    """
    folder = tmp_path_factory.mktemp("abandoned")
    runs = {
        name: (pair(scripts, name, "--steps=100000", cwd=folder), folder / name)
        for name in ("frozen 0", "frozen 1", "killed 1")
    }
    for name, (processes, run) in runs.items():
        assert trained(processes, run, 2)
        assert until(processes[0], lambda run=run: steps(run))  # in the background
        what, number = name.split()
        stop = signal.SIGSTOP if what == "frozen" else signal.SIGKILL
        processes[int(number)].send_signal(stop)
    yield runs
    scripts.kill_all()


def test_a_run_that_loses_one_after_the_other_ends_as_if_it_had_not(
    scripts, whole, tmp_path
):
    with disk(tmp_path / "disk", "200k") as place:
        run = place / "run"

        def both() -> list[forks.Fork]:
            return pair(scripts, "disk/run", cwd=tmp_path)

        # The disk of the first is full.
        first, second = both()
        assert (first.wait(), second.wait(SOON)) == (1, 1), [
            first.stderr,
            second.stderr,
        ]
        full = rf"disk/run/{SAVED} cannot be written \(No space left on device\)"
        assert re.search(full, words(first)), first.stderr
        host = socket.gethostname()
        assert re.search(f"process 0 on {host} failed: .*{full}", words(second))
        assert STOPS in words(second)
        for process in (first, second):
            assert "Traceback" not in process.stderr
        remount(place, "size=20m")
        kept = steps(run)
        assert kept

        # A signal that only the second gets.
        first, second = both()
        assert trained([first, second], run, 2)
        second.send_signal(signal.SIGTERM)
        assert (first.wait(SOON), second.wait(SOON)) == (75, 75), [
            first.stderr,
            second.stderr,
        ]
        at = re.search(r"stopped by SIGTERM at step (\d+) of 180, saved", first.stderr)
        assert at and steps(run)[-1] == int(at[1]) > kept[-1], first.stderr
        assert not words(second)  # said once

        # The first is gone at once.
        first, second = both()
        assert trained([first, second], run, 2)
        first.send_signal(signal.SIGKILL)
        assert_left(second, "(process 0|another process) died or cannot be reached")
        first.wait()

        both = both()
        assert [p.wait() for p in both] == [0, 0], [p.stderr for p in both]
        assert steps(run)[-1] == 180
        assert_same_end(run, whole)


RAISES = """\
import jax
from veegan_jax.methods import gan
from veegan_jax.methods.gan import init, sample

def fail(step):
    if jax.process_index() == 1 and step >= 66:
        raise ValueError("the second cannot")

def train_step(state, x, *, config, axis_name=None):
    jax.debug.callback(fail, state.step)
    return gan.train_step(state, x, config=config, axis_name=axis_name)
"""


def test_an_exception_of_one_stops_both_and_keeps_its_traceback(scripts, tmp_path):
    (tmp_path / "raises.py").write_text(RAISES)
    first, second = pair(scripts, "run", "--method_file=raises.py", cwd=tmp_path)
    assert second.wait() != 0
    assert first.wait(SOON) == 1, first.stderr
    assert "Traceback" in second.stderr and "raises.py" in second.stderr
    said = rf"process 1 on {socket.gethostname()} failed: \w+: .*the second cannot"
    assert re.search(said, words(first)), first.stderr
    assert STOPS in words(first)
    assert "Traceback" not in words(first)
    assert steps(tmp_path / "run")[-1] <= 66
    assert os.listdir(tmp_path / "run" / "checkpoints")


def test_a_killed_host_is_left(abandoned):
    processes, run = abandoned["killed 1"]
    assert_left(processes[0], "(process 1|another process) died or cannot be reached")
    assert steps(run)


@pytest.mark.parametrize(
    ("frozen", "said"),
    [
        (0, f"process 0 has not answered for {watchdog.SILENCE_SECONDS} s"),
        (1, "process 1 died or cannot be reached"),
    ],
)
def test_a_frozen_host_is_left_and_ends_when_it_wakes(abandoned, frozen, said):
    assert watchdog.HEARTBEAT_SECONDS <= 30
    processes, run = abandoned[f"frozen {frozen}"]
    assert_left(processes[1 - frozen], said)
    processes[frozen].send_signal(signal.SIGCONT)
    assert processes[frozen].wait(SOON) != 0
    assert steps(run)
