"""WGAN-GP (Gulrajani et al. 2017): a critic with a slope of 1 between data and samples.

    L_D = E D(G(z)) - E D(x) + lambda E (|grad D(x')| - 1)^2,   x' = u x + (1 - u) G(z)
    L_G = -E D(G(z))

with u ~ U[0, 1] for each example, and the norm over all dimensions of an example (one
public implementation takes it over the channels alone). One step is the paper's
Algorithm 1: n updates of D, then one of G. A batch of B examples makes n minibatches of
B / n; G's loss has B / n samples.

Dimension key: B batch, C examples of a minibatch, n critic steps, Z latent (with G's
noise inputs), X data dimensions.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from veegan_jax import config as configs
from veegan_jax.common import errors, fields
from veegan_jax.config import Config
from veegan_jax.methods import base
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics, parallel, rng


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """The updates of D to one of G, and the weight of its penalty."""

    critic_steps: int = fields.field(
        5,
        "updates of D to one of G, on parts of the batch",
        "objective",
        within="[1, 100]",
    )
    slope_weight: float = fields.field(
        10.0,
        "weight of (|slope of D| - 1)^2 between data and samples",
        "objective",
        within="[0, inf)",
    )

    @property
    def batch_parts(self) -> tuple[str, int]:
        """The setting that a batch must be a multiple of, and its value."""
        return "critic_steps", self.critic_steps

    def check(self, config: Config) -> None:
        """Refuse a second rule of how often D moves."""
        every = config.optimizer.discriminator_every
        if every != 1:
            raise errors.InputError(
                f"--discriminator_every={every}: {config.method} moves D "
                f"--critic_steps={self.critic_steps} times a step; leave it out"
            )


init = base.init_pair


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D on every part of a batch of real examples, then G."""
    generator = config.generator(axis_name)
    discriminator = config.discriminator(axis_name)
    objective = config.objective
    steps, batch = objective.critic_steps, len(x_BX)
    optimizer = base.optimizer(config, "discriminator", updates_a_step=steps)
    key_step = jax.random.fold_in(state.key, state.step)
    key_d, key_g, key_u = jax.random.split(key_step, 3)
    z_BZ = rng.normal(key_d, config.latent_shape(batch), axis_name=axis_name)
    z_CZ = rng.normal(key_g, config.latent_shape(batch // steps), axis_name=axis_name)
    share_B = rng.uniform(key_u, batch, axis_name=axis_name)

    def make_fakes(params_g, z):
        return base.apply_training(
            generator, params_g, state.batch_stats["generator"], z
        )

    fake_BX, _ = make_fakes(state.params["generator"], z_BZ)

    def logits(params_d, x):
        return discriminator.apply({"params": params_d}, x)[:, 0]

    def loss_of_d(params_d, x_CX, fake_CX, share_C):
        share = share_C.reshape((-1,) + (1,) * (x_CX.ndim - 1))
        between_CX = share * x_CX + (1 - share) * fake_CX
        slope_CX = jax.grad(lambda x: jnp.sum(logits(params_d, x)))(between_CX)
        square_C = jnp.sum(slope_CX**2, axis=range(1, x_CX.ndim))
        # The root's own derivative is infinite at 0, where D is flat.
        norm_C = jnp.sqrt(square_C + 1e-12)
        distance = jnp.mean(logits(params_d, x_CX)) - jnp.mean(
            logits(params_d, fake_CX)
        )
        penalty = jnp.mean((norm_C - 1) ** 2)
        loss = -distance + objective.slope_weight * penalty
        return loss, {"loss_d": loss, "distance": distance, "penalty": penalty}

    def update_d(carry, minibatch):
        params_d, opt_state = carry
        grad, metrics = jax.grad(loss_of_d, has_aux=True)(params_d, *minibatch)
        grad, metrics = parallel.mean((grad, metrics), axis_name)
        updates, opt_state = optimizer.update(grad, opt_state)
        return (optax.apply_updates(params_d, updates), opt_state), metrics

    minibatches = [base.parts(a, steps) for a in (x_BX, fake_BX, share_B)]
    carry = state.params["discriminator"], state.opt_state["discriminator"]
    (params_d, opt_state), metrics = jax.lax.scan(
        update_d, carry, minibatches, unroll=True
    )
    state = dataclasses.replace(
        state,
        params=state.params | {"discriminator": params_d},
        opt_state=state.opt_state | {"discriminator": opt_state},
    )

    def loss_of_g(params_g):
        fake_CX, stats_g = make_fakes(params_g, z_CZ)
        return -jnp.mean(logits(params_d, fake_CX)), stats_g

    (loss_g, stats_g), grad_g = jax.value_and_grad(loss_of_g, has_aux=True)(
        state.params["generator"]
    )
    last = {name: value[-1] for name, value in metrics.items()}
    return base.update(
        state,
        {"generator": grad_g},
        {"generator": stats_g},
        last | {"loss_g": loss_g},
        config=config,
        axis_name=axis_name,
    )


sample, generate = base.sample, base.generate
