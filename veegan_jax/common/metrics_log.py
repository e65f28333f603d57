"""The log of a run: metrics over time, as JSON lines and TensorBoard events."""

import collections
import contextlib
import json
import logging
import os
import pathlib
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from veegan_jax.common import errors, files, json_files, records


class MetricsLog:
    """Metrics over time, as JSON lines and as TensorBoard events.

    Every line and event is on the disk when `write` returns.

    Args:
      workdir: where `metrics.jsonl` and the event files go.
      resume_step: the step of the newest checkpoint; 0: there is none. Lines of later
        steps are dropped; the run computes them again.

    Raises:
      InputError: if the file cannot be read, or the system refuses a write.
    """

    def __init__(self, workdir: pathlib.Path, resume_step: int) -> None:
        self._path = workdir / "metrics.jsonl"
        lines, damaged = _read_lines(self._path)
        if damaged:
            aside = files.free_name(workdir / "metrics.jsonl.damaged")
            self._path.rename(aside)
            logging.warning(
                "%s: %s cannot be read and is left out; the file is kept as %s",
                self._path,
                damaged,
                aside.name,
            )
        if lines and not resume_step:
            logging.warning(
                "%s has step %d, but there is no checkpoint: the run starts over",
                self._path,
                lines[-1]["step"],
            )
        kept = [line for line in lines if line["step"] <= resume_step]
        if max((line["step"] for line in kept), default=0) < resume_step:
            logging.warning(
                "%s lacks lines up to step %d: no curves are drawn of them, and "
                "wall_seconds is unknown",
                self._path,
                resume_step,
            )
            kept.append({"step": resume_step, "seconds": None})
        text = "".join(json.dumps(line) + "\n" for line in kept)
        files.write_atomically(self._path, text)
        self._workdir, self._resume_step = workdir, resume_step
        self._events: _Events | None = None  # a finished run needs no file

    def write(self, step: int, seconds: float, metrics: dict[str, np.ndarray]) -> None:
        """Append one line: each metric is a list over the seeds."""
        values = {k: [records.number(x) for x in v] for k, v in metrics.items()}
        line = json.dumps({"step": step, "seconds": round(seconds, 3), **values})
        with files.writing(self._path), self._path.open("a") as file:
            file.write(line + "\n")
        if self._events is None:
            self._events = _Events(self._workdir, self._resume_step)
        self._events.write(step, metrics)

    def close(self) -> None:
        if self._events:
            self._events.close()


