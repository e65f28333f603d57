"""VEEGAN+: VEEGAN's idea with what is known today to keep a GAN from collapsing.

As in VEEGAN, D judges pairs, and R learns to invert G on z ~ N(0, I):

    fake pair (z, G(z)), logit f;    real pair (R(x), x), logit r
    L_D  = E softplus(f - r) + gamma/2 E[ |grad f|^2 + |grad r|^2 ]
    L_GR = E softplus(r - f) + w E 1/2 |z - R(G(z))|^2

VEEGAN+ differs from it in these points:

- The logits are compared pairwise (relativistic loss), and D's slope in (z, x) is
  penalized at both pairs on every step; R3GAN (Huang et al. 2024) does both for x.
- R is deterministic. On the mixtures it also learns to fool D; on images it learns from
  the reconstruction alone.
- gamma falls geometrically over the run.
- D may judge packs of pairs (PacGAN, Lin et al. 2018).
- D and R may read features of x (networks/mlp.py).

All networks work on x / data.scale, and slopes in x are taken per penalty_scale of
that, so gamma and the frequencies mean the same for every dataset.

Dimension key: B batch, Z latent, E noise inputs of G, X data dimensions.
"""

import dataclasses

import jax
import jax.numpy as jnp

from veegan_jax.common import fields
from veegan_jax.config import Config
from veegan_jax.methods import base, slope_penalty
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics, parallel, rng


@dataclasses.dataclass(frozen=True)
class Objective(slope_penalty.Objective):
    """VEEGAN+'s ingredients; each can be taken out."""

    reconstruction_weight: float = fields.field(
        1.0, "weight of 1/2 sum (z - R(G(z)))^2", "objective", within="[0, inf)"
    )
    adversarial_reconstructor: bool = fields.field(
        False, "R is also trained to fool D, through (R(x), x)", "objective"
    )
    penalty: bool = fields.field(True, "D's slope is penalized", "objective")
    pack: int = fields.field(
        1, "samples that D judges at once", "objective", within="[1, inf)"
    )


@numerics.standard
def init(key: jax.Array, config: Config) -> TrainState:
    """Initialize G, R and D from a typed key."""
    key_g, key_r, key_d, key_train = jax.random.split(key, 4)
    degree = config.objective.pack
    latent_BZE = jnp.zeros(config.latent_shape(1))
    z_BZ = jnp.zeros((degree, config.latent_size))
    x_BX = config.examples(degree)
    one_pack = base.pack(z_BZ, degree), base.pack(x_BX, degree)
    variables = {
        "generator": config.generator().init(key_g, latent_BZE),
        "reconstructor": config.reconstructor().init(key_r, x_BX),
        "discriminator": config.discriminator().init(key_d, *one_pack),
    }
    return base.create(key_train, config, variables)


