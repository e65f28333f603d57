"""The PyTorch peers of seven methods: the same steps, eager or compiled.

They are written as a careful PyTorch user would write them: nn.Linear and
nn.BatchNorm1d, one forward pass for both losses, `torch.autograd.grad` so that each
loss reaches only its own networks, the fused Adam, and noise drawn in the step.
`torch_variants.py` makes and checks those that `bench/training.py` times.

What was tried on CPU and is not faster: one pass of D over real and generated examples
together; noise and batches drawn by the compiled program. Adam inside of it is hardly
faster and takes a minute to compile (torch.compile cannot read the fused one).

Dimension key: B batch, Z latent, E noise inputs, X data dimensions, K modes.
"""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import torch
import torch_networks
from torch import nn
from torch.autograd import grad
from torch.func import functional_call
from torch.nn.functional import softplus

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.data import mixtures
from veegan_jax.methods.base import TrainState

Losses = dict[str, torch.Tensor]
Gradients = Sequence[torch.Tensor]


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
            name: torch_networks.MLP(
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
        self.ema = (
            torch_networks.tensors(state.ema, device) if config.optimizer.ema else None
        )
        self.adam_d = self._adam(self.params_d)
        self.adam_gr = self._adam(self.params_gr)
        for name, network in self.networks.items():
            adam = self.adam_d if network is self.d else self.adam_gr
            self._restore(
                adam, network, *torch_networks.moments(state.opt_state[name], device)
            )
        mixture = mixtures.get(config.dataset)
        self.means_KX = torch_networks.tensor(mixture.means_KX).to(device)
        self.sigma, self.live_size = mixture.sigma, mixture.live_size

    def _adam(self, params: list[nn.Parameter]) -> torch.optim.Adam:
        betas = self.config.optimizer.beta1, self.config.optimizer.beta2
        return torch.optim.Adam(params, betas=betas, eps=1e-8, fused=True)

    def _restore(
        self, adam: torch.optim.Adam, network: torch_networks.MLP, ms: Any, vs: Any
    ) -> None:
        for p, m, v in zip(network.parameters(), ms, vs, strict=True):
            step = torch.tensor(float(self.steps_taken), device=self.device)
            adam.state[p] = {"step": step, "exp_avg": m, "exp_avg_sq": v}

    def data(self) -> torch.Tensor:
        """Draw a batch from the mixture, x_BX."""
        size = (self.config.batch_size,)
        modes, _ = self.means_KX.shape
        x_BX = self.means_KX[torch.randint(modes, size, device=self.device)]
        noise = torch.randn(*size, self.live_size, device=self.device)
        x_BX[:, : self.live_size] += self.sigma * noise
        return x_BX

    def noise(self) -> list[torch.Tensor]:
        """Draw one step's normals, in the order of the JAX method."""
        rows = self.config.batch_size
        return [torch.randn(rows, n, device=self.device) for n in self.noise_sizes()]

    def noise_sizes(self) -> list[int]:
        """Return how many normals an example needs, draw by draw."""
        return [self.config.latent_shape(1)[1]]

    @abc.abstractmethod
    def step(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Losses:
        """Update all networks once, as the JAX method does."""

    def update(self, grads_d: Gradients | None, grads_gr: Gradients) -> None:
        """Update all networks by Adam (not D if grads_d is None), then G's average."""
        rate, rate_d = self.rates(self.steps_taken)
        if grads_d is not None:
            _minimize(self.adam_d, self.params_d, grads_d, rate_d)
        _minimize(self.adam_gr, self.params_gr, grads_gr, rate)
        if self.ema:
            with torch.no_grad():
                warm = (1 + self.steps_taken) / (10 + self.steps_taken)
                weight = 1 - min(self.config.optimizer.ema, warm)
                torch._foreach_lerp_(self.ema, self.params_g, weight)
        self.steps_taken += 1

    def rates(self, step: float) -> tuple[float, float]:
        """Return the step size of G and R, and that of D."""
        adam, steps = self.config.optimizer, self.config.steps
        scale = 1.0
        if adam.schedule == "cosine":
            start = int(adam.schedule_hold * steps)
            share = max(0.0, min(1.0, (step - start) / (steps - start)))
            scale = 0.5 * (1 + math.cos(math.pi * share))
        return scale * adam.learning_rate, scale * adam.learning_rate_d


def _minimize(
    adam: torch.optim.Adam,
    params: Sequence[nn.Parameter],
    grads: Sequence[torch.Tensor],
    rate: float,
) -> None:
    for p, g in zip(params, grads, strict=True):
        p.grad = g
    adam.param_groups[0]["lr"] = rate
    adam.step()
    for p in params:  # a CUDA graph may use its memory again
        p.grad = None


class OnePass(Peer):
    """A method whose losses come from one forward pass, which may be compiled."""

    def __init__(self, config: Config, state: TrainState, device: torch.device) -> None:
        super().__init__(config, state, device)
        self.run_gradients: Callable = self.gradients

    @abc.abstractmethod
    def gradients(
        self, x_BX: torch.Tensor, *noise: torch.Tensor
    ) -> tuple[Losses, Gradients, Gradients]:
        """Compute the losses, and the gradients of D and of G and R."""

    def both(
        self, loss_d: torch.Tensor, loss_gr: torch.Tensor
    ) -> tuple[Gradients, Gradients]:
        """Compute both gradients from one forward pass."""
        grads_d = grad(loss_d, self.params_d, retain_graph=True)
        return grads_d, grad(loss_gr, self.params_gr)

    def compile(self, mode: str | None = None) -> None:
        """Make losses and gradients one program; the first step compiles it."""
        self.run_gradients = compiled(self.gradients, mode)

    def step(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Losses:
        """Update all networks once, as the JAX method does."""
        losses, grads_d, grads_gr = self.run_gradients(x_BX, *noise)
        self.update(grads_d, grads_gr)
        return losses


class GAN(OnePass):
    def gradients(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Any:
        (z_BZ,) = noise
        real_logit, fake_logit = self.d(x_BX), self.d(self.g(z_BZ))
        loss_d = softplus(-real_logit).mean() + softplus(fake_logit).mean()
        loss_g = softplus(-fake_logit).mean()
        losses = {"loss_d": loss_d.detach(), "loss_g": loss_g.detach()}
        return losses, *self.both(loss_d, loss_g)


class ALI(OnePass):
    def noise_sizes(self) -> list[int]:
        return [*super().noise_sizes(), self.config.objective.reconstructor_noise]

    def gradients(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Any:
        latent_BZE, noise_BE = noise
        z_BZ = latent_BZE[:, : self.config.latent_size]
        real_logit = self.d(self.r(noise_BE, x_BX), x_BX)
        fake_logit = self.d(z_BZ, self.g(latent_BZE))
        loss_d = softplus(-real_logit).mean() + softplus(fake_logit).mean()
        loss_gr = softplus(real_logit).mean() + softplus(-fake_logit).mean()
        losses = {"loss_d": loss_d.detach(), "loss_gr": loss_gr.detach()}
        return losses, *self.both(loss_d, loss_gr)


class Unrolled(Peer):
    def __init__(self, config: Config, state: TrainState, device: torch.device) -> None:
        super().__init__(config, state, device)
        # torch.optim cannot be differentiated through: D's moments are kept here.
        self.m_d, self.v_d = torch_networks.moments(
            state.opt_state["discriminator"], device
        )

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
        """Update D once, as step number `step`, differentiably."""
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


class VEEGAN(OnePass):
    def noise_sizes(self) -> list[int]:
        return [*super().noise_sizes(), self.config.latent_size]

    def gradients(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Any:
        objective = self.config.objective
        latent_BZE, code_noise_BZ = noise
        z_BZ = latent_BZE[:, : self.config.latent_size]
        fake_BX = self.g(latent_BZE)
        reconstruction = 0.5 * ((z_BZ - self.r(fake_BX)) ** 2).sum(dim=1).mean()
        with torch.no_grad():
            code_BZ = self.r(x_BX) + objective.reconstructor_std * code_noise_BZ
        fake_logit, real_logit = self.d(z_BZ, fake_BX), self.d(code_BZ, x_BX)
        loss_d = softplus(-fake_logit).mean() + softplus(real_logit).mean()
        loss_gr = fake_logit.mean() + objective.reconstruction_weight * reconstruction
        losses = dict(loss_d=loss_d, loss_gr=loss_gr, reconstruction=reconstruction)
        losses = {name: loss.detach() for name, loss in losses.items()}
        return losses, *self.both(loss_d, loss_gr)


class Penalized(OnePass):
    """A method with a weight of D's slope that falls over the run."""

    def __init__(self, config: Config, state: TrainState, device: torch.device) -> None:
        super().__init__(config, state, device)
        self.gamma = torch.zeros((), device=device)  # a number would compile anew

    def step(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Losses:
        self.gamma.fill_(self.weight_of_penalty())
        return super().step(x_BX, *noise)

    def weight_of_penalty(self) -> float:
        """Return the weight of the penalty at this step."""
        weight = self.config.objective
        start, end = weight.gamma_decay_start, weight.gamma_decay_end
        progress = (self.steps_taken / self.config.steps - start) / (end - start)
        progress = max(0.0, min(1.0, progress))
        return weight.gamma * (weight.gamma_end / weight.gamma) ** progress


class VEEGANPlus(Penalized):
    def gradients(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Any:
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
        if config.objective.penalty:
            loss_d = loss_d + self.gamma * penalty
        grads_d = grad(loss_d, self.params_d)
        # As in JAX: D's slopes are known, so G and R need no second pass through D.
        outputs = fake_BX, code_BZ, reconstruction
        weight = config.objective.reconstruction_weight
        with torch.no_grad():
            slope_B1 = margin_B.sigmoid()[:, None] / rows
            cotangents = (
                -slope_B1 * slope_x[:rows],
                slope_B1 * slope_z[rows:],
                torch.full_like(reconstruction, weight),
            )
        grads_gr = grad(outputs, self.params_gr, cotangents)
        losses = {
            "loss_d": loss_d,
            "loss_gr": softplus(margin_B).mean() + weight * reconstruction,
            "reconstruction": reconstruction,
            "penalty": penalty,
        }
        losses = {name: loss.detach() for name, loss in losses.items()}
        return losses, grads_d, grads_gr


class RpGAN(Penalized):
    def gradients(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Any:
        config, rows = self.config, len(x_BX)
        (z_BZ,) = noise
        fake_BX = self.g(z_BZ)
        both = torch.cat([fake_BX, x_BX / config.data.scale]).detach().requires_grad_()
        logit = self.d(both)[:, 0]
        (slope,) = grad(logit.sum(), both, create_graph=True)
        fake_logit, real_logit = logit.chunk(2)
        margin_B = real_logit - fake_logit
        penalty = config.objective.penalty_scale**2 * (slope**2).sum() / rows
        loss_d = softplus(-margin_B).mean() + 0.5 * self.gamma * penalty
        grads_d = grad(loss_d, self.params_d)
        # As in JAX: D's slope is known, so G needs no second pass through D.
        with torch.no_grad():
            cotangent = -margin_B.sigmoid()[:, None] / rows * slope[:rows]
        grads_g = grad(fake_BX, self.params_g, cotangent)
        losses = {"loss_d": loss_d, "loss_g": softplus(margin_B).mean()}
        losses = {n: v.detach() for n, v in (losses | {"penalty": penalty}).items()}
        return losses, grads_d, grads_g


class WGANGP(Peer):
    def __init__(self, config: Config, state: TrainState, device: torch.device) -> None:
        super().__init__(config, state, device)
        for moments in self.adam_d.state.values():  # D moves several times a step
            moments["step"] *= config.objective.critic_steps
        self.run_critic: Callable = self.critic

    def noise(self) -> list[torch.Tensor]:
        rows, steps = self.config.batch_size, self.config.objective.critic_steps
        (size,) = self.noise_sizes()
        normals = (
            torch.randn(n, size, device=self.device) for n in (rows, rows // steps)
        )
        return [*normals, torch.rand(rows, device=self.device)]

    def critic(
        self, x_CX: torch.Tensor, fake_CX: torch.Tensor, share_C: torch.Tensor
    ) -> tuple[Losses, Gradients]:
        """Compute D's losses and gradients on a part of the batch."""
        between_CX = torch.lerp(fake_CX, x_CX, share_C[:, None]).requires_grad_()
        (slope_CX,) = grad(self.d(between_CX).sum(), between_CX, create_graph=True)
        norm_C = (slope_CX.square().sum(dim=1) + 1e-12).sqrt()
        penalty = (norm_C - 1).square().mean()
        distance = self.d(x_CX).mean() - self.d(fake_CX).mean()
        loss_d = -distance + self.config.objective.slope_weight * penalty
        losses = {"loss_d": loss_d, "distance": distance, "penalty": penalty}
        losses = {name: loss.detach() for name, loss in losses.items()}
        return losses, grad(loss_d, self.params_d)

    def compile(self, mode: str | None = None) -> None:
        """Make the critic's losses and gradients one program."""
        self.run_critic = compiled(self.critic, mode)

    def step(self, x_BX: torch.Tensor, *noise: torch.Tensor) -> Losses:
        z_BZ, z_CZ, share_B = noise
        steps = self.config.objective.critic_steps
        with torch.no_grad():
            fake_BX = self.g(z_BZ)
        # Dealt out like cards, as in JAX.
        parts = (
            a.unflatten(0, (-1, steps)).unbind(1) for a in (x_BX, fake_BX, share_B)
        )
        for i, part in enumerate(zip(*parts, strict=True)):
            losses, grads = self.run_critic(*part)
            _, rate = self.rates(self.steps_taken + i / steps)
            _minimize(self.adam_d, self.params_d, grads, rate)
        loss_g = -self.d(self.g(z_CZ)).mean()
        self.update(None, grad(loss_g, self.params_g))
        return losses | {"loss_g": loss_g.detach()}


PEERS: dict[str, type[Peer]] = {
    "gan": GAN,
    "ali": ALI,
    "unrolled": Unrolled,
    "veegan": VEEGAN,
    "veegan_plus": VEEGANPlus,
    "rpgan": RpGAN,
    "wgan_gp": WGANGP,
}


def compiled(gradients: Callable, mode: str | None) -> Callable:
    """Make one program of a function that calls `torch.autograd.grad`."""
    # Without this, gradients are not compiled. Older versions lack it.
    torch._dynamo.config.trace_autograd_ops = True
    return torch.compile(gradients, fullgraph=True, dynamic=False, mode=mode)


def make(config: Config, device: str) -> Peer:
    """Make a peer at step 0."""
    state = methods.get(config.method).init(jax.random.key(0), config)
    return PEERS[config.method](config, state, torch.device(device))
