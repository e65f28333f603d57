"""Measure how time and memory of a training step grow: batch, width, seeds, devices.

    python scripts/bench/growth.py
        VEEGAN on the ring and the GAN on Stacked MNIST, small networks: about 6
        minutes on two free cores, most of it compilation. Expect that time grows as
        the batch and the seeds do or slower (slope 1), as the square of the width or
        slower (2), and falls with the devices (-1). Expect the same of the program's
        memory, or less where something else is larger.
    python scripts/bench/growth.py --axes=seeds --cases=ring-veegan
        One line of the table, in a minute.

Each axis starts from the same small configuration, and the others stay at its first
place; the devices share as many seeds as there are devices, or 4. A slope is an
exponent: 1 is proportional, 0 does not grow. It is fitted over all places; the last two
show what larger ones will do. Every point runs in a process of its own
(growth_point.py).

The program's memory is XLA's own analysis of the compiled loop: arguments, results and
temporaries on each device. The process's peak holds besides what JAX and the compiler
take. Over `devices` a process on CPU keeps to as many cores as it has devices;
elsewhere one device may use all cores for its largest products. Leave the cores free.

The record goes to runs/speed/growth.json and a figure for each axis beside it;
`make_tables.py --add=` keeps the record and draws the figures again.
"""

import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import early  # noqa: F401
import growth_point
import growth_table
import jax
import timing
from absl import flags

from veegan_jax.common import errors, records
from veegan_jax.common import flags as common_flags
from veegan_jax.runtime import distributed, program

WHICH = flags.DEFINE_list("cases", list(growth_point.CASES), "what to train")
AXES = flags.DEFINE_list("axes", list(growth_table.AXES), "over what it grows")
POINTS = common_flags.define_number(
    "points", 3, "places on each axis, from its first", within="[2, inf)"
)
REPEATS = common_flags.define_number(
    "repeats", 3, "measurements of each time", within="[1, inf)"
)
MIN_SECONDS = common_flags.define_number(
    "min_seconds", 0.5, "length of a measurement", within="[0, inf)"
)
OUTPUT = common_flags.define_path(
    "output", None, "where the record goes (default: runs/speed/growth.json)"
)


def available() -> tuple[int, bool]:
    """Return how many devices there are, and whether they are CPU cores."""
    if jax.default_backend() == "cpu":
        return distributed.cpu_cores(), True
    return len(jax.devices()), False


def places(
    name: str, axis: str, points: int, devices: int, on_cpu: bool
) -> list[growth_point.Point]:
    """List the points of one case on one axis.

    Args:
      name: of the case.
      axis: one of `growth_table.AXES`.
      points: how many, at most.
      devices: how many there are.
      on_cpu: the devices are cores, which the processes must not leave.
    """
    case = growth_point.CASES[name]
    first = growth_point.Point(name, case.batch[0], case.width[0], case.seeds[0], 1)
    if axis != "devices":
        return [
            first._replace(**{axis: place}) for place in getattr(case, axis)[:points]
        ]
    numbers = [n for n in (1, 2, 4, 8) if n <= devices][:points]
    first = first._replace(seeds=max([4, *numbers]))
    return [first._replace(devices=n, cores=n if on_cpu else 0) for n in numbers]


def in_a_process(
    point: growth_point.Point, repeats: int, min_seconds: float
) -> dict[str, Any]:
    """Return what `growth_point.measure` finds in a new process.

    Raises:
      RuntimeError: if the process fails; it has printed why.
    """
    done = subprocess.run(
        [sys.executable, growth_point.__file__]
        + [json.dumps([point, repeats, min_seconds])],
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{point} ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def plan(
    cases: Sequence[str], axes: Sequence[str], points: int, devices: int, on_cpu: bool
) -> dict[tuple[str, str], list[growth_point.Point]]:
    """List the points of each axis and case.

    Raises:
      InputError: for a name that does not exist, or if an axis has one place only.
    """
    timing.check_names("cases", cases, list(growth_point.CASES))
    timing.check_names("axes", axes, list(growth_table.AXES))
    if devices < 2 and "devices" in axes and len(axes) > 1:
        axes = [axis for axis in axes if axis != "devices"]
        print("one device: nothing is measured over devices")
    found = {
        (axis, name): places(name, axis, points, devices, on_cpu)
        for axis in axes
        for name in cases
    }
    if not found or any(len(some) < 2 for some in found.values()):
        raise errors.InputError(
            f"--axes={','.join(axes)} --cases={','.join(cases)}: nothing to measure; "
            "devices needs two of them"
        )
    return found


def main() -> None:
    distributed.use_cpu_cores(distributed.cpu_cores())
    todo = plan(WHICH.value, AXES.value, POINTS.value, *available())
    output = timing.output(OUTPUT.value, "runs/speed/growth.json")
    start = time.perf_counter()
    found: dict[growth_point.Point, dict[str, Any]] = {}  # axes share their first place
    rows = []
    for (axis, name), points in todo.items():
        for point in points:
            if point not in found:
                found[point] = in_a_process(point, REPEATS.value, MIN_SECONDS.value)
        rows.append(
            {"case": name, "axis": axis, "points": [found[point] for point in points]}
        )
        elapsed = time.perf_counter() - start
        print(f"{elapsed:4.0f} s: {name}, {growth_table.AXES[axis]}", flush=True)
    for row in rows:
        row["slopes"] = {
            name: growth_table.slopes(row, name)
            for name in ("median", "program_mib", "process")
        }
    record = {
        **records.provenance(),
        "repeats": REPEATS.value,
        "min_seconds": MIN_SECONDS.value,
        "wall_seconds": time.perf_counter() - start,
        "rows": rows,
    }
    records.write(output, record)
    folder = pathlib.Path(output).parent
    growth_table.draw_all(rows, folder)
    print(f"\n{growth_table.table(rows)}\n\nrecord: {output}, figures beside it")


if __name__ == "__main__":
    program.run(main)
