"""Disturbed runs: how they are awaited, read and compared with undisturbed ones."""

import contextlib
import itertools
import json
import pathlib
import struct
import subprocess
import time
from collections.abc import Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from support import forks, programs
from tensorboard.compat.proto import event_pb2

from veegan_jax.common import metrics_log

SCRIPT = "train_mixtures.py"
TINY = [*programs.TINY, "--cpu_devices=2"]
GO_ON = "then give the same command to go on"
# The files that a training run writes, as its messages name them. Checkpoints are
# written in the background, so any of these may be the first that a full disk refuses.
LOG = r"(events\.out\.tfevents\S*|metrics\.jsonl)"
SAVED = rf"(checkpoints|{LOG})"


def steps(run: pathlib.Path) -> list[int]:
    """Return the steps of a run's checkpoints."""
    names = (path.name for path in (run / "checkpoints").iterdir())
    return sorted(int(name) for name in names if name.isdigit())


def newest(run: pathlib.Path) -> dict[str, np.ndarray]:
    """Every array of its newest checkpoint, as orbax alone reads them."""
    path = run / "checkpoints" / str(steps(run)[-1]) / "state"
    flat = jax.tree.leaves_with_path(ocp.StandardCheckpointer().restore(path))
    return {jax.tree_util.keystr(name): np.asarray(array) for name, array in flat}


def assert_same_end(run: pathlib.Path, whole: pathlib.Path) -> None:
    """Two finished runs: the same parameters, log, samples, figures and curves."""
    assert steps(run)[-1] == steps(whole)[-1]
    ours, theirs = newest(run), newest(whole)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert ours[name].dtype == array.dtype
        np.testing.assert_array_equal(ours[name], array, err_msg=name)
    logs = [metrics_log.read(path) for path in (run, whole)]
    for line in itertools.chain(*logs):
        del line["seconds"]
    assert logs[0] == logs[1]
    for log, path in zip(logs, (run, whole), strict=True):
        assert_events_tell(path, log)
    planes = [np.load(path / "samples.npz")["plane"] for path in (run, whole)]
    np.testing.assert_array_equal(*planes)
    ends = [json.loads((path / "results.json").read_text()) for path in (run, whole)]
    assert ends[0]["per_seed"] == ends[1]["per_seed"]


def events(path: pathlib.Path) -> Iterator[event_pb2.Event]:
    """Yield the events of a TensorBoard file, up to where a kill cut it short."""
    data = path.read_bytes()
    while len(data) >= 12:
        (size,) = struct.unpack("<Q", data[:8])
        if len(data) < 16 + size:
            return
        yield event_pb2.Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]


def assert_events_tell(run: pathlib.Path, log: list[dict]) -> None:
    """Read as TensorBoard reads them, the event files tell what the log tells."""
    found: dict[tuple[int, str], float] = {}
    for path in sorted(run.glob("events.out.tfevents.*")):
        for event in events(path):
            if event.HasField("session_log"):
                found = {k: v for k, v in found.items() if k[0] < event.step}
            for value in event.summary.value:
                assert (event.step, value.tag) not in found
                found[event.step, value.tag] = value.simple_value
    expected = {
        (line["step"], f"{name}/seed_{seed}"): value
        for line in log
        for name, values in line.items()
        if name != "step"
        for seed, value in enumerate(values)
        if value is not None
    }
    assert found == pytest.approx(expected, rel=1e-4)


def until(process: forks.Fork, happened, seconds: float = 200) -> bool:
    """Waits until something is so; False if the process has ended."""
    end = time.monotonic() + seconds
    for turn in itertools.count():
        if happened():
            return True
        if not turn % 20 and process.poll() is not None:
            return False
        assert time.monotonic() < end, process.stderr
        time.sleep(0.002)


def lines(run: pathlib.Path) -> int:
    log = run / "metrics.jsonl"
    return log.read_text().count("\n") if log.exists() else 0


@contextlib.contextmanager
def disk(place: pathlib.Path, size: str) -> Iterator[pathlib.Path]:
    """A file system of its own, in memory."""
    place.mkdir()
    made = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
    if subprocess.run(made, capture_output=True).returncode:
        pytest.skip("only who may mount a file system can have a full disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def remount(place: pathlib.Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
