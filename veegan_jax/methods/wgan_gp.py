"""WGAN-GP (Gulrajani et al. 2017): a critic with a slope of 1 between data and samples.

    L_D = E D(G(z)) - E D(x) + lambda E (|grad D(x')| - 1)^2,   x' = u x + (1 - u) G(z)
    L_G = -E D(G(z))

with u ~ U[0, 1] for each example, and the norm over all dimensions of an example (one
public implementation takes it over the channels alone). One step is the paper's
Algorithm 1: n updates of D, then one of G; see `critic`.

Dimension key: B batch, C examples of a minibatch, Z latent (with G's noise inputs), X
data dimensions.
"""

import dataclasses

import jax
import jax.numpy as jnp

from veegan_jax.common import fields
from veegan_jax.config import Config
from veegan_jax.methods import base, critic
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics, rng


@dataclasses.dataclass(frozen=True)
class Objective(critic.Objective):
    """The updates of D to one of G, and the weight of its penalty."""

    slope_weight: float = fields.field(
        10.0,
        "weight of (|slope of D| - 1)^2 between data and samples",
        "objective",
        within="[0, inf)",
    )


init = base.init_pair


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D on every part of a batch of real examples, then G."""
    generator = config.generator(axis_name)
    discriminator = config.discriminator(axis_name)
    objective, batch = config.objective, len(x_BX)
    num_fakes = batch // objective.critic_steps
    key_step = jax.random.fold_in(state.key, state.step)
    key_d, key_g, key_u = jax.random.split(key_step, 3)
    z_BZ = rng.normal(key_d, config.latent_shape(batch), axis_name=axis_name)
    z_CZ = rng.normal(key_g, config.latent_shape(num_fakes), axis_name=axis_name)
    share_B = rng.uniform(key_u, batch, axis_name=axis_name)

    def make_fakes(params_g, z):
        return base.apply_training(
            generator, params_g, state.batch_stats["generator"], z
        )

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

    fake_BX, _ = make_fakes(state.params["generator"], z_BZ)
    state, metrics = critic.update(
        state, loss_of_d, x_BX, fake_BX, share_B, config=config, axis_name=axis_name
    )

    def loss_of_g(params_g):
        fake_CX, stats_g = make_fakes(params_g, z_CZ)
        return -jnp.mean(logits(state.params["discriminator"], fake_CX)), stats_g

    (loss_g, stats_g), grad_g = jax.value_and_grad(loss_of_g, has_aux=True)(
        state.params["generator"]
    )
    return base.update(
        state,
        {"generator": grad_g},
        {"generator": stats_g},
        metrics | {"loss_g": loss_g},
        config=config,
        axis_name=axis_name,
    )


sample, generate = base.sample, base.generate
