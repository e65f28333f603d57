"""Check that a PyTorch peer of `torch_training.py` computes its JAX method.

Both train side by side on the same weights, batches and noise.

Dimension key: B batch, X data dimensions.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import given_noise
import jax
import jax.numpy as jnp
import numpy as np
import precisions
import torch
import torch_networks
import torch_training

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.methods.base import TrainState


def check(config: Config, device: str) -> float:
    """Train the eager peer and JAX side by side; see `compare`."""
    start = warm_up(config, device)
    peer = torch_training.PEERS[config.method](config, start, torch.device(device))
    return compare(peer, start, config)


def warm_up(config: Config, device: str, steps: int = 30) -> TrainState:
    """Take the first JAX steps on a peer's batches and noise.

    At step 0 Adam moves by the gradient's sign, and turns the rounding of a gradient
    near 0 into a whole step.
    """
    state = methods.get(config.method).init(jax.random.key(0), config)
    draw = torch_training.make(config, device)
    with exact_products():
        step = given_noise.step_on_given_noise(config)
        for _ in range(steps):
            state, _ = step(state, *_to_jax(draw.data(), *draw.noise()))
    return state


def compare(
    peer: torch_training.Peer, start: TrainState, config: Config, steps: int = 3
) -> float:
    """Train both side by side on the same weights, batches and noise.

    Args:
      peer: made from `start`.
      start: where JAX starts.
      config: what JAX trains.
      steps: steps compared.

    Returns:
      The largest relative error of the first compared step's losses.

    Raises:
      given_noise.Mismatch: if a loss of the first compared step differs by more than
        1e-5, or if at the end a network's parameters are, on average, further from
        JAX's than 5 % of their movement. (Float64 runs agree to 1e-13.)
    """
    state = start
    with exact_products():
        step = given_noise.step_on_given_noise(config)
        for i in range(steps):
            x_BX, noise = peer.data(), peer.noise()
            state, ours = step(state, *_to_jax(x_BX, *noise))
            theirs = peer.step(x_BX, *noise)
            if i == 0:
                errors = given_noise.compare_losses(config, theirs, ours)
    compare_parameters(peer, start, state)
    return max(errors)


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Switch TF32 off in both libraries, on GPUs that have it."""
    exact = jax.default_matmul_precision("highest")
    with precisions.torch_products("highest"), exact:
        yield


def _to_jax(*tensors: torch.Tensor) -> list[jax.Array]:
    return [jnp.asarray(a.cpu().numpy()) for a in tensors]


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
      given_noise.Mismatch: see `compare`.
    """
    trees = {
        name: (network.parameters(), start.params[name], end.params[name])
        for name, network in peer.networks.items()
    }
    if peer.ema is not None:
        trees["average"] = peer.ema, start.ema, end.ema

    def flat(tensors: Any) -> np.ndarray:
        return torch.cat([p.detach().cpu().flatten() for p in tensors]).numpy()

    for name, (theirs, before, after) in trees.items():
        cpu = torch.device("cpu")
        given_noise.compare_moves(
            f"{peer.config.method}: the {name}",
            flat(theirs),
            start=flat(tensors(before, cpu)),
            end=flat(tensors(after, cpu)),
        )
