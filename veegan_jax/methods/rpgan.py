"""RpGAN with R1 and R2: the objective of R3GAN (Huang et al. 2024).

Fake and real samples are judged in pairs, and D's slope is penalized at both:

    L_D = E softplus(D(G(z)) - D(x)) + gamma/2 E[ |grad D(x)|^2 + |grad D(G(z))|^2 ]
    L_G = E softplus(D(x) - D(G(z)))

By the paper, pairs that D must rank keep G from one mode, and the two penalties, R1 at
the data and R2 at the samples, make training converge. Each part has a flag, for the
paper's ablation (its Table 1). Without pairs the losses are the plain GAN's. VEEGAN+ is
this and a reconstructor, whose codes D sees as well.

As for VEEGAN+, all networks work on x / data.scale, and slopes are taken per
penalty_scale of that.

Dimension key: B batch, Z latent (with G's noise inputs), X data dimensions.
"""

import dataclasses

import jax
import jax.numpy as jnp

from veegan_jax.common import fields
from veegan_jax.config import Config
from veegan_jax.methods import base, slope_penalty
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics, parallel, rng

softplus = jax.nn.softplus


@dataclasses.dataclass(frozen=True)
class Objective(slope_penalty.Objective):
    """R3GAN's ingredients; each can be taken out."""

    penalty_real: bool = fields.field(
        True, "R1: D's slope at real examples is penalized", "objective"
    )
    penalty_fake: bool = fields.field(
        True, "R2: D's slope at samples is penalized", "objective"
    )


init = base.init_pair


def ablations(config: Config) -> dict[str, dict[str, bool]]:
    """R3GAN's own ablation: name -> the fields that take the ingredient out."""
    del config  # the same for all
    pairing, real, fake = (
        {name: False} for name in ("relativistic", "penalty_real", "penalty_fake")
    )
    return {
        "everything": {},
        "pairing": pairing,
        "R1": real,
        "R2": fake,
        "pairing and R2": pairing | fake,
        "R1 and R2": real | fake,
    }


def losses(
    fake_logit_B: jax.Array, real_logit_B: jax.Array, config: Config
) -> tuple[jax.Array, jax.Array]:
    """Return (L_D without penalties, L_G): of pairs, or of each logit by itself."""
    if config.objective.relativistic:
        margin_B = real_logit_B - fake_logit_B
        return jnp.mean(softplus(-margin_B)), jnp.mean(softplus(margin_B))
    loss_d = jnp.mean(softplus(fake_logit_B)) + jnp.mean(softplus(-real_logit_B))
    return loss_d, jnp.mean(softplus(-fake_logit_B))


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D and G simultaneously on a batch of real examples."""
    generator = config.generator(axis_name)
    discriminator = config.discriminator(axis_name)
    objective = config.objective
    x_BX = x_BX / config.data.scale
    key_z = jax.random.fold_in(state.key, state.step)
    z_BZ = rng.normal(key_z, config.latent_shape(len(x_BX)), axis_name=axis_name)
    gain = slope_penalty.fourier_gain(state.step, config)

    def make_fakes(params_g):
        return base.apply_training(
            generator, params_g, state.batch_stats["generator"], z_BZ
        )

    fake_BX, pullback, stats_g = jax.vjp(
        make_fakes, state.params["generator"], has_aux=True
    )
    both = parallel.concat_examples(fake_BX, x_BX)

    def loss_of_d(params_d):
        def sum_of_logits(x):
            logit = discriminator.apply({"params": params_d}, x, fourier_gain=gain)
            return jnp.sum(logit), logit[:, 0]

        slope, logit = jax.grad(sum_of_logits, has_aux=True)(both)
        square = jnp.sum(slope**2, axis=range(1, slope.ndim))
        square_fake_B, square_real_B = parallel.split_examples(square)
        penalty = objective.penalty_scale**2 * (
            objective.penalty_real * jnp.mean(square_real_B)
            + objective.penalty_fake * jnp.mean(square_fake_B)
        )
        fake_logit_B, real_logit_B = parallel.split_examples(logit)
        loss, _ = losses(fake_logit_B, real_logit_B, config)
        if objective.penalty_real or objective.penalty_fake:
            loss += 0.5 * slope_penalty.gamma(state.step, config) * penalty
        return loss, (fake_logit_B, real_logit_B, slope, penalty)

    loss_d, pullback_d, (fake_logit_B, real_logit_B, slope, penalty) = jax.vjp(
        loss_of_d, state.params["discriminator"], has_aux=True
    )
    grad_d = base.gradient_on_turn(
        base.turn_of_d(state, config), lambda: pullback_d(jnp.ones_like(loss_d))[0]
    )
    # The penalty has D's slope at every sample already: the chain rule through L_G's
    # derivative in the logits is all that is left for G.
    loss_g, dlogit_B = jax.value_and_grad(
        lambda logit_B: losses(logit_B, real_logit_B, config)[1]
    )(fake_logit_B)
    slope_fake_BX = parallel.split_examples(slope)[0]
    one_each = (len(x_BX),) + (1,) * (x_BX.ndim - 1)
    (grad_g,) = pullback(dlogit_B.reshape(one_each) * slope_fake_BX)
    grads = {"discriminator": grad_d, "generator": grad_g}
    metrics = {"loss_d": loss_d, "loss_g": loss_g, "penalty": penalty}
    return base.update(
        state,
        grads,
        {"generator": stats_g},
        metrics,
        config=config,
        axis_name=axis_name,
    )


sample, generate = base.sample, base.generate
