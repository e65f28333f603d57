"""ALICE (Li et al. 2017): ALI whose encoder must be inverted by G, on the data.

ALI's losses leave the pairing of z and x open; ALICE bounds the conditional entropy by
the error of a reconstruction of x:

    L_D  = E softplus(-D(R(x), x)) + E softplus(D(z, G(z)))
    L_GR = E softplus(D(R(x), x)) + E softplus(-D(z, G(z))) + w E mean (x - G(R(x)))^2

This is its explicit, unsupervised form. R is stochastic through noise inputs beside x;
G's noise inputs are 0, their mean, in G(R(x)).

Dimension key: B batch, Z latent, E noise inputs, X data dimensions.
"""

import dataclasses

import jax
import jax.numpy as jnp

from veegan_jax.common import fields
from veegan_jax.config import Config
from veegan_jax.methods import ali, base
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics, rng

softplus = jax.nn.softplus
DROPS_UNITS = True  # D may have dropout


@dataclasses.dataclass(frozen=True)
class Objective(ali.Objective):
    """ALI's, and the weight of the reconstruction."""

    data_reconstruction_weight: float = fields.field(
        1.0, "weight of mean (x - G(R(x)))^2", "objective", within="[0, inf)"
    )


init = ali.init


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D, G and R simultaneously on a batch of real examples."""
    generator = config.generator(axis_name)
    reconstructor = config.reconstructor(axis_name)
    discriminator = config.discriminator(axis_name)
    weight = config.objective.data_reconstruction_weight
    batch = len(x_BX)
    key_step = jax.random.fold_in(state.key, state.step)
    key_z, key_r = jax.random.split(key_step)
    real_rngs, fake_rngs = (
        {"dropout": jax.random.fold_in(key_step, i)} for i in (2, 3)
    )
    latent_BZE = rng.normal(key_z, config.latent_shape(batch), axis_name=axis_name)
    z_BZ = latent_BZE[:, : config.latent_size]
    noise_shape = batch, config.objective.reconstructor_noise
    noise_BE = rng.normal(key_r, noise_shape, axis_name=axis_name)
    stats = state.batch_stats

    def losses(params):
        fake_BX, stats_g = base.apply_training(
            generator, params["generator"], stats["generator"], latent_BZE
        )
        code_BZ, stats_r = base.apply_training(
            reconstructor,
            params["reconstructor"],
            stats["reconstructor"],
            noise_BE,
            x_BX,
        )
        again_BX, _ = base.apply_training(
            generator,
            params["generator"],
            stats["generator"],
            base.without_noise(code_BZ, config),
        )
        params_d = {"params": params["discriminator"]}
        real_logit = discriminator.apply(params_d, code_BZ, x_BX, rngs=real_rngs)
        fake_logit = discriminator.apply(params_d, z_BZ, fake_BX, rngs=fake_rngs)
        loss_d = jnp.mean(softplus(-real_logit)) + jnp.mean(softplus(fake_logit))
        error = jnp.mean(jnp.square(x_BX - again_BX))
        loss_gr = (
            jnp.mean(softplus(real_logit))
            + jnp.mean(softplus(-fake_logit))
            + weight * error
        )
        batch_stats = {"generator": stats_g, "reconstructor": stats_r}
        return (loss_d, loss_gr), (batch_stats, error)

    grads, (loss_d, loss_gr), (batch_stats, error) = base.simultaneous_gradients(
        losses, state.params, base.turn_of_d(state, config)
    )
    metrics = {"loss_d": loss_d, "loss_gr": loss_gr, "data_reconstruction": error}
    return base.update(
        state, grads, batch_stats, metrics, config=config, axis_name=axis_name
    )


sample, generate, reconstruct = base.sample, base.generate, ali.reconstruct
