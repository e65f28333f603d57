"""The PyTorch peers on mixtures as bench/training.py times them: made and checked.

Eager and compiled, each with one thread (which small networks often prefer) and with
all cores; on a GPU also compiled to CUDA graphs, which save the launches of kernels.
"""

import time
from collections.abc import Callable
from typing import Any

import check_peers
import given_noise
import timing
import torch
import torch_training

from veegan_jax.config import Config
from veegan_jax.runtime import distributed

COMPILED = "compiled"
NOT_UNROLLED = "not tried: the unrolled updates take over five minutes to compile"
# Name of a way on a GPU -> torch.compile's mode.
MODES = {COMPILED: None, "compiled, CUDA graphs": "reduce-overhead"}


def modes(device: str) -> list[str]:
    """List the ways to compile that mean something on a device."""
    return list(MODES) if device == "cuda" else [COMPILED]


def label(way: str, threads: int, device: str) -> str:
    """Name a variant in the record."""
    if device != "cpu":
        return way
    return f"{way}, {threads} thread{'s' * (threads > 1)}"


def make(
    config: Config, device: str, *, compiled: bool, num_steps: int = 10
) -> tuple[dict[str, timing.Runner], float, str]:
    """Make every variant of a peer, and check each against the JAX step.

    Args:
      config: what to train.
      device: where.
      compiled: whether to try `torch.compile`.
      num_steps: steps per call of a runner.

    Returns:
      Runners by name, the largest relative error, and how compiling went.

    Raises:
      given_noise.Mismatch: if a peer's step is not the JAX step.
    """
    start = check_peers.warm_up(config, device)
    runners, errors = {}, []

    def add(way: str, threads: int) -> None:
        peer = torch_training.PEERS[config.method](config, start, torch.device(device))
        torch.set_num_threads(threads)  # which a program is compiled for
        if way != "eager":
            peer.compile(MODES[way])
        errors.append(check_peers.compare(peer, start, config))
        runners[label(way, threads, device)] = runner(
            lambda: peer.step(peer.data(), *peer.noise()), device, num_steps, threads
        )

    cores = distributed.cpu_cores()
    numbers = sorted({1, cores}) if device == "cpu" else [cores]
    for threads in numbers:
        add("eager", threads)
    if not compiled:
        return runners, max(errors), "not tried"
    if config.method == "unrolled":
        return runners, max(errors), NOT_UNROLLED
    # Compiling takes long: for the better number of threads alone.
    best = min(
        numbers, key=lambda n: timing.seconds(runners[label("eager", n, device)][0])
    )
    torch.compiler.reset()  # else programs of earlier peers count against a limit
    begin = time.perf_counter()
    try:
        for way in modes(device):
            add(way, best)
    except given_noise.Mismatch:
        raise
    except Exception as error:  # of many kinds: no C++ compiler, an older PyTorch
        return runners, max(errors), unavailable(error)
    seconds = time.perf_counter() - begin
    return runners, max(errors), f"compiled and checked in {seconds:.0f} s"


def unavailable(error: Exception) -> str:
    """Say in one line why there is no compiled peer."""
    reason = (str(error).strip() or "no reason given").splitlines()[0]
    return f"unavailable: {type(error).__name__}: {reason}"


def runner(
    step: Callable[[], Any], device: str, num_steps: int, threads: int
) -> timing.Runner:
    """Return a function that takes num_steps steps and waits; and num_steps."""

    def run() -> None:
        torch.set_num_threads(threads)
        for _ in range(num_steps):
            if device == "cuda":
                torch.compiler.cudagraph_mark_step_begin()
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    run()  # the first steps allocate
    return run, num_steps


def matmul(device: str, size: int) -> Callable[[], None]:
    """Return a function that multiplies two square matrices and waits."""
    a = torch.randn(size, size, device=device)

    def run() -> None:
        torch.mm(a, a)
        if device == "cuda":
            torch.cuda.synchronize()

    return run
