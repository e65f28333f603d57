"""PacGAN (Lin et al. 2018): a GAN whose D judges m samples of one kind at once.

    L_D = E softplus(-D(x_1, ..., x_m)) + E softplus(D(G(z_1), ..., G(z_m)))
    L_G = E softplus(-D(G(z_1), ..., G(z_m)))

The m samples are joined on the feature or channel axis, so only D's first layer is
wider. A generator that drops modes shows it inside one pack: samples too alike. The
batch of B examples makes B / m packs. In the presets D judges as many packs as another
method's D judges examples, as in the authors' code, so the batch is m times as large.

Dimension key: B batch, Z latent (with G's noise inputs), X data dimensions.
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


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """The size of a pack."""

    pack: int = fields.field(
        2, "samples that D judges at once", "objective", within="[1, inf)"
    )


@numerics.standard
def init(key: jax.Array, config: Config) -> TrainState:
    """Initialize G and D from a typed key."""
    key_g, key_d, key_train = jax.random.split(key, 3)
    z_BZ = jnp.zeros(config.latent_shape(1))
    degree = config.objective.pack
    one_pack = base.pack(config.examples(degree), degree)
    variables = {
        "generator": config.generator().init(key_g, z_BZ),
        "discriminator": config.discriminator().init(key_d, one_pack),
    }
    return base.create(key_train, config, variables)


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
        real, fake = (base.pack(x, config.objective.pack) for x in (x_BX, fake_BX))
        params_d = {"params": params["discriminator"]}
        real_logit = discriminator.apply(params_d, real)
        fake_logit = discriminator.apply(params_d, fake)
        loss_d = jnp.mean(softplus(-real_logit)) + jnp.mean(softplus(fake_logit))
        loss_g = jnp.mean(softplus(-fake_logit))
        return (loss_d, loss_g), {"generator": stats_g}

    grads, (loss_d, loss_g), batch_stats = base.simultaneous_gradients(
        losses, state.params, base.turn_of_d(state, config)
    )
    metrics = {"loss_d": loss_d, "loss_g": loss_g}
    return base.update(
        state, grads, batch_stats, metrics, config=config, axis_name=axis_name
    )


sample, generate = base.sample, base.generate
