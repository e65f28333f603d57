"""MEG, maximum entropy generators (Kumar et al. 2019): samples must tell their z.

-D is an energy. G lowers its energy and keeps its entropy up, by the mutual information
of G(z) and z; a third network T estimates that, telling pairs (z, G(z)) from pairs with
a z' of their own (the Jensen-Shannon estimate of Deep InfoMax, Hjelm et al. 2019):

    L_D  = E D(G(z)) - E D(x) + lambda E |grad D(x)|^2
    L_GT = -E D(G(z)) + w [ E softplus(-T(z, G(z))) + E softplus(T(z', G(z))) ]

It is VEEGAN's nearest relative: the error with which R finds z bounds the same
information from below. The authors shuffle z within the batch; here z' is drawn anew.
As in their code D moves n times, then G and T once; see `critic`.

Dimension key: B batch, C examples of a minibatch, Z latent, E noise inputs of G, X data
dimensions.
"""

import dataclasses

import jax
import jax.numpy as jnp

from veegan_jax.common import fields
from veegan_jax.config import Config
from veegan_jax.methods import base, critic
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics, rng

softplus = jax.nn.softplus
SEES_LATENTS = True  # T judges pairs (z, x), though there is no R


@dataclasses.dataclass(frozen=True)
class Objective(critic.Objective):
    """The updates of D to one of G, and the weights of penalty and information."""

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
    """Update D on every part of a batch of real examples, then G and T."""
    generator = config.generator(axis_name)
    judge = config.discriminator(axis_name)  # D of x, and T of (z, x)
    objective, batch = config.objective, len(x_BX)
    num_fakes = batch // objective.critic_steps
    key_step = jax.random.fold_in(state.key, state.step)
    key_d, key_g, key_other = jax.random.split(key_step, 3)
    of_d_BZE = rng.normal(key_d, config.latent_shape(batch), axis_name=axis_name)
    of_g_CZE = rng.normal(key_g, config.latent_shape(num_fakes), axis_name=axis_name)
    z_CZ = of_g_CZE[:, : config.latent_size]
    other_CZ = rng.normal(key_other, z_CZ.shape, axis_name=axis_name)

    def make_fakes(params_g, latent):
        return base.apply_training(
            generator, params_g, state.batch_stats["generator"], latent
        )

    def loss_of_d(params_d, x_CX, fake_CX):
        def sum_of_logits(x):
            logit = judge.apply({"params": params_d}, x)
            return jnp.sum(logit), logit

        slope_CX, real_logit = jax.grad(sum_of_logits, has_aux=True)(x_CX)
        fake_logit = judge.apply({"params": params_d}, fake_CX)
        penalty = jnp.sum(slope_CX**2) / len(x_CX)
        loss = (
            jnp.mean(fake_logit)
            - jnp.mean(real_logit)
            + objective.score_weight * penalty
        )
        return loss, {"loss_d": loss, "penalty": penalty}

    fake_BX, _ = make_fakes(state.params["generator"], of_d_BZE)
    state, metrics = critic.update(
        state, loss_of_d, x_BX, fake_BX, config=config, axis_name=axis_name
    )

    def loss_of_g_and_t(params):
        fake_CX, stats_g = make_fakes(params["generator"], of_g_CZE)
        params_d = {"params": state.params["discriminator"]}
        params_t = {"params": params["statistics"]}
        own_logit = judge.apply(params_t, z_CZ, fake_CX)
        other_logit = judge.apply(params_t, other_CZ, fake_CX)
        ignorance = jnp.mean(softplus(-own_logit)) + jnp.mean(softplus(other_logit))
        loss = (
            -jnp.mean(judge.apply(params_d, fake_CX))
            + objective.information_weight * ignorance
        )
        return loss, (stats_g, ignorance)

    params = {name: state.params[name] for name in ("generator", "statistics")}
    (loss_g, (stats_g, ignorance)), grads = jax.value_and_grad(
        loss_of_g_and_t, has_aux=True
    )(params)
    return base.update(
        state,
        grads,
        {"generator": stats_g},
        metrics | {"loss_g": loss_g, "ignorance": ignorance},
        config=config,
        axis_name=axis_name,
    )


sample, generate = base.sample, base.generate
