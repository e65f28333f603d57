"""Timing in turns, PyTorch's set-up and memory, for all benchmarks. No flags."""

import importlib.util
import pathlib
import resource
import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from veegan_jax.common import errors, files, records
from veegan_jax.runtime import distributed, parallel

Runner = tuple[Callable[[], None], int]  # works and waits; steps, or images, per call
HOPELESS = 0.7  # of the fastest rival: no other work on the machine explains it


def check_names(flag: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a name that does not exist.

    Args:
      flag: that gave the names.
      given: the names.
      known: those that exist.

    Raises:
      InputError: naming the flag, the name, and those that exist.
    """
    for name in given:
        if name not in known:
            raise errors.InputError(
                f"--{flag}: unknown {name!r}; any of {', '.join(known)}"
            )


def output(given: str | None, default: str) -> pathlib.Path:
    """Return the file of the record; its folder is made.

    Args:
      given: by --output; a file that exists is not overwritten.
      default: if none is given; an earlier record of the benchmark is replaced.

    Raises:
      InputError: if it cannot be written.
    """
    if path := files.check_output(given, "output", ".json", make_folder=True):
        return path
    path = pathlib.Path(default)
    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def provenance() -> dict[str, Any]:
    """Return what `records.provenance` returns, and how many CPU cores were used."""
    return records.provenance() | {"cpu_cores": distributed.cpu_cores()}


def seconds(run: Callable[[], None]) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def rate(runner: Runner, min_seconds: float) -> float:
    """Measure steps per second over at least min_seconds of whole calls."""
    run, steps = runner
    time.sleep(0.1)  # the other library's threads spin for a while before they sleep
    calls, elapsed = 0, 0.0
    while elapsed < min_seconds or not calls:
        elapsed += seconds(run)
        calls += 1
    return calls * steps / elapsed


def rates(
    runners: Mapping[Any, Runner],
    repeats: int,
    min_seconds: float,
    rivals: Collection[Any] = (),
) -> dict[Any, list[float]]:
    """Measure the rate of each runner `repeats` times, all of them in turns.

    Args:
      runners: by name.
      repeats: turns.
      min_seconds: see `rate`.
      rivals: names of which only the fastest counts. One whose best of two turns is
        below HOPELESS of another's worst is measured no more.
    """
    found: dict[Any, list[float]] = {name: [] for name in runners}
    for turn in range(repeats):
        best = max((min(found[r], default=0.0) for r in rivals), default=0.0)
        for name, runner in runners.items():
            hopeless = turn >= 2 and max(found[name]) < HOPELESS * best
            if not (name in rivals and hopeless):
                found[name].append(rate(runner, min_seconds))
    return found


def fastest(rates_by_name: Mapping[str, Sequence[float]]) -> str:
    """Return the name with the largest median, of those measured in every turn."""
    return max(
        rates_by_name,
        key=lambda n: (len(rates_by_name[n]), statistics.median(rates_by_name[n])),
    )


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Compute the medians' ratio, and the range of the ratio over the turns."""
    turns = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "ratio": statistics.median(ours) / statistics.median(theirs),
        "ratio_range": [min(turns), max(turns)],
    }


def jax_runner(
    step: parallel.Step,
    state: Any,
    num_steps: int,
    data: Any = None,
    devices: Sequence[jax.Device] | None = None,
) -> tuple[Runner, float]:
    """Compile num_steps steps of all seeds, placed as in training.

    Args:
      step: see `parallel.run_steps`.
      state: of all seeds.
      num_steps: steps per call.
      data: see `parallel.run_steps`.
      devices: to spread the seeds over; None: all.

    Returns:
      A runner, which continues where it stopped, and the seconds to compile it.
    """
    devices = devices or jax.devices()
    run_steps = parallel.run_steps(
        step, num_steps, mode="none", devices=devices, data=data
    )
    state = jax.block_until_ready(state)

    def run() -> None:
        nonlocal state
        state, metrics = run_steps(state)
        jax.block_until_ready((state, metrics))

    first, later = seconds(run), seconds(run)
    return (run, num_steps * len(state.step)), max(0.0, first - later)


def step_runner(step: parallel.Step, state: Any, num_steps: int, *data: Any) -> Runner:
    """Compile one step of one seed, and call it from Python.

    Args:
      step: see `parallel.run_steps`.
      state: of one seed, without an axis of seeds.
      num_steps: calls between two waits.
      *data: arrays that every step reads.
    """
    data = jax.device_put(data)
    one = jax.jit(lambda state, *data: step(*data, state, None), donate_argnums=0)
    state = jax.tree.map(jnp.copy, state)  # it is donated

    def run() -> None:
        nonlocal state
        for _ in range(num_steps):
            state, metrics = one(state, *data)
        jax.block_until_ready((state, metrics))

    run()  # compiles
    return run, num_steps


def memory() -> dict[str, float]:
    """Read the peak memory so far, in MiB: the process's and, on a GPU, JAX's."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    device = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in device:
        peak["device"] = device["peak_bytes_in_use"] / 2**20
    return peak


def set_up_torch() -> tuple[str, str]:
    """Choose PyTorch's device; return it and PyTorch's version.

    Raises:
      InputError: if PyTorch is missing, or cannot use the GPU that JAX uses.
    """
    if importlib.util.find_spec("torch") is None:
        raise errors.InputError(
            "PyTorch is missing: pip install -e '.[bench]', or give --notorch"
        )
    import torch

    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise errors.InputError(
            f"JAX runs on {jax.default_backend()}, and PyTorch has no CUDA: install "
            "PyTorch for it, or give --notorch"
        )
    torch.manual_seed(0)
    torch.set_num_threads(distributed.cpu_cores())
    if device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, which is JAX's default
    return device, torch.__version__
