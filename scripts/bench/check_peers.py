"""Check that a PyTorch peer of `torch_training.py` computes its JAX method.

Both train side by side on the same weights, batches and noise.

Dimension key: B batch, X data dimensions.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import torch
import torch_networks
import torch_training

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.methods.base import TrainState
from veegan_jax.runtime import rng


class Mismatch(ValueError):
    """A peer does not compute what its JAX method computes."""


def check(config: Config, device: str, warm_up: int = 30, steps: int = 3) -> float:
    """Train both side by side on the same weights, batches and noise.

    Args:
      config: what to train.
      device: where the peer runs.
      warm_up: steps that JAX takes first. (At step 0 Adam moves by the gradient's
        sign, and turns the rounding of a gradient near 0 into a whole step.)
      steps: steps compared.

    Returns:
      The largest relative error of the first compared step's losses.

    Raises:
      Mismatch: if a loss of the first compared step differs by more than 1e-5, or if
        at the end a network's parameters are, on average, further from JAX's than 5 %
        of their movement. (Float64 runs agree to 1e-13.)
    """
    state = methods.get(config.method).init(jax.random.key(0), config)
    draw = torch_training.make(config, device)
    with exact_products():
        step = step_on_given_noise(config)
        for _ in range(warm_up):
            state, _ = step(state, *_to_jax(draw.data(), *draw.noise()))
        start = state
        peer = torch_training.PEERS[config.method](config, state, torch.device(device))
        for i in range(steps):
            x_BX, noise = peer.data(), peer.noise()
            state, ours = step(state, *_to_jax(x_BX, *noise))
            theirs = peer.step(x_BX, *noise)
            if i == 0:
                errors = compare_losses(config, theirs, ours)
    compare_parameters(peer, start, state)
    return max(errors)


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Switch TF32 off in both libraries, on GPUs that have it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with jax.default_matmul_precision("highest"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _to_jax(*tensors: torch.Tensor) -> list[jax.Array]:
    return [jnp.asarray(a.cpu().numpy()) for a in tensors]


def compare_losses(
    config: Config, theirs: torch_training.Losses, ours: Any
) -> list[float]:
    """Return the losses' relative errors.

    Raises:
      Mismatch: if one is above 1e-5.
    """
    if set(theirs) != set(ours):
        raise Mismatch(f"{config.method}: losses {set(theirs)}, in JAX {set(ours)}")
    errors = []
    for name, loss in theirs.items():
        value, expected = loss.item(), float(ours[name])
        errors.append(abs(value - expected) / max(abs(expected), 1e-6))
        if not errors[-1] <= 1e-5:
            raise Mismatch(
                f"{config.method}: {name} is {value:.8g}, in JAX {expected:.8g}"
            )
    return errors


def compare_parameters(
    peer: Any,
    start: TrainState,
    end: TrainState,
    tensors: Callable = torch_networks.tensors,
) -> None:
    """Refuse a peer whose parameters did not move as JAX's did.

    Args:
      peer: after its steps.
      start: of the JAX run, where the peer began.
      end: of the JAX run.
      tensors: turns a flax network's parameters into a list like the peer's.

    Raises:
      Mismatch: see `check`.
    """
    trees = {
        name: (network.parameters(), start.params[name], end.params[name])
        for name, network in peer.networks.items()
    }
    if peer.ema is not None:
        trees["average"] = peer.ema, start.ema, end.ema
    for name, (theirs, before, after) in trees.items():
        cpu = torch.device("cpu")
        there = torch.cat([p.detach().cpu().flatten() for p in theirs])
        origin, here = (
            torch.cat([p.flatten() for p in tensors(tree, cpu)])
            for tree in (before, after)
        )
        # The mean, not the maximum: where a gradient is only rounding (D's last bias
        # under a relativistic loss), Adam turns the rounding into whole steps.
        moved, apart = (here - origin).abs().mean(), (here - there).abs().mean()
        if not apart <= 0.05 * moved + 1e-7 * here.abs().mean():  # 1e-7: float32
            raise Mismatch(
                f"{peer.config.method}: the {name} moved by {moved:.3g} in JAX, but "
                f"PyTorch's is {apart:.3g} away (mean over its parameters)"
            )


@functools.cache  # compiling is most of a check's time
def step_on_given_noise(config: Config) -> Any:
    """Make the JAX step a function of (state, batch, *normals)."""
    train_step = methods.get(config.method).train_step

    def step(state, x_BX, *noise):
        unused = list(noise)

        def normal(key, shape, *, axis_name=None):
            del key, axis_name
            if not unused or unused[0].shape != tuple(shape):
                raise Mismatch(f"{config.method} draws {shape}, the peer does not")
            return unused.pop(0)

        # Every method draws by this one function; only tracing sees the substitute.
        with mock.patch.object(rng, "normal", normal):
            result = train_step(state, x_BX, config=config)
        if unused:
            raise Mismatch(f"{config.method} never draws {unused[0].shape}")
        return result

    return jax.jit(step)
