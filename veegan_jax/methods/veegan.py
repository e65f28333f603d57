"""VEEGAN (Srivastava et al. 2017), Algorithm 1 as its authors' code runs it.

With z ~ N(0, I), x_g = G(z, noise), x ~ data and z_g ~ N(R(x), s^2 I):

    L_D = -E log sigmoid(D(z, x_g)) - E log(1 - sigmoid(D(z_g, x)))
    L_R = w E d(z, R(x_g))
    L_G = E D(z, x_g) + w E d(z, R(x_g)),   d(z, y) = 1/2 sum_i (z_i - y_i)^2

so D's logit estimates log q(x|z) p0(z) / p(z|x) p(x): the generated pair is the
positive class and G lowers its logit. d is SUMMED over the latent (w = 1); several
ports average it, which is w = 1 / latent size (`veegan_mean`). Others also train R
on -E D(z_g, x), as ALI would (`veegan_adversarial`).

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
DROPS_UNITS = True  # D may have dropout


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """The choices in which Algorithm 1 and its named variants differ."""

    reconstruction_weight: float = fields.field(
        1.0, "weight of 1/2 sum (z - R(G(z)))^2", "objective", within="[0, inf)"
    )
    adversarial_reconstructor: bool = fields.field(
        False, "R is also trained to fool D, through (R(x), x)", "objective"
    )
    reconstructor_std: float = fields.field(
        1.0,
        "standard deviation of z around R(x), as D sees it",
        "objective",
        within="[0, inf)",
    )


@numerics.standard
def init(key: jax.Array, config: Config) -> TrainState:
    """Initialize G, R and D from a typed key."""
    key_g, key_r, key_d, key_train = jax.random.split(key, 4)
    latent_BZE = jnp.zeros(config.latent_shape(1))
    z_BZ = jnp.zeros((1, config.latent_size))
    x_BX = config.examples()
    variables = {
        "generator": config.generator().init(key_g, latent_BZE),
        "reconstructor": config.reconstructor().init(key_r, x_BX),
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
    objective = config.objective
    key_step = jax.random.fold_in(state.key, state.step)
    key_z, key_r = jax.random.split(key_step)
    real_rngs, fake_rngs = (
        {"dropout": jax.random.fold_in(key_step, i)} for i in (2, 3)
    )
    latent_shape = config.latent_shape(len(x_BX))
    latent_BZE = rng.normal(key_z, latent_shape, axis_name=axis_name)
    z_BZ = latent_BZE[:, : config.latent_size]
    code_noise_BZ = objective.reconstructor_std * rng.normal(
        key_r, z_BZ.shape, axis_name=axis_name
    )

    def losses(params):
        moments = state.batch_stats
        fake_BX, stats_g = base.apply_training(
            generator, params["generator"], moments["generator"], latent_BZE
        )
        r = reconstructor, params["reconstructor"], moments["reconstructor"]
        fake_code_BZ, _ = base.apply_training(*r, fake_BX)
        error_BZ = z_BZ - fake_code_BZ
        code_BZ, stats_r = base.apply_training(*r, x_BX)
        code_BZ += code_noise_BZ
        if not objective.adversarial_reconstructor:
            code_BZ = jax.lax.stop_gradient(code_BZ)
        params_d = {"params": params["discriminator"]}
        fake_logit = discriminator.apply(params_d, z_BZ, fake_BX, rngs=fake_rngs)
        real_logit = discriminator.apply(params_d, code_BZ, x_BX, rngs=real_rngs)
        loss_d = jnp.mean(softplus(-fake_logit)) + jnp.mean(softplus(real_logit))
        reconstruction = 0.5 * jnp.mean(jnp.sum(error_BZ**2, axis=1))
        # x_g alone links the adversarial term to G, and d alone links it to R.
        loss_gr = (
            jnp.mean(fake_logit) + objective.reconstruction_weight * reconstruction
        )
        if objective.adversarial_reconstructor:
            loss_gr -= jnp.mean(real_logit)
        batch_stats = {"generator": stats_g, "reconstructor": stats_r}
        return (loss_d, loss_gr), (reconstruction, batch_stats)

    grads, (loss_d, loss_gr), (reconstruction, batch_stats) = (
        base.simultaneous_gradients(losses, state.params, base.turn_of_d(state, config))
    )
    metrics = {"loss_d": loss_d, "loss_gr": loss_gr, "reconstruction": reconstruction}
    return base.update(
        state, grads, batch_stats, metrics, config=config, axis_name=axis_name
    )


sample, generate = base.sample, base.generate


@numerics.standard
def reconstruct(state: TrainState, x_BX: jax.Array, *, config: Config) -> jax.Array:
    """Return the mean of z_BZ given x_BX."""
    return base.reconstruct(state, x_BX, config=config)
