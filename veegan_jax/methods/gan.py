"""GAN (Goodfellow et al. 2014), with the non-saturating generator loss.

    L_D = E softplus(-D(x)) + E softplus(D(G(z)))
    L_G = E softplus(-D(G(z)))

where softplus(-l) = -log sigmoid(l). D and G move simultaneously, from one forward
pass.

Dimension key: B batch, Z latent (with G's noise inputs), X data dimensions.
"""

import jax
import jax.numpy as jnp

from veegan_jax import networks
from veegan_jax.config import Config
from veegan_jax.methods import base
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import parallel, rng

softplus = jax.nn.softplus


def init(key: jax.Array, config: Config) -> TrainState:
    """Initializes G and D from a typed key."""
    key_g, key_d, key_train = jax.random.split(key, 3)
    z_BZ = jnp.zeros(networks.latent_shape(config, 1))
    x_BX = networks.example(config)
    variables = {
        "generator": networks.generator(config).init(key_g, z_BZ),
        "discriminator": networks.discriminator(config).init(key_d, x_BX),
    }
    return base.create(key_train, config, variables)


def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """One simultaneous update of D and G on a batch of real examples."""
    generator = networks.generator(config, axis_name)
    discriminator = networks.discriminator(config, axis_name)
    key_z = jax.random.fold_in(state.key, state.step)
    shape = networks.latent_shape(config, x_BX.shape[0])
    z_BZ = rng.normal(key_z, shape, axis_name=axis_name)

    def losses(params_d, params_g):
        fake_BX, stats_g = networks.train(
            generator, params_g, state.batch_stats["generator"], z_BZ
        )
        real_logit = discriminator.apply({"params": params_d}, x_BX)
        fake_logit = discriminator.apply({"params": params_d}, fake_BX)
        loss_d = jnp.mean(softplus(-real_logit)) + jnp.mean(softplus(fake_logit))
        loss_g = jnp.mean(softplus(-fake_logit))
        return (loss_d, loss_g), {"generator": stats_g}

    (loss_d, loss_g), pullback, batch_stats = jax.vjp(
        losses, state.params["discriminator"], state.params["generator"], has_aux=True
    )
    # Each loss is pulled back to its own network; XLA drops the other half.
    grads = {
        "discriminator": pullback((1.0, 0.0))[0],
        "generator": pullback((0.0, 1.0))[1],
    }
    metrics = {"loss_d": loss_d, "loss_g": loss_g}
    grads, batch_stats, metrics = parallel.mean(
        (grads, batch_stats, metrics), axis_name
    )
    return base.advance(state, grads, batch_stats, config), metrics


sample = base.generate
