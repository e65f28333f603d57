"""IvOM by PyTorch, pair by pair: the DCGAN generator's peer, and `torch.optim.LBFGS`.

It is written as a careful PyTorch user would write it: the weights are frozen, so that
only z's gradient is computed, and BatchNorm is in inference mode. Images are mirrored;
`torch_images` says why.

Dimension key: B batch, Z latent, H height, W width, C channels.
"""

import math
from typing import Any

import check_peers
import given_noise
import jax
import numpy as np
import timing
import torch
import torch_images
from torch import nn

from veegan_jax.common import errors
from veegan_jax.config import Config
from veegan_jax.methods.base import TrainState
from veegan_jax.networks.configs import DCGAN

HISTORY = 10  # as in the other solvers
MAX_EVALUATIONS = 10**6  # no limit: iterations are what is limited


def check_config(config: Config) -> None:
    """Refuse a generator that has no peer.

    Raises:
      InputError: unless it is DCGAN's, with BatchNorm and in float32.
    """
    networks = config.networks
    if (
        not isinstance(networks, DCGAN)
        or not networks.batch_norm
        or networks.dtype != "float32"
    ):
        raise errors.InputError(
            f"{config.method} on {config.dataset}: PyTorch's peer is DCGAN's generator "
            "alone, with BatchNorm and in float32; give --notorch"
        )


class Peer(nn.Module):
    """z [B, Z] -> mirrored pixels [B, C, H, W] in [0, 1], by a JAX run's generator.

    Args:
      config: the run's.
      state: of one seed.
      device: where.
      layout: one of `torch_images.LAYOUTS`.
      threads: of PyTorch's.
    """

    def __init__(
        self,
        config: Config,
        state: TrainState,
        device: torch.device,
        layout: str,
        threads: int,
    ) -> None:
        super().__init__()
        self.noise, self.scale = config.networks.generator_noise, config.data.scale
        self.device, self.threads = device, threads
        self.name = f"{layout}, {threads} thread{'s' if threads > 1 else ''}"
        network = torch_images.generator(config)
        trained = state.params["generator"] if state.ema is None else state.ema
        cpu = torch.device("cpu")
        values = torch_images.tensors(trained, cpu)
        norms = [m for m in network if isinstance(m, nn.BatchNorm2d)]
        with torch.no_grad():
            for p, value in zip(network.parameters(), values, strict=True):
                p.copy_(value)
            for i, norm in enumerate(norms):
                moments = state.batch_stats["generator"][f"BatchNorm_{i}"]
                norm.running_mean.copy_(torch.tensor(np.array(moments["mean"])))
                norm.running_var.copy_(torch.tensor(np.array(moments["var"])))
        network.eval().requires_grad_(False)
        memory_format = torch_images.LAYOUTS[layout]
        self.network = network.to(device, memory_format=memory_format)

    def forward(self, z_BZ: torch.Tensor) -> torch.Tensor:
        z_BZ = nn.functional.pad(z_BZ, (0, self.noise))
        return (self.scale * self.network(z_BZ) + 1) / 2

    def target(self, x_HWC: np.ndarray) -> torch.Tensor:
        """Turn an image into the peer's form, [1, C, H, W]."""
        mirrored = x_HWC[::-1, ::-1].transpose(2, 0, 1).copy()
        return torch.tensor(mirrored, device=self.device)[None]


def variants(
    config: Config, state: TrainState, device: str, threads: int
) -> dict[str, Peer]:
    """Make peers by name: both layouts, with one thread and with all of them."""
    counts = sorted({1, threads}) if device == "cpu" else [threads]
    peers = [
        Peer(config, state, torch.device(device), layout, count)
        for layout in torch_images.LAYOUTS
        for count in counts
    ]
    return {peer.name: peer for peer in peers}


def check(peer: Peer, sample: Any, z_BZ: np.ndarray) -> float:
    """Return the largest difference of a pixel from JAX's images of the same z.

    Raises:
      given_noise.Mismatch: if it exceeds 1e-4.
    """
    with check_peers.exact_products(), torch.no_grad():
        ours = np.asarray(sample(jax.numpy.asarray(z_BZ)))
        theirs = peer(torch.tensor(z_BZ, device=peer.device)).flip(2, 3)
    difference = np.abs(theirs.permute(0, 2, 3, 1).cpu().numpy() - ours).max()
    if not difference <= 1e-4:
        raise given_noise.Mismatch(
            f"PyTorch's generator differs from JAX's by {difference:.3g} in a pixel"
        )
    return float(difference)


def minimize(
    peer: Peer,
    target_X: torch.Tensor,
    start_z_Z: np.ndarray,
    *,
    iterations: int,
    tolerance: float,
) -> tuple[np.ndarray, float, int]:
    """Minimize one image's error by L-BFGS from one start.

    Args:
      peer: the generator.
      target_X: the image, by `Peer.target`.
      start_z_Z: where it begins.
      iterations: at most.
      tolerance: of the change of the error, of z's and of the gradient.

    Returns:
      The best z_Z, its error, and the number of evaluations of error and gradient.
    """
    torch.set_num_threads(peer.threads)
    z_BZ = torch.tensor(start_z_Z[None], device=peer.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [z_BZ],
        max_iter=iterations,
        max_eval=MAX_EVALUATIONS,
        tolerance_grad=tolerance,
        tolerance_change=tolerance,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )
    evaluations, best = 0, (start_z_Z, math.inf)

    def closure():
        nonlocal evaluations, best
        optimizer.zero_grad()
        error = (peer(z_BZ) - target_X).square().mean()
        error.backward()
        evaluations += 1
        if error.item() < best[1]:
            best = z_BZ.detach().cpu().numpy()[0].copy(), error.item()
        return error

    optimizer.step(closure)
    return *best, evaluations


def fastest(peers: dict[str, Peer], x_HWC: np.ndarray, z_Z: np.ndarray) -> str:
    """Return the name of the peer whose first iterations take the least time."""

    def run(peer):
        minimize(peer, peer.target(x_HWC), z_Z, iterations=5, tolerance=0.0)

    for peer in peers.values():
        run(peer)  # the first call allocates
    runners = {name: (lambda p=p: run(p), 1) for name, p in peers.items()}
    return timing.fastest(timing.rates(runners, 3, 0.0))
