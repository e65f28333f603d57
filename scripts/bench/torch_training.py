"""The PyTorch peers of the five methods: the same steps in plain eager PyTorch.

Written as a careful PyTorch user would: nn.Linear and nn.BatchNorm1d, one forward pass
shared by both losses, `torch.autograd.grad` so that each loss reaches only its own
networks, the fused Adam, and noise drawn on the fly. `check_peers.py` proves a peer
equal to the JAX method before `bench/training.py` times it.

Dimension key: B batch, Z latent, E noise inputs, X data dimensions.
"""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax
import torch
from torch import nn
from torch.autograd import grad
from torch.func import functional_call
from torch.nn.functional import leaky_relu, softplus

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.data import mixtures
from veegan_jax.methods.base import TrainState

Losses = dict[str, torch.Tensor]

_ACTIVATIONS = {
    "relu": torch.relu,
    "leaky_relu": lambda x: leaky_relu(x, 0.2),
    "tanh": torch.tanh,
}


class MLP(nn.Module):
    """`veegan_jax.networks.mlp.MLP` with the parameters of one of its instances."""

    def __init__(self, params: Any, activation: str, maxout: int) -> None:
        super().__init__()
        names = (f"Dense_{i}" for i in range(len(params)))
        dense = [_linear(params[n]) for n in names if n in params]
        self.out = dense.pop()
        self.hidden = nn.ModuleList(dense)
        norms = (f"BatchNorm_{i}" for i in range(len(params)))
        self.norms = nn.ModuleList(_norm(params[n]) for n in norms if n in params)
        self.activation = _ACTIVATIONS[activation]
        self.maxout = maxout
        frequencies = params.get("FourierFeatures_0", {}).get("frequencies")
        self.register_buffer("frequencies", _tensor(frequencies))

    def forward(self, *inputs_BF: torch.Tensor) -> torch.Tensor:
        *others, h_BF = inputs_BF
        if self.frequencies is not None:
            angle_BF = h_BF @ self.frequencies
            h_BF = torch.cat([h_BF, angle_BF.sin(), angle_BF.cos()], dim=1)
        h_BF = torch.cat([*others, h_BF], dim=1) if others else h_BF
        for i, layer in enumerate(self.hidden):
            h_BF = layer(h_BF)
            if self.norms:
                h_BF = self.norms[i](h_BF)
            if self.maxout:
                h_BF = h_BF.unflatten(1, (-1, self.maxout)).max(dim=2).values
            else:
                h_BF = self.activation(h_BF)
        return self.out(h_BF)


def _tensor(x: Any) -> torch.Tensor | None:
    return None if x is None else torch.tensor(np.asarray(x))


def tensors(tree: Any, device: torch.device) -> list[torch.Tensor]:
    """A flax network's parameters, or moments, in the order of the peer's."""
    return [p.detach().to(device) for p in MLP(tree, "relu", 0).parameters()]


def _moments(opt_state: Any, device: torch.device) -> tuple[list, list]:
    """Adam's m and v of one network."""
    m, v = (optax.tree_utils.tree_get(opt_state, name) for name in ("mu", "nu"))
    return tensors(m, device), tensors(v, device)


def _linear(params: Any) -> nn.Linear:
    kernel = _tensor(params["kernel"]).T.contiguous()
    layer = nn.Linear(kernel.shape[1], kernel.shape[0], bias="bias" in params)
    layer.weight = nn.Parameter(kernel)
    if "bias" in params:
        layer.bias = nn.Parameter(_tensor(params["bias"]))
    return layer


def _norm(params: Any) -> nn.BatchNorm1d:
    layer = nn.BatchNorm1d(len(params["scale"]), momentum=0.01)  # flax's 0.99
    layer.weight = nn.Parameter(_tensor(params["scale"]))
    layer.bias = nn.Parameter(_tensor(params["bias"]))
    return layer


