"""The PyTorch peers on images as bench/images.py times them: made and checked.

Dimension key: N digits, H height, W width.
"""

import functools
import itertools
import time

import given_noise
import numpy as np
import timing
import torch
import torch_images
import torch_variants

from veegan_jax.config import Config
from veegan_jax.methods.base import TrainState
from veegan_jax.runtime import distributed


def make(
    config: Config,
    state: TrainState,
    device: str,
    digits_NHW: np.ndarray,
    num_steps: int,
    *,
    compiled: bool = True,
) -> tuple[dict[str, timing.Runner], float, str]:
    """Make a peer for each layout, and compile the faster one; check all of them.

    On CPU each layout has one thread and all; the fastest of the four is compiled.

    Args:
      config: what to train.
      state: where JAX begins.
      device: where.
      digits_NHW: uint8, what is stacked.
      num_steps: steps per call of a runner, even.
      compiled: whether to try `torch.compile`.

    Returns:
      Runners by name, the largest relative error, and how compiling went.

    Raises:
      given_noise.Mismatch: if a peer's step is not the JAX step.
    """
    runners, errors, times = {}, [], {}
    cores = distributed.cpu_cores()
    numbers = sorted({1, cores}, reverse=True) if device == "cpu" else [cores]
    new = functools.partial(
        torch_images.GAN, config, state, torch.device(device), digits_NHW
    )
    start = torch_images.warm_up(new(), state)

    def add(layout: str, threads: int, mode: str = "") -> str:
        torch.set_num_threads(threads)  # which a program is compiled for
        peer = new(layout)
        if mode:
            peer.compile(torch_variants.MODES[mode])
        errors.append(torch_images.check(peer, start))
        way = f"{layout}, {mode}" if mode else layout
        name = torch_variants.label(way, threads, device)
        runners[name] = torch_variants.runner(
            lambda: peer.step(peer.data(), peer.noise()), device, num_steps, threads
        )
        return name

    for layout, threads in itertools.product(torch_images.LAYOUTS, numbers):
        name = add(layout, threads)
        times[layout, threads] = timing.seconds(runners[name][0])
    if not compiled:
        return runners, max(errors), "not tried"
    best = min(times, key=times.__getitem__)
    torch.compiler.reset()  # else programs of earlier peers count against a limit
    begin = time.perf_counter()
    try:
        for mode in torch_variants.modes(device):
            add(*best, mode)
    except given_noise.Mismatch:
        raise
    except Exception as error:  # of many kinds: no C++ compiler, an older PyTorch
        return runners, max(errors), torch_variants.unavailable(error)
    seconds = time.perf_counter() - begin
    return runners, max(errors), f"compiled and checked in {seconds:.0f} s"
