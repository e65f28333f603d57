"""GAN (Goodfellow et al. 2014), with the non-saturating generator loss.

    L_D = E softplus(-D(x)) + E softplus(D(G(z)))
    L_G = E softplus(-D(G(z)))

where softplus(-l) = -log sigmoid(l). D and G move simultaneously, from one forward
pass.

Dimension key: B batch, Z latent (with G's noise inputs), X data dimensions.
"""

import jax
import jax.numpy as jnp

from veegan_jax.config import Config
from veegan_jax.methods import base
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics, rng

softplus = jax.nn.softplus


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
        params_d = {"params": params["discriminator"]}
        real_logit = discriminator.apply(params_d, x_BX)
        fake_logit = discriminator.apply(params_d, fake_BX)
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


init, sample, generate = base.init_pair, base.sample, base.generate
