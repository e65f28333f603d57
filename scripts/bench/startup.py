"""Measure how long a user waits for the first training step, and for the end.

    python scripts/bench/startup.py
        Three commands, each with nothing kept of compiled programs (cold) and with
        the cache that an earlier start of the same command filled (warm): about three
        minutes on two free cores. Expect warm starts in half the time.
    python scripts/bench/startup.py --commands=help --repeats=1
        The imports alone.

Every start is a process of its own, and its time counts from the command. The first
step is taken when the first compiled interval returns: 4 steps of five seeds on the
ring, 1 step of one seed on Stacked MNIST. The end includes evaluations, checkpoint,
figures and record. Cold and warm starts take turns; Python's files and the decoded
images are there from the beginning. Leave the cores free.

The record goes to runs/speed/startup.json; `make_tables.py --add=` keeps it.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import early  # noqa: F401
import timing
from absl import flags

from veegan_jax.common import errors, records
from veegan_jax.common import flags as common_flags
from veegan_jax.data import images
from veegan_jax.runtime import distributed, program

SCRIPTS = pathlib.Path(__file__).parents[1]
COMMANDS = {
    "help": ("train_mixtures.py", "--help"),
    "ring": ("train_mixtures.py", "--steps=200"),
    "stacked_mnist": ("train_stacked_mnist.py", "--seeds=1", "--steps=10"),
}
# Runs a script, and writes the time at which its first interval has returned.
FIRST_STEP = """
import pathlib, runpy, sys, time
_, file, *sys.argv = sys.argv
sys.path[0] = str(pathlib.Path(sys.argv[0]).parent)
import early
import jax
from veegan_jax.runtime import loop

train = loop.train

def timed_train(state, done, compile_steps, **more):
    def compile_timed(num):
        run = compile_steps(num)

        def run_timed(state):
            result = run(state)
            if not pathlib.Path(file).exists():
                jax.block_until_ready(result)
                pathlib.Path(file).write_text(repr(time.time()))
            return result

        return run_timed

    return train(state, done, compile_timed, **more)

loop.train = timed_train
runpy.run_path(sys.argv[0], run_name="__main__")
"""

NAMES = flags.DEFINE_list("commands", list(COMMANDS), "what to start")
REPEATS = common_flags.define_number(
    "repeats", 3, "starts of each kind", within="[1, inf)"
)
OUTPUT = common_flags.define_path(
    "output", None, "where the record goes (default: runs/speed/startup.json)"
)


def start(name: str, folder: pathlib.Path) -> tuple[float | None, float]:
    """Run a command from an empty work directory to its end.

    Args:
      name: of COMMANDS.
      folder: its caches are in it.

    Returns:
      Seconds to the first step, if the command trains, and to the end.

    Raises:
      InputError: if the command fails.
    """
    script, *given = COMMANDS[name]
    stepped, workdir = folder / "first-step", folder / "work"
    if name != "help":
        given.append(f"--workdir={workdir}")
    environment = {**os.environ, "VEEGAN_CACHE_DIR": str(folder)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-c", FIRST_STEP, stepped, SCRIPTS / script, *given]
    begun = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    ended = time.time()
    if done.returncode:
        raise errors.InputError(f"{script} {' '.join(given)} failed:\n{done.stderr}")
    if not stepped.exists():
        return None, ended - begun
    first = float(stepped.read_text())
    stepped.unlink()
    shutil.rmtree(workdir)
    return first - begun, ended - begun


def measure(name: str, repeats: int) -> list[dict[str, Any]]:
    """Start a command cold and warm in turns: a row of the record for each kind."""
    found: dict[str, list[tuple[float | None, float]]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        if name == "stacked_mnist":
            for split in images.SPLITS:  # decode them
                images.load(images.choose("auto"), split, cache_dir=place)
        for _ in range(repeats):
            kept = folder / "veegan_jax"
            shutil.rmtree(kept / "compiled", ignore_errors=True)
            for accuracy in kept.glob("accuracy-*"):
                accuracy.unlink()
            for times in found.values():
                times.append(start(name, folder))
    rows = []
    for kind, times in found.items():
        firsts, ends = zip(*times, strict=True)
        row = {"name": name, "start": kind, "seconds": ends}
        row |= {"command": " ".join(COMMANDS[name])}
        row |= {"median": statistics.median(ends), "range": [min(ends), max(ends)]}
        if None not in firsts:
            row |= {
                "first_step_seconds": firsts,
                "first_step_median": statistics.median(firsts),
                "first_step_range": [min(firsts), max(firsts)],
            }
        rows.append(row)
    return rows


def main() -> None:
    timing.check_names("commands", NAMES.value, COMMANDS)
    output = timing.output(OUTPUT.value, "runs/speed/startup.json")
    distributed.use_cpu_cores(distributed.cpu_cores())  # as the commands do
    begun, rows = time.perf_counter(), []
    for name in NAMES.value:
        for row in measure(name, REPEATS.value):
            rows.append(row)
            first = row.get("first_step_median")
            step = f"first step after {first:.1f} s, " if first else ""
            print(f"{row['command']}, {row['start']}: {step}end after ", end="")
            print(f"{row['median']:.1f} s", flush=True)
    record = {
        **records.provenance(),
        "repeats": REPEATS.value,
        "wall_seconds": time.perf_counter() - begun,
        "rows": rows,
    }
    records.write(output, record)
    print(f"record: {output}")


if __name__ == "__main__":
    program.run(main)