class Peer(abc.ABC):
    """Networks, optimizers and data of one run; a subclass adds the method's `step`.

    Args:
      config: what to train.
      state: the JAX run to continue: its networks, Adam's moments and G's average.
      device: where to train.
    """

    def __init__(self, config: Config, state: TrainState, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.steps_taken = int(state.step)
        self.networks = {
            name: MLP(
                params,
                config.networks.activation,
                config.networks.maxout if name == "discriminator" else 0,
            ).to(device)
            for name, params in state.params.items()
        }
        self.g, self.d = self.networks["generator"], self.networks["discriminator"]
        self.r = self.networks.get("reconstructor")
        self.params_d = list(self.d.parameters())
        self.params_gr = [
            p for n in (self.g, self.r) if n is not None for p in n.parameters()
        ]
        self.params_g = list(self.g.parameters())
        self.ema = tensors(state.ema, device) if config.optimizer.ema else None
        self.adam_d = self._adam(self.params_d)
        self.adam_gr = self._adam(self.params_gr)
        for name, network in self.networks.items():
            adam = self.adam_d if network is self.d else self.adam_gr
            self._restore(adam, network, *_moments(state.opt_state[name], device))
        mixture = mixtures.get(config.dataset)
        self.means_KX = _tensor(mixture.means_KX).to(device)
        self.sigma, self.live_size = mixture.sigma, mixture.live_size

    def _adam(self, params: list[nn.Parameter]) -> torch.optim.Adam:
        c = self.config
        return torch.optim.Adam(
            params, betas=(c.optimizer.beta1, c.optimizer.beta2), eps=1e-8, fused=True
        )

    def _restore(self, adam: torch.optim.Adam, network: MLP, ms: Any, vs: Any) -> None:
        for p, m, v in zip(network.parameters(), ms, vs, strict=True):
            step = torch.tensor(float(self.steps_taken), device=self.device)
            adam.state[p] = {"step": step, "exp_avg": m, "exp_avg_sq": v}

    def data(self) -> torch.Tensor:
        """A batch from the mixture, x_BX."""
        size = (self.config.batch_size,)
        modes, _ = self.means_KX.shape
        x_BX = self.means_KX[torch.randint(modes, size, device=self.device)]
        noise = torch.randn(*size, self.live_size, device=self.device)
        x_BX[:, : self.live_size] += self.sigma * noise
        return x_BX

    def noise(self) -> list[torch.Tensor]:
        """One step's normals, in the order in which the JAX method draws them."""
        rows = self.config.batch_size
        return [torch.randn(rows, n, device=self.device) for n in self.noise_sizes()]

    def noise_sizes(self) -> list[int]:
        return [self.config.latent_size + self.config.networks.generator_noise]

    @abc.abstractmethod
    def step(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Losses:
        """One update of all networks, as the JAX method's."""

    def minimise(self, loss_d: torch.Tensor, loss_gr: torch.Tensor) -> None:
        """Both gradients from the one forward pass, then the update."""
        grads_d = grad(loss_d, self.params_d, retain_graph=True)
        self.update(grads_d, grad(loss_gr, self.params_gr))

    def update(
        self, grads_d: Sequence[torch.Tensor] | None, grads_gr: Sequence[torch.Tensor]
    ) -> None:
        """Adam on all networks (D's unless grads_d is None), then G's average."""
        rate, rate_d = self.rates(self.steps_taken)
        if grads_d is not None:
            _minimise(self.adam_d, self.params_d, grads_d, rate_d)
        _minimise(self.adam_gr, self.params_gr, grads_gr, rate)
        if self.ema:
            with torch.no_grad():
                warm = (1 + self.steps_taken) / (10 + self.steps_taken)
                weight = 1 - min(self.config.optimizer.ema, warm)
                torch._foreach_lerp_(self.ema, self.params_g, weight)
        self.steps_taken += 1

    def rates(self, step: int) -> tuple[float, float]:
        """Step sizes of G and R, and of D."""
        c = self.config
        scale = 1.0
        if c.optimizer.schedule == "cosine":
            start = int(c.optimizer.schedule_hold * c.steps)
            share = max(0.0, min(1.0, (step - start) / (c.steps - start)))
            scale = 0.5 * (1 + math.cos(math.pi * share))
        return scale * c.optimizer.learning_rate, scale * c.optimizer.learning_rate_d


def _minimise(
    adam: torch.optim.Adam,
    params: Sequence[nn.Parameter],
    grads: Sequence[torch.Tensor],
    rate: float,
) -> None:
    for p, g in zip(params, grads, strict=True):
        p.grad = g
    adam.param_groups[0]["lr"] = rate
    adam.step()


class GAN(Peer):
    def step(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Losses:
        (z_BZ,) = noise
        real_logit, fake_logit = self.d(x_BX), self.d(self.g(z_BZ))
        loss_d = softplus(-real_logit).mean() + softplus(fake_logit).mean()
        loss_g = softplus(-fake_logit).mean()
        self.minimise(loss_d, loss_g)
        return {"loss_d": loss_d, "loss_g": loss_g}


class ALI(Peer):
    def noise_sizes(self) -> list[int]:
        return [*super().noise_sizes(), self.config.objective.reconstructor_noise]

    def step(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Losses:
        latent_BZE, noise_BE = noise
        z_BZ = latent_BZE[:, : self.config.latent_size]
        real_logit = self.d(self.r(noise_BE, x_BX), x_BX)
        fake_logit = self.d(z_BZ, self.g(latent_BZE))
        loss_d = softplus(-real_logit).mean() + softplus(fake_logit).mean()
        loss_gr = softplus(real_logit).mean() + softplus(-fake_logit).mean()
        self.minimise(loss_d, loss_gr)
        return {"loss_d": loss_d, "loss_gr": loss_gr}


class Unrolled(Peer):
    def __init__(self, config: Config, state: TrainState, device: torch.device) -> None:
        super().__init__(config, state, device)
        # torch.optim cannot be differentiated through: D's moments are kept here.
        self.m_d, self.v_d = _moments(state.opt_state["discriminator"], device)

    def step(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Losses:
        (z_BZ,) = noise
        fake_BX = self.g(z_BZ)
        names = [name for name, _ in self.d.named_parameters()]

        def loss_of_d(params: list[torch.Tensor]) -> torch.Tensor:
            named = dict(zip(names, params, strict=True))
            real_logit = functional_call(self.d, named, (x_BX,))
            fake_logit = functional_call(self.d, named, (fake_BX,))
            return softplus(-real_logit).mean() + softplus(fake_logit).mean()

        params, m, v = self.params_d, self.m_d, self.v_d
        unrolled = []
        for i in range(self.config.objective.unrolled_steps):
            loss_d = loss_of_d(params)
            grads = grad(loss_d, params, create_graph=True)
            params, m, v = self.adam(params, grads, m, v, self.steps_taken + i)
            unrolled.append((loss_d, params, m, v))
        loss_g = -loss_of_d(params)
        self.update(None, grad(loss_g, self.params_g))
        loss_d, params, m, v = unrolled[0]  # D's real update
        with torch.no_grad():
            for old, new in zip(self.params_d, params, strict=True):
                old.copy_(new)
        self.m_d, self.v_d = [a.detach() for a in m], [a.detach() for a in v]
        return {"loss_d": loss_d, "loss_g": loss_g}

    def adam(self, params: Any, grads: Any, m: Any, v: Any, step: int) -> Any:
        """One differentiable update of D, as step number `step`."""
        b1, b2 = self.config.optimizer.beta1, self.config.optimizer.beta2
        _, rate = self.rates(step)
        m = [b1 * a + (1 - b1) * g for a, g in zip(m, grads, strict=True)]
        v = [b2 * a + (1 - b2) * g * g for a, g in zip(v, grads, strict=True)]
        scale_m, scale_v = 1 / (1 - b1 ** (step + 1)), 1 / (1 - b2 ** (step + 1))
        params = [
            p - rate * scale_m * a / ((scale_v * b + 1e-16).sqrt() + 1e-8)
            for p, a, b in zip(params, m, v, strict=True)
        ]
        return params, m, v


class VEEGAN(Peer):
    def noise_sizes(self) -> list[int]:
        return [*super().noise_sizes(), self.config.latent_size]

    def step(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Losses:
        config = self.config
        latent_BZE, code_noise_BZ = noise
        z_BZ = latent_BZE[:, : config.latent_size]
        fake_BX = self.g(latent_BZE)
        reconstruction = 0.5 * ((z_BZ - self.r(fake_BX)) ** 2).sum(dim=1).mean()
        with torch.no_grad():
            code_BZ = self.r(x_BX) + config.objective.reconstructor_std * code_noise_BZ
        fake_logit, real_logit = self.d(z_BZ, fake_BX), self.d(code_BZ, x_BX)
        loss_d = softplus(-fake_logit).mean() + softplus(real_logit).mean()
        loss_gr = (
            fake_logit.mean() + config.objective.reconstruction_weight * reconstruction
        )
        self.minimise(loss_d, loss_gr)
        return {"loss_d": loss_d, "loss_gr": loss_gr, "reconstruction": reconstruction}


class VEEGANPlus(Peer):
    def step(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Losses:
        config, rows = self.config, len(x_BX)
        (latent_BZE,) = noise
        x_BX = x_BX / config.data.scale
        z_BZ = latent_BZE[:, : config.latent_size]
        fake_BX = self.g(latent_BZE)
        fake_code_BZ, code_BZ = self.r(torch.cat([fake_BX, x_BX])).chunk(2)
        reconstruction = 0.5 * ((z_BZ - fake_code_BZ) ** 2).sum(dim=1).mean()
        pairs = torch.cat([z_BZ, code_BZ]), torch.cat([fake_BX, x_BX])
        pairs = [pair.detach().requires_grad_() for pair in pairs]
        logit = self.d(*pairs)[:, 0]
        slope_z, slope_x = grad(logit.sum(), pairs, create_graph=True)
        fake_logit, real_logit = logit.chunk(2)
        margin_B = real_logit - fake_logit
        penalty = 0.5 * ((slope_z**2).sum() + (slope_x**2).sum()) / rows
        loss_d = softplus(-margin_B).mean()
        if config.objective.gamma:
            loss_d = loss_d + self.gamma() * penalty
        grads_d = grad(loss_d, self.params_d)
        # As in JAX: D's slopes are at hand, so G and R need no second pass through D.
        outputs = fake_BX, code_BZ, reconstruction
        weight = config.objective.reconstruction_weight
        with torch.no_grad():
            slope_B1 = margin_B.sigmoid()[:, None] / rows
            cotangents = (
                -slope_B1 * slope_x[:rows],
                slope_B1 * slope_z[rows:],
                torch.full_like(reconstruction, weight),
            )
        self.update(grads_d, grad(outputs, self.params_gr, cotangents))
        loss_gr = softplus(margin_B).mean() + weight * reconstruction
        return {
            "loss_d": loss_d,
            "loss_gr": loss_gr,
            "reconstruction": reconstruction,
            "penalty": penalty,
        }

    def gamma(self) -> float:
        c = self.config
        share = self.steps_taken / c.steps
        progress = (share - c.objective.gamma_decay_start) / (
            c.objective.gamma_decay_end - c.objective.gamma_decay_start
        )
        progress = max(0.0, min(1.0, progress))
        return (
            c.objective.gamma * (c.objective.gamma_end / c.objective.gamma) ** progress
        )


PEERS: dict[str, type[Peer]] = {
    "gan": GAN,
    "ali": ALI,
    "unrolled": Unrolled,
    "veegan": VEEGAN,
    "veegan_plus": VEEGANPlus,
}


def make(config: Config, device: str) -> Peer:
    """A peer at step 0."""
    state = methods.get(config.method).init(jax.random.key(0), config)
    return PEERS[config.method](config, state, torch.device(device))


def runner(
    config: Config, device: str, num_steps: int, threads: int
) -> tuple[Callable[[], None], int]:
    """A function that trains on for num_steps and waits for the device; num_steps."""
    peer = make(config, device)

    def run() -> None:
        torch.set_num_threads(threads)
        for _ in range(num_steps):
            peer.step(peer.data(), *peer.noise())
        if device == "cuda":
            torch.cuda.synchronize()

    run()  # the first steps allocate
    return run, num_steps


def matmul(device: str, size: int) -> Callable[[], None]:
    """A function that multiplies two square matrices and waits for the result."""
    a = torch.randn(size, size, device=device)

    def run() -> None:
        torch.mm(a, a)
        if device == "cuda":
            torch.cuda.synchronize()

    return run
