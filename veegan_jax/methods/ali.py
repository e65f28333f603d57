"""ALI (Dumoulin et al. 2017; BiGAN, Donahue et al. 2017).

D tells the encoder's pairs (R(x), x) from the decoder's (z, G(z)); G and R both
fool it, with the non-saturating loss of ALI's code:

    L_D  = E softplus(-D(R(x), x)) + E softplus(D(z, G(z)))
    L_GR = E softplus(D(R(x), x)) + E softplus(-D(z, G(z)))

R is the encoder; it is stochastic through noise inputs beside x.

Dimension key: B batch, Z latent, E noise inputs, X data dimensions.
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
DROPS_UNITS = True  # D may have dropout


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """The randomness of the encoder."""

    reconstructor_noise: int = fields.field(
        2, "noise inputs of R beside x", "objective", within="[0, inf)"
    )


@numerics.standard
def init(key: jax.Array, config: Config) -> TrainState:
    """Initialize G, R and D from a typed key."""
    key_g, key_r, key_d, key_train = jax.random.split(key, 4)
    latent_BZE = jnp.zeros(config.latent_shape(1))
    z_BZ = jnp.zeros((1, config.latent_size))
    x_BX = config.examples()
    noise_BE = jnp.zeros((1, config.objective.reconstructor_noise))
    variables = {
        "generator": config.generator().init(key_g, latent_BZE),
        "reconstructor": config.reconstructor().init(key_r, noise_BE, x_BX),
        "discriminator": config.discriminator().init(key_d, z_BZ, x_BX),
    }
    return base.create(key_train, config, variables)


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D, G and R simultaneously on a batch of real examples."""
    generator = config.generator(axis_name)
    reconstructor = config.reconstructor(axis_name)
    discriminator = config.discriminator(axis_name)
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

    def losses(params):
        moments = state.batch_stats
        fake_BX, stats_g = base.apply_training(
            generator, params["generator"], moments["generator"], latent_BZE
        )
        code_BZ, stats_r = base.apply_training(
            reconstructor,
            params["reconstructor"],
            moments["reconstructor"],
            noise_BE,
            x_BX,
        )
        params_d = {"params": params["discriminator"]}
        real_logit = discriminator.apply(params_d, code_BZ, x_BX, rngs=real_rngs)
        fake_logit = discriminator.apply(params_d, z_BZ, fake_BX, rngs=fake_rngs)
        loss_d = jnp.mean(softplus(-real_logit)) + jnp.mean(softplus(fake_logit))
        loss_gr = jnp.mean(softplus(real_logit)) + jnp.mean(softplus(-fake_logit))
        return (loss_d, loss_gr), {"generator": stats_g, "reconstructor": stats_r}

    grads, (loss_d, loss_gr), batch_stats = base.simultaneous_gradients(
        losses, state.params, base.turn_of_d(state, config)
    )
    metrics = {"loss_d": loss_d, "loss_gr": loss_gr}
    return base.update(
        state, grads, batch_stats, metrics, config=config, axis_name=axis_name
    )


sample, generate = base.sample, base.generate


@numerics.standard
def reconstruct(state: TrainState, x_BX: jax.Array, *, config: Config) -> jax.Array:
    """Return the encoder's z_BZ for x_BX, its noise inputs at their mean, 0."""
    noise_BE = jnp.zeros((len(x_BX), config.objective.reconstructor_noise))
    return base.reconstruct(state, noise_BE, x_BX, config=config)
