"""BuresGAN (De Meulemeester et al. 2020): the spread of D's features is matched.

    L_D = E softplus(-D(x)) + E softplus(D(G(z)))
    L_G = E softplus(-D(G(z))) + w B^2(C_x, C_G(z))

C are the covariances of D's last hidden layer over the batch, scaled to norm 1, and

    B^2(C, C') = tr C + tr C' - 2 tr (C C')^(1/2)

is the squared Bures distance, which is the squared Wasserstein distance of two centred
Gaussians. If A [B, F] and A' are the centred features over the root of B, the last
trace is that of (A A'^T A' A^T)^(1/2), a matrix of the batch's size. Its root comes
from Newton-Schulz iterations: products alone, and a gradient that stays finite where
eigenvalues are 0 or equal. D and G move simultaneously.

Dimension key: B batch, F features, Z latent (with G's noise inputs), X data dimensions.
"""

import dataclasses

import jax
import jax.numpy as jnp

from veegan_jax import config as configs
from veegan_jax.common import fields
from veegan_jax.config import Config
from veegan_jax.methods import base
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics, parallel, rng

softplus = jax.nn.softplus
ITERATIONS = 15  # of Newton-Schulz, as in the paper


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """The weight of the distance."""

    diversity_weight: float = fields.field(
        1.0, "weight of the distance of features", "objective", within="[0, inf)"
    )


init = base.init_pair


@numerics.exact
def trace_of_root(matrix_BB: jax.Array) -> jax.Array:
    """Return tr M^(1/2) of a positive semi-definite matrix, by Newton-Schulz.

    Eigenvalues below about 1e-5 of the norm are not resolved after 15 iterations: their
    roots come out too small.
    """
    norm = jnp.sqrt(jnp.sum(matrix_BB**2) + 1e-12)
    eye = jnp.eye(len(matrix_BB))
    root, inverse = matrix_BB / norm, eye
    for _ in range(ITERATIONS):
        change = 0.5 * (3 * eye - inverse @ root)
        root, inverse = root @ change, change @ inverse
    return jnp.trace(root) * jnp.sqrt(norm)


@numerics.exact
def distance(real_BF: jax.Array, fake_BF: jax.Array) -> jax.Array:
    """Return the squared Bures distance of the covariances of two sets of features."""

    def centred(feature_BF):
        length_B1 = jnp.sqrt(jnp.sum(feature_BF**2, axis=1, keepdims=True) + 1e-12)
        unit_BF = feature_BF / length_B1
        unit_BF -= unit_BF.mean(axis=0, keepdims=True)
        return unit_BF / len(unit_BF) ** 0.5

    real_BF, fake_BF = centred(real_BF), centred(fake_BF)
    cross_BB = real_BF @ fake_BF.T
    traces = jnp.sum(real_BF**2) + jnp.sum(fake_BF**2)
    return traces - 2 * trace_of_root(cross_BB @ cross_BB.T)


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D and G simultaneously on a batch of real examples."""
    generator = config.generator(axis_name)
    discriminator = config.discriminator(axis_name)
    key_z = jax.random.fold_in(state.key, state.step)
    z_BZ = rng.normal(key_z, config.latent_shape(len(x_BX)), axis_name=axis_name)

    def losses(params):
        fake_BX, stats_g = base.apply_training(
            generator, params["generator"], state.batch_stats["generator"], z_BZ
        )
        judged = (
            base.apply_for_features(discriminator, params["discriminator"], x)
            for x in (x_BX, fake_BX)
        )
        (real_logit, real_BF), (fake_logit, fake_BF) = judged
        loss_d = jnp.mean(softplus(-real_logit)) + jnp.mean(softplus(fake_logit))
        diversity = distance(
            parallel.gather(real_BF, axis_name), parallel.gather(fake_BF, axis_name)
        )
        loss_g = (
            jnp.mean(softplus(-fake_logit))
            + config.objective.diversity_weight * diversity
        )
        return (loss_d, loss_g), ({"generator": stats_g}, diversity)

    grads, (loss_d, loss_g), (batch_stats, diversity) = base.simultaneous_gradients(
        losses, state.params, base.turn_of_d(state, config)
    )
    metrics = {"loss_d": loss_d, "loss_g": loss_g, "diversity": diversity}
    return base.update(
        state, grads, batch_stats, metrics, config=config, axis_name=axis_name
    )


sample, generate = base.sample, base.generate
