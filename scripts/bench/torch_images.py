"""The PyTorch peer of the GAN on images: the same DCGAN step, checked against JAX.

It is written as a careful PyTorch user would write it: one forward pass of G for both
losses, `torch.autograd.grad` so that each loss reaches only its own network, no
gradient of D in the steps in which D stays as it is, the fused Adam, and the digits on
the device as uint8. `torch_image_variants.py` makes those that are timed.

PyTorch pads an image equally on all sides; SAME padding of an even size pads the lower
and right side more. Mirrored images give equal results: the peer's images and kernels
have their rows and columns reversed. The digits are reversed once, before training, so
this costs nothing.

Dimension key: B batch, Z latent, N digits, H height, W width, C channels.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import check_peers
import given_noise
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch_training
from torch import nn
from torch.autograd import grad
from torch.nn.functional import softplus

from veegan_jax.config import Config
from veegan_jax.methods.base import TrainState
from veegan_jax.networks import dcgan

LAYOUTS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
Gradients = tuple[torch.Tensor, ...]


def generator(config: Config) -> nn.Sequential:
    """Build `veegan_jax.networks.dcgan.Generator`, BatchNorm in training mode."""
    k, widths = config.networks.kernel_size, config.networks.generator_widths
    channels, output_conv = config.data.channels, config.networks.output_conv
    stages = len(widths) - output_conv
    sizes = [-(-config.data.image_size // 2**i) for i in range(stages, -1, -1)]
    _, latent_size = config.latent_shape(1)
    layers = [
        nn.Linear(latent_size, widths[0] * sizes[0] ** 2, bias=False),
        nn.Unflatten(1, (widths[0], sizes[0], sizes[0])),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    ]
    outs = [*widths[1:]] + ([] if output_conv else [channels])
    for i, width in enumerate(outs):
        padding = k // 2, sizes[i + 1] - 2 * sizes[i] + 1  # of the input, the output
        last = i == stages - 1 and not output_conv
        layers.append(nn.ConvTranspose2d(widths[i], width, k, 2, *padding, bias=last))
        layers += [] if last else [nn.BatchNorm2d(width), nn.ReLU()]
    if output_conv:
        layers.append(nn.Conv2d(outs[-1], channels, k, padding=k // 2))
    return nn.Sequential(*layers, nn.Tanh())


def discriminator(config: Config) -> nn.Sequential:
    """Build `veegan_jax.networks.dcgan.Encoder` as the GAN's discriminator."""
    k = config.networks.kernel_size
    channels, size = config.data.channels, config.data.image_size
    layers: list[nn.Module] = []
    for i, width in enumerate(config.networks.discriminator_widths):
        layers.append(nn.Conv2d(channels, width, k, 2, k // 2, bias=not i))
        if i:
            layers.append(nn.BatchNorm2d(width, track_running_stats=False))
        layers.append(nn.LeakyReLU(dcgan.LEAK))
        channels, size = width, -(-size // 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size**2, 1))


def tensors(tree: Any, device: torch.device) -> list[torch.Tensor]:
    """List a flax network's parameters, or moments, in the order of the peer's."""
    return [torch.tensor(np.array(a)).to(device) for a in _arrays(tree)]


def _arrays(tree: Any) -> Iterator[np.ndarray]:
    names = []
    for i in range(len(tree)):
        if "ConvTranspose_0" in tree:
            names += [f"BatchNorm_{i}", f"ConvTranspose_{i}"]
        else:
            names += [f"Conv_{i}", f"BatchMoments_{i - 1}"]
    if "ConvTranspose_0" in tree:
        names = ["Dense_0", *names, "Conv_0"]
    else:
        names.append("Dense_0")
    names = [n for n in names if n in tree]
    for i, name in enumerate(names):
        layer = {n: np.asarray(a) for n, a in tree[name].items()}
        if name.startswith("Batch"):
            yield layer["scale"]
        elif name.startswith("ConvTranspose"):
            yield layer["kernel"].transpose(2, 3, 0, 1)  # upside down in flax: mirrored
        elif name.startswith("Conv"):
            yield layer["kernel"][::-1, ::-1].transpose(3, 2, 0, 1)
        elif i == 0:  # G's, to a small image
            yield _mirrored(layer["kernel"].T, len(tree["BatchNorm_0"]["bias"]))
        else:  # D's, from a small image
            yield _mirrored(layer["kernel"], len(tree[names[i - 1]]["bias"])).T
        if "bias" in layer:
            yield layer["bias"]


def _mirrored(rows: np.ndarray, channels: int) -> np.ndarray:
    """Reorder rows from [H, W, C] to [C, H, W], H and W reversed."""
    size = math.isqrt(len(rows) // channels)
    rows_HWC = rows.reshape(size, size, channels, -1)[::-1, ::-1]
    return rows_HWC.transpose(2, 0, 1, 3).reshape(rows.shape)


def to_jax(x_BCHW: torch.Tensor, z_BZ: torch.Tensor) -> list[jax.Array]:
    """Turn a peer's images and noise into the JAX step's."""
    x_BHWC = x_BCHW.flip(2, 3).permute(0, 2, 3, 1)
    return [jnp.asarray(a.cpu().numpy()) for a in (x_BHWC.contiguous(), z_BZ)]


class GAN:
    """Networks, optimizers and data of one run.

    Args:
      config: what to train: a preset of images, method gan.
      state: the JAX run to continue: its networks and Adam's moments.
      device: where to train.
      digits_NHW: uint8, what is stacked.
      layout: one of LAYOUTS.
    """

    ema = None  # no preset averages

    def __init__(
        self,
        config: Config,
        state: TrainState,
        device: torch.device,
        digits_NHW: np.ndarray,
        layout: str = "contiguous",
    ) -> None:
        self.config, self.device = config, device
        self.layout = LAYOUTS[layout]
        self.digits_NHW = torch.tensor(digits_NHW[:, ::-1, ::-1].copy()).to(device)
        num = config.data.num_stacks
        stacks = torch.randint(len(digits_NHW), (num, 3)) if num else None
        self.stacks = stacks if stacks is None else stacks.to(device)
        self.g, self.d = (
            network.to(device, memory_format=self.layout)
            for network in (generator(config), discriminator(config))
        )
        self.networks = {"generator": self.g, "discriminator": self.d}
        self.params_g, self.params_d = (list(n.parameters()) for n in (self.g, self.d))
        betas = config.optimizer.beta1, config.optimizer.beta2
        self.adam_g = torch.optim.Adam(
            self.params_g, config.optimizer.learning_rate, betas, fused=True
        )
        self.adam_d = torch.optim.Adam(
            self.params_d, config.optimizer.learning_rate_d, betas, fused=True
        )
        self.restore(state)
        self.run_gradients: Callable = self.gradients

    def compile(self, mode: str | None = None) -> None:
        """Make losses and gradients one program; the first step compiles it."""
        self.run_gradients = torch_training.compiled(self.gradients, mode)

    def restore(self, state: TrainState) -> None:
        """Continue from a JAX run."""
        self.steps_taken = int(state.step)
        adams = {"generator": self.adam_g, "discriminator": self.adam_d}
        for name, adam in adams.items():
            opt_state = state.opt_state[name]
            count, mu, nu = (
                optax.tree_utils.tree_get(opt_state, n) for n in ("count", "mu", "nu")
            )
            trees = state.params[name], mu, nu
            values = zip(*(tensors(t, self.device) for t in trees), strict=True)
            params = list(self.networks[name].parameters())
            for p, (value, m, v) in zip(params, values, strict=True):
                with torch.no_grad():
                    p.copy_(value)
                step = torch.tensor(float(count), device=self.device)
                m, v = (torch.empty_like(p).copy_(a).detach() for a in (m, v))
                adam.state[p] = {"step": step, "exp_avg": m, "exp_avg_sq": v}

    def data(self) -> torch.Tensor:
        """Draw a batch of stacks, x_BCHW in [-1, 1]."""
        batch = self.config.batch_size
        if self.stacks is None:
            index_B3 = torch.randint(
                len(self.digits_NHW), (batch, 3), device=self.device
            )
        else:
            row_B = torch.randint(len(self.stacks), (batch,), device=self.device)
            index_B3 = self.stacks[row_B]
        x_BCHW = self.digits_NHW[index_B3]
        x_BCHW = x_BCHW.to(torch.float32, memory_format=self.layout)
        return x_BCHW.div_(127.5).sub_(1)

    def noise(self) -> torch.Tensor:
        """Draw one step's normals, z_BZ."""
        shape = self.config.latent_shape(self.config.batch_size)
        return torch.randn(*shape, device=self.device)

    def gradients(
        self, x_BCHW: torch.Tensor, z_BZ: torch.Tensor, turn_of_d: bool
    ) -> tuple[dict[str, torch.Tensor], Gradients, Gradients]:
        """Compute losses and gradients; those of D only in its turn."""
        fake_logit = self.d(self.g(z_BZ))
        loss_g = softplus(-fake_logit).mean()
        if not turn_of_d:
            return {"loss_g": loss_g.detach()}, grad(loss_g, self.params_g), ()
        loss_d = softplus(-self.d(x_BCHW)).mean() + softplus(fake_logit).mean()
        grads_d = grad(loss_d, self.params_d, retain_graph=True)
        grads_g = grad(loss_g, self.params_g)
        losses = {"loss_d": loss_d.detach(), "loss_g": loss_g.detach()}
        return losses, grads_g, grads_d

    def step(self, x_BCHW: torch.Tensor, z_BZ: torch.Tensor) -> dict[str, torch.Tensor]:
        """Take one training step; `loss_d` is there in D's turn only."""
        turn_of_d = self.steps_taken % self.config.optimizer.discriminator_every == 0
        losses, grads_g, grads_d = self.run_gradients(x_BCHW, z_BZ, turn_of_d)
        _minimize(self.adam_g, self.params_g, grads_g)
        if turn_of_d:
            _minimize(self.adam_d, self.params_d, grads_d)
        self.steps_taken += 1
        return losses


def _minimize(
    adam: torch.optim.Adam, params: list[nn.Parameter], grads: Gradients
) -> None:
    for p, g in zip(params, grads, strict=True):
        p.grad = g
    adam.step()
    for p in params:  # a CUDA graph may use its memory again
        p.grad = None


def warm_up(peer: GAN, state: TrainState, steps: int = 10) -> TrainState:
    """Take an even number of JAX steps; `check_peers.check` says why."""
    with check_peers.exact_products():
        step = given_noise.step_on_given_noise(peer.config)
        for _ in range(steps):
            state, _ = step(state, *to_jax(peer.data(), peer.noise()))
    return state


def check(peer: GAN, start: TrainState, steps: int = 4) -> float:
    """Train peer and JAX side by side on the same weights, batches and noise.

    Args:
      peer: is set to the state where JAX starts.
      start: where JAX starts, after a warm-up.
      steps: steps compared.

    Returns:
      The largest relative error of the first compared step's losses.

    Raises:
      given_noise.Mismatch: if the two differ; see `check_peers.check`.
    """
    peer.restore(start)
    state = start
    with check_peers.exact_products():
        step = given_noise.step_on_given_noise(peer.config)
        for i in range(steps):
            x_BCHW, z_BZ = peer.data(), peer.noise()
            state, ours = step(state, *to_jax(x_BCHW, z_BZ))
            theirs = peer.step(x_BCHW, z_BZ)
            if i == 0:
                errors = given_noise.compare_losses(peer.config, theirs, ours)
    check_peers.compare_parameters(peer, start, state, tensors)
    return max(errors)
