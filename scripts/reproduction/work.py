"""Run cells as commands, within a time, and say what became of each. No flags here."""

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from reproduction import cells
from reproduction.cells import Cell

from veegan_jax.runtime import loop

DONE, FAILED, STOPPED, SKIPPED = "done", "failed", "stopped", "no time left"
_POLL = 0.2  # seconds between two looks at the commands
_TELL = 60.0  # seconds between two lines on cells that write to a log
_PATIENCE = 120.0  # seconds that a command may take to save and stop


class Outcome(NamedTuple):
    """A cell that has ended or was not begun, with the result."""

    cell: Cell
    result: str  # DONE, FAILED, STOPPED or SKIPPED
    minutes: float
    message: str = ""


class _Running:
    """A cell whose commands are running, one after the other."""

    def __init__(
        self, cell: Cell, root: pathlib.Path, runs: pathlib.Path, *, quiet: bool
    ):
        self.cell, self.begin = cell, time.monotonic()
        self._root, self._workdir = root, runs / cell.workdir
        words = [tuple(cells.placed(w, cell, runs) for w in c) for c in cell.commands]
        self._left = [command for command in words if not _made(command)]
        log = self._workdir.with_name(f"{self._workdir.name}.log")
        self._log = log if quiet else None
        self._process = self._start()
        self.asked: float | None = None  # when it was asked to stop

    def _start(self) -> subprocess.Popen:
        command, env = [sys.executable, *self._left.pop(0)], dict(os.environ)
        if self._log is None:
            return subprocess.Popen(command, cwd=self._root, env=env)
        # Several runs share a device: none may take all of its memory.
        env["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a") as log:
            return subprocess.Popen(
                command, cwd=self._root, env=env, stdout=log, stderr=subprocess.STDOUT
            )

    def stop(self) -> None:
        """Ask it to save and stop; once it has had its time, end it."""
        if self.asked is None:
            self.asked = time.monotonic()
            self._process.send_signal(signal.SIGTERM)
        elif time.monotonic() - self.asked > _PATIENCE:
            self._process.kill()

    def last_line(self) -> str:
        """Return the last line that its log has; "" if it has no log."""
        if self._log is None:
            return ""
        text = self._log.read_bytes()[-1000:].decode(errors="replace")
        return (text.replace("\r", "\n").strip().splitlines() or [""])[-1]

    def outcome(self) -> Outcome | None:
        """Return what became of it, or None while it goes on."""
        status = self._process.poll()
        if status is None:
            return None
        if status == 0 and self._left and self.asked is None:
            self._process = self._start()
            return None
        minutes = (time.monotonic() - self.begin) / 60
        if status == 0 and not self._left:
            return Outcome(self.cell, DONE, minutes)
        if self.asked is not None or status == os.EX_TEMPFAIL:
            saved = "saved; the same command goes on"
            return Outcome(self.cell, STOPPED, minutes, saved)
        why = f"exit status {status}" if status > 0 else signal.Signals(-status).name
        where = f"see {self._log}" if self._log else "its message is above"
        return Outcome(self.cell, FAILED, minutes, f"{why}, {where}")


def _made(command: Sequence[str]) -> bool:
    """Whether a command's --output is there: no script overwrites one."""
    outputs = [w.partition("=")[2] for w in command if w.startswith("--output=")]
    return any(pathlib.Path(output).exists() for output in outputs)


def run(
    chosen: Sequence[tuple[Cell, float | None]],
    root: pathlib.Path,
    runs: pathlib.Path,
    *,
    minutes: float,
    jobs: int = 1,
) -> tuple[list[Outcome], str]:
    """Run cells in their order, those that fit, and stop at the end of the time.

    A cell that fails or does not fit leaves the others alone.

    Args:
      chosen: cells with the minutes that each takes; None: nobody knows.
      root: the checkout, where the commands run.
      runs: the folder of all work directories.
      minutes: the time for all.
      jobs: how many cells run at once; above 1 their output goes to a file each.

    Returns:
      What became of each cell, and the name of the signal that asked to stop, or "".
    """
    begin, waiting = time.monotonic(), list(chosen)
    going: list[_Running] = []
    ended: list[Outcome] = []

    told = begin

    def left() -> float:
        return minutes - (time.monotonic() - begin) / 60

    def start_what_fits() -> None:
        for item in list(waiting):
            if len(going) == jobs:
                return
            cell, needed = item
            if needed is not None and needed > left():
                continue
            waiting.remove(item)
            rest = sum(m or 0.0 for _, m in waiting)
            about = "" if needed is None else f", about {duration(needed)}"
            print(
                f"\ncell {len(ended) + len(going) + 1} of {len(chosen)}: "
                f"{cell.table}, {cells.label(cell)}{about}; "
                f"then {duration(rest)} of others, {duration(left())} left",
                flush=True,
            )
            going.append(_Running(cell, root, runs, quiet=jobs > 1))

    with loop.StopFlag() as flag:
        while True:
            stop = bool(flag.requested) or left() <= 0
            if not stop:
                start_what_fits()
            if not going:
                break
            time.sleep(_POLL)
            if time.monotonic() - told > _TELL:
                told = time.monotonic()
                lines = [(cells.label(one.cell), one.last_line()) for one in going]
                for name, line in lines:
                    if line:
                        print(f"{name}: {line}", flush=True)
            for one in list(going):
                if stop:
                    one.stop()
                outcome = one.outcome()
                if outcome:
                    going.remove(one)
                    ended.append(outcome)
                    print(
                        f"\n{cells.label(outcome.cell)}: {outcome.result} after "
                        f"{duration(outcome.minutes)}"
                        f"{', ' if outcome.message else ''}{outcome.message}",
                        flush=True,
                    )
    for cell, needed in waiting:
        about = f"takes {duration(needed)}" if needed is not None else ""
        ended.append(Outcome(cell, SKIPPED, 0.0, about))
    return ended, flag.requested


def duration(minutes: float) -> str:
    """Write minutes as a reader would: 40 s, 12 min, 3.5 h."""
    if minutes < 1.5:
        return f"{max(60 * minutes, 0):.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