def losses(
    fake_logit: jax.Array, real_logit: jax.Array, config: Config
) -> tuple[jax.Array, jax.Array]:
    """Return the adversarial part of (L_D, L_GR): pairwise, or each logit by itself."""
    softplus = jax.nn.softplus
    if config.objective.relativistic:
        margin_B = real_logit - fake_logit
        return jnp.mean(softplus(-margin_B)), jnp.mean(softplus(margin_B))
    loss_d = jnp.mean(softplus(fake_logit)) + jnp.mean(softplus(-real_logit))
    loss_gr = jnp.mean(softplus(-fake_logit)) + jnp.mean(softplus(real_logit))
    return loss_d, loss_gr


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D, G and R simultaneously on a batch of real examples."""
    generator = config.generator(axis_name)
    reconstructor = config.reconstructor(axis_name)
    discriminator = config.discriminator(axis_name)
    objective = config.objective
    batch, degree = len(x_BX), objective.pack
    x_BX = x_BX / config.data.scale
    key_z = jax.random.fold_in(state.key, state.step)
    latent_BZE = rng.normal(key_z, config.latent_shape(batch), axis_name=axis_name)
    z_BZ = latent_BZE[:, : config.latent_size]

    def make_pairs(params_g, params_r):
        fake_BX, stats_g = base.apply_training(
            generator, params_g, state.batch_stats["generator"], latent_BZE
        )
        both = parallel.concat_examples(fake_BX, x_BX)
        codes_BZ, stats_r = base.apply_training(
            reconstructor, params_r, state.batch_stats["reconstructor"], both
        )
        fake_code_BZ, code_BZ = parallel.split_examples(codes_BZ)
        error = 0.5 * jnp.mean(jnp.sum((z_BZ - fake_code_BZ) ** 2, axis=1))
        batch_stats = {"generator": stats_g, "reconstructor": stats_r}
        return (fake_BX, code_BZ, error), batch_stats

    (fake_BX, code_BZ, reconstruction), pullback, batch_stats = jax.vjp(
        make_pairs,
        state.params["generator"],
        state.params["reconstructor"],
        has_aux=True,
    )
    gain = slope_penalty.fourier_gain(state.step, config)
    pairs = (
        parallel.concat_examples(z_BZ, code_BZ),
        parallel.concat_examples(fake_BX, x_BX),
    )

    def loss_of_d(params_d):
        def sum_of_logits(z, x):
            packed = base.pack(z, degree), base.pack(x, degree)
            logit = discriminator.apply(
                {"params": params_d}, *packed, fourier_gain=gain
            )
            logit = logit[:, 0]
            return jnp.sum(logit), logit

        slopes, logit = jax.grad(sum_of_logits, argnums=(0, 1), has_aux=True)(*pairs)
        logits = parallel.split_examples(logit)
        slope_z, slope_x = slopes
        square = jnp.sum(slope_z**2) + objective.penalty_scale**2 * jnp.sum(slope_x**2)
        penalty = 0.5 * square / len(logits[0])
        loss, _ = losses(logits[0], logits[1], config)
        if objective.penalty:  # without it there is no second derivative to take
            loss += slope_penalty.gamma(state.step, config) * penalty
        return loss, (logits, slopes, penalty)

    loss_d, pullback_d, (logits, (slope_z, slope_x), penalty) = jax.vjp(
        loss_of_d, state.params["discriminator"], has_aux=True
    )
    grad_d = base.gradient_on_turn(
        base.turn_of_d(state, config), lambda: pullback_d(jnp.ones_like(loss_d))[0]
    )
    # The penalty has D's slope at every pair already: the chain rule through
    # L_GR's derivatives in the logits is all that is left for G and R.
    loss_gr, (dlogit_fake_B, dlogit_real_B) = jax.value_and_grad(
        lambda fake, real: losses(fake, real, config)[1], argnums=(0, 1)
    )(*logits)
    if not objective.adversarial_reconstructor:
        dlogit_real_B = jnp.zeros_like(dlogit_real_B)
    dlogit_fake_B, dlogit_real_B = (
        jnp.repeat(c, degree) for c in (dlogit_fake_B, dlogit_real_B)
    )
    one_each = (batch,) + (1,) * (x_BX.ndim - 1)
    cotangents = (
        dlogit_fake_B.reshape(one_each) * parallel.split_examples(slope_x)[0],
        dlogit_real_B[:, None] * parallel.split_examples(slope_z)[1],
        jnp.asarray(objective.reconstruction_weight, reconstruction.dtype),
    )
    grad_g, grad_r = pullback(cotangents)
    grads = {"discriminator": grad_d, "generator": grad_g, "reconstructor": grad_r}
    metrics = {
        "loss_d": loss_d,
        "loss_gr": loss_gr + objective.reconstruction_weight * reconstruction,
        "reconstruction": reconstruction,
        "penalty": penalty,
    }
    return base.update(
        state, grads, batch_stats, metrics, config=config, axis_name=axis_name
    )


sample, generate = base.sample, base.generate


@numerics.standard
def reconstruct(state: TrainState, x_BX: jax.Array, *, config: Config) -> jax.Array:
    """Return z_BZ given x_BX."""
    return base.reconstruct(state, x_BX / config.data.scale, config=config)
