"""MEG, maximum entropy generators (Kumar et al. 2019): samples must tell their z.

-D is an energy. G lowers its energy and keeps its entropy up, by the mutual information
of G(z) and z; a third network T estimates that, telling pairs (z, G(z)) from pairs with
a z' of their own (the Jensen-Shannon estimate of Deep InfoMax, Hjelm et al. 2019):

    L_D  = E D(G(z)) - E D(x) + lambda E |grad D(x)|^2
    L_GT = -E D(G(z)) + w [ E softplus(-T(z, G(z))) + E softplus(T(z', G(z))) ]

It is VEEGAN's nearest relative: the error with which R finds z bounds the same
information from below. The authors shuffle z within the batch; here z' is drawn anew.
Their D moves five times to one step of G; here all networks move simultaneously.

Dimension key: B batch, Z latent, E noise inputs of G, X data dimensions.
"""

import dataclasses

import jax
import jax.numpy as jnp

from veegan_jax import config as configs
from veegan_jax.common import fields
from veegan_jax.config import Config
from veegan_jax.methods import base
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics, rng

softplus = jax.nn.softplus
SEES_LATENTS = True  # T judges pairs (z, x), though there is no R


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """The weights of D's penalty and of the information."""

    score_weight: float = fields.field(
        0.1,
        "weight of |slope of D|^2 at real examples",
        "objective",
        within="[0, inf)",
    )
    information_weight: float = fields.field(
        1.0,
        "weight of the information between z and G(z)",
        "objective",
        within="[0, inf)",
    )


@numerics.standard
def init(key: jax.Array, config: Config) -> TrainState:
    """Initialize G, D and T from a typed key."""
    key_g, key_d, key_t, key_train = jax.random.split(key, 4)
    z_BZ, x_BX = jnp.zeros((1, config.latent_size)), config.examples()
    variables = {
        "generator": config.generator().init(key_g, jnp.zeros(config.latent_shape(1))),
        "discriminator": config.discriminator().init(key_d, x_BX),
        "statistics": config.discriminator().init(key_t, z_BZ, x_BX),
    }
    return base.create(key_train, config, variables)


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D, G and T simultaneously on a batch of real examples."""
    generator = config.generator(axis_name)
    judge = config.discriminator(axis_name)  # D of x, and T of (z, x)
    objective = config.objective
    batch = len(x_BX)
    key_step = jax.random.fold_in(state.key, state.step)
    key_z, key_other = jax.random.split(key_step)
    latent_BZE = rng.normal(key_z, config.latent_shape(batch), axis_name=axis_name)
    z_BZ = latent_BZE[:, : config.latent_size]
    other_BZ = rng.normal(key_other, z_BZ.shape, axis_name=axis_name)

    def losses(params):
        fake_BX, stats_g = base.apply_training(
            generator, params["generator"], state.batch_stats["generator"], latent_BZE
        )
        params_d = {"params": params["discriminator"]}
        params_t = {"params": params["statistics"]}

        def sum_of_logits(x):
            logit = judge.apply(params_d, x)
            return jnp.sum(logit), logit

        slope_BX, real_logit = jax.grad(sum_of_logits, has_aux=True)(x_BX)
        fake_logit = judge.apply(params_d, fake_BX)
        penalty = jnp.sum(slope_BX**2) / batch
        loss_d = (
            jnp.mean(fake_logit)
            - jnp.mean(real_logit)
            + objective.score_weight * penalty
        )
        own_logit = judge.apply(params_t, z_BZ, fake_BX)
        other_logit = judge.apply(params_t, other_BZ, fake_BX)
        ignorance = jnp.mean(softplus(-own_logit)) + jnp.mean(softplus(other_logit))
        loss_gt = -jnp.mean(fake_logit) + objective.information_weight * ignorance
        return (loss_d, loss_gt), ({"generator": stats_g}, penalty, ignorance)

    grads, (loss_d, loss_gt), aux = base.simultaneous_gradients(
        losses, state.params, base.turn_of_d(state, config)
    )
    batch_stats, penalty, ignorance = aux
    metrics = {
        "loss_d": loss_d,
        "loss_g": loss_gt,
        "penalty": penalty,
        "ignorance": ignorance,
    }
    return base.update(
        state, grads, batch_stats, metrics, config=config, axis_name=axis_name
    )


sample, generate = base.sample, base.generate
