"""The results of a run: metrics over time, and one record to repeat the run by."""

import collections
import contextlib
import functools
import json
import logging
import os
import pathlib
import platform
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from veegan_jax.common import errors, files


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
        values = {k: [number(x) for x in v] for k, v in metrics.items()}
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
        if any(line["seconds"] is None for line in read_metrics(self._workdir)):
            return None
        return round(self._before + time.perf_counter() - self._start, 3)


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
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


def metric_names(log: list[dict[str, Any]]) -> list[str]:
    """Return the names of all metrics in the lines of metrics.jsonl."""
    names = dict.fromkeys(name for line in log for name in line)
    return [name for name in names if name not in ("step", "seconds")]


def wall_seconds(*workdirs: pathlib.Path) -> float | None:
    """Return the time that training took; None if a log does not tell all of it."""
    lines = [line for workdir in workdirs for line in read_metrics(workdir)]
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
    parsed = [_parse_line(line) for line in text.split(b"\n")[:-1]]
    lengths = collections.Counter(len(x_S) for line in parsed for x_S in _lists(line))
    seeds = max(lengths, key=lengths.__getitem__, default=0)
    lines, damaged, gap = [], [], False
    for place, line in enumerate(parsed, 1):
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
        line = files.parse_json(text)
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


def commit() -> str:
    """Return the commit of this code; "" if no git repository tracks it."""
    return _git("rev-parse", "HEAD")


def provenance() -> dict[str, Any]:
    """Return command, code and machine: what is needed to repeat a number.

    The commit is "", and `uncommitted_changes` None, if no git repository tracks this
    code.
    """
    import flax
    import optax

    devices = jax.devices()
    on_cpu = devices[0].platform == "cpu"
    found = commit()
    kind = _processor() if on_cpu else devices[0].device_kind
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": found,
        "uncommitted_changes": bool(_git("status", "--porcelain")) if found else None,
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "flax": flax.__version__,
            "optax": optax.__version__,
        },
        "device": f"{len(devices)} x {devices[0].platform} ({kind})",
    }


def read(path: pathlib.Path, *names: str) -> dict[str, Any]:
    """Read a record that `write` wrote.

    Args:
      path: the file.
      *names: values that it must have, such as "command" or "config.dataset".

    Raises:
      InputError: if it cannot be read, or lacks a value.
    """
    remedy = "make it again by the command that wrote it, or move it away"
    record = files.read_json(path, remedy)
    for name in names:
        value: Any = record
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            raise errors.InputError(f"{path} lacks {name}: {remedy}")
    return record


def write(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Write a record as JSON, whole or not at all."""
    text = json.dumps(record, indent=1, default=number)
    files.write_atomically(path, text + "\n")


def publish(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Write a record to results/, without the paths of this machine.

    The flags --workdir, --data_dir, --image_dir and --classifier are dropped from its
    command.
    """
    place = r"--?(workdir|data_dir|image_dir|classifier)"
    words, kept = shlex.split(record["command"]), []
    while words:
        word = words.pop(0)
        if re.fullmatch(place, word):
            words = words[1:]
        elif not re.match(f"{place}=", word):
            kept.append(word)
    command = shlex.join(kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, record | {"command": command})


def number(x: Any) -> Any:
    """Return a JSON value of 9 significant digits; NaN and infinity become null.

    So many digits hold a float32 exactly, and tables round but once.
    """
    x = np.asarray(x).item()
    if isinstance(x, float):
        return float(f"{x:.9g}") if np.isfinite(x) else None
    return x  # an integer, or None


def mean_and_std(values_S: Any) -> tuple[float | None, float | None]:
    """Return mean and standard deviation (n - 1) of a metric, both unrounded.

    Args:
      values_S: of each seed, or of each repetition.

    Returns:
      Both are None for no value, and if any is not finite. The standard deviation of
      one value is None.
    """
    values_S = np.asarray(values_S)
    if not len(values_S) or not np.isfinite(values_S).all():
        return None, None
    return float(values_S.mean()), std(values_S) if len(values_S) > 1 else None


def std(values_S: np.ndarray) -> float:
    """Return the standard deviation (n - 1): 0 for equal values, without rounding."""
    return float(values_S.std(ddof=1)) if np.ptp(values_S) else 0.0


def cell(mean: float | None, std: float | None = None) -> str:
    """Format a number with 4 digits and its spread with 2; "" if it is undefined."""
    if mean is None or not np.isfinite(mean):
        return ""
    # A spread of 200 has 3 digits, else it would be 2e+02.
    spread = "" if std is None else f" ± {std:.{2 if std < 99.5 else 3}g}"
    return f"{mean:.4g}{spread}"


def fixed(mean: float | None, std: float | None = None, decimals: int = 1) -> str:
    """Format a number and its spread with fixed decimals; "" if it is undefined."""
    spread = "" if std is None else f" ± {std:.{decimals}f}"
    return "" if mean is None else f"{mean:.{decimals}f}{spread}"


def why_empty(rows: Iterable[dict[str, Any]], reasons: dict[str, str]) -> str:
    """Say below a table why cells are empty: a line for each undefined metric.

    Args:
      rows: metric -> value or None, of every row.
      reasons: metric -> when it is undefined, a sentence.
    """
    rows = list(rows)
    told = [
        f"\n{name.replace('_', ' ')}: {reason}"
        for name, reason in reasons.items()
        if any(name in row and cell(row[name]) == "" for row in rows)
    ]
    return "\n" * bool(told) + "".join(told)


def _processor() -> str:
    """Return the processor's model, since another one rounds differently."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")  # Linux; elsewhere `platform` knows
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    """Return git's answer on the repository that tracks this file; "" if none does.

    The file may be installed inside a repository of the user's, which has another
    history, and in a hook of git's the environment names that one. In a container this
    checkout may belong to another user, which git refuses unless it is told the folder.
    """
    file = pathlib.Path(__file__).resolve()
    names = {n for n in os.environ if n[:4] != "GIT_" or n.startswith("GIT_CONFIG")}
    ask = functools.partial(
        subprocess.run,
        env={name: os.environ[name] for name in names},
        cwd=file.parent,
        check=True,
        capture_output=True,
        text=True,
        errors="replace",
    )
    git = ["git", "-c", f"safe.directory={file.parents[2]}"]
    try:
        ask([*git, "ls-files", "--error-unmatch", file.name])
        return ask([*git, *arguments]).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def table(header: list[str], rows: list[list[str]]) -> str:
    """Format a Markdown table with aligned columns."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * w for w in widths], *rows]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |"
        for r in lines
    )