class _Events:
    """A TensorBoard file; every event is on the disk at once.

    TensorBoard reads files in the order of their names, which begin with a time. At the
    head of each file stands a step, and later steps of earlier files are forgotten. The
    usual event writers name the file by the clock, which may have been set back, and
    write in a thread that dies silently when the disk is full.
    """

    def __init__(self, workdir: pathlib.Path, resume_step: int) -> None:
        # These imports are slow, and only runs need them.
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer import record_writer

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        times = [
            int(found[1])
            for path in workdir.glob("events.out.tfevents.*")
            if (found := re.match(r"events\.out\.tfevents\.(\d{10})\.", path.name))
        ]
        now = max([int(time.time()), *(t + 1 for t in times)])
        self._path = workdir / f"events.out.tfevents.{now}.{socket.gethostname()}"
        with files.writing(self._path):
            self._writer = record_writer.RecordWriter(self._path.open("wb"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(
            self._event(wall_time=time.time(), file_version="brain.Event:2"),
            self._event(step=resume_step + 1, session_log=start),
        )

    def write(self, step: int, metrics: dict[str, np.ndarray]) -> None:
        """Add each metric, a list over the seeds."""
        values = [
            self._summary.Value(tag=f"{name}/seed_{seed}", simple_value=float(value))
            for name, value_S in metrics.items()
            for seed, value in enumerate(value_S)
            if np.isfinite(value)  # e.g. no spread inside modes when none is captured
        ]
        summary = self._summary(value=values)
        self._add(self._event(wall_time=time.time(), step=step, summary=summary))

    def _add(self, *events: Any) -> None:
        with files.writing(self._path):
            for event in events:
                self._writer.write(event.SerializeToString())
            self._writer.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # `_add` has reported the failed write
            self._writer.close()


class Clock:
    """Measures a record's wall_seconds: all that the user waits for, but the figures.

    This command counts from here on, so with loading and scoring; commands before it
    with the training that their log holds.
    """

    def __init__(self, workdir: pathlib.Path) -> None:
        self._workdir = workdir
        lines, _ = _read_lines(workdir / "metrics.jsonl")
        self._before = sum(line["seconds"] or 0 for line in lines)
        self._start = time.perf_counter()

    def seconds(self) -> float | None:
        """Return the seconds until now; None if a log does not tell all of them."""
        if any(line["seconds"] is None for line in read(self._workdir)):
            return None
        return round(self._before + time.perf_counter() - self._start, 3)


def read(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Read the lines of metrics.jsonl, without a last line that a kill cut short.

    Returns:
      Lines of "step", "seconds" (None: unknown) and a list over the seeds for each
      metric, which may be missing from some lines.

    Raises:
      InputError: if another line cannot be read.
    """
    path = workdir / "metrics.jsonl"
    lines, damaged = _read_lines(path)
    if damaged:
        raise errors.InputError(
            f"{path}: {damaged} cannot be read; the training script, given the same "
            "command, leaves it out"
        )
    return lines


def names(log: list[dict[str, Any]]) -> list[str]:
    """Return the names of all metrics in the lines of metrics.jsonl."""
    names = dict.fromkeys(name for line in log for name in line)
    return [name for name in names if name not in ("step", "seconds")]


def wall_seconds(*workdirs: pathlib.Path) -> float | None:
    """Return the time that training took; None if a log does not tell all of it."""
    lines = [line for workdir in workdirs for line in read(workdir)]
    if any(line["seconds"] is None for line in lines):
        return None
    return sum(line["seconds"] for line in lines)


def _read_lines(path: pathlib.Path) -> tuple[list[dict[str, Any]], str]:
    """Return the readable lines, and the numbers of the others as text, or "".

    Raises:
      InputError: if the system cannot read the file.
    """
    try:
        text = path.read_bytes() if os.path.exists(path) else b""
    except OSError as error:
        raise errors.InputError(
            f"{path} cannot be read ({error.strerror or error}): move it away, then "
            "give the same command to go on"
        ) from error
    parsed = {  # by number; blank lines, which hold nothing, are passed over
        place: _parse_line(line)
        for place, line in enumerate(text.split(b"\n")[:-1], 1)
        if line.strip()
    }
    lengths = collections.Counter(
        len(x_S) for line in parsed.values() for x_S in _lists(line)
    )
    seeds = max(lengths, key=lengths.__getitem__, default=0)
    lines, damaged, gap = [], [], False
    for place, line in parsed.items():
        if line and all(len(x_S) == seeds for x_S in _lists(line)):
            # The seconds of a line count from the line before.
            lines.append(line | {"seconds": None} if gap else line)
            gap = False
        else:
            damaged.append(str(place))
            gap = True
    return lines, f"line {', '.join(damaged[:9])}" if damaged else ""


def _parse_line(text: bytes) -> dict[str, Any] | None:
    """Return what `MetricsLog.write` wrote; None if it wrote something else."""
    try:
        line = json_files.parse(text)
    except ValueError:
        return None
    step, seconds = line.get("step"), line.get("seconds", -1)
    whole = (
        type(step) is int
        and 0 < step < 2**31
        and (seconds is None or (_is_number(seconds) and seconds >= 0))
        and len(list(_lists(line))) == len(line) - 2
    )
    return line if whole else None


def _lists(line: dict[str, Any] | None) -> Iterator[list[float | None]]:
    """Yield the metrics of a line: lists of numbers and nulls."""
    for x_S in (line or {}).values():
        if isinstance(x_S, list) and all(x is None or _is_number(x) for x in x_S):
            yield x_S


def _is_number(x: Any) -> bool:
    return type(x) in (int, float) and abs(x) < 2**1000  # as a float it is finite
