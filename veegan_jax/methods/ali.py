"""ALI (Dumoulin et al. 2017; BiGAN, Donahue et al. 2017).

D tells the encoder's pairs (R(x), x) from the decoder's (z, G(z)); G and R both
fool it, with the non-saturating loss of ALI's code:

    L_D  = E softplus(-D(R(x), x)) + E softplus(D(z, G(z)))
    L_GR = E softplus(D(R(x), x)) + E softplus(-D(z, G(z)))

R is the encoder; it is stochastic through noise inputs beside x.

Dimension key: B batch, Z latent, E noise inputs, X data dimensions.
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
    """Initializes G, R and D from a typed key."""
    key_g, key_r, key_d, key_train = jax.random.split(key, 4)
    latent_BZE = jnp.zeros(networks.latent_shape(config, 1))
    z_BZ = jnp.zeros((1, config.latent_size))
    x_BX = networks.example(config)
    noise_BE = jnp.zeros((1, config.reconstructor_noise))
    variables = {
        "generator": networks.generator(config).init(key_g, latent_BZE),
        "reconstructor": networks.reconstructor(config).init(key_r, noise_BE, x_BX),
        "discriminator": networks.discriminator(config).init(key_d, z_BZ, x_BX),
    }
    return base.create(key_train, config, variables)


def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """One simultaneous update of D, G and R on a batch of real examples."""
    generator = networks.generator(config, axis_name)
    reconstructor = networks.reconstructor(config, axis_name)
    discriminator = networks.discriminator(config, axis_name)
    batch = x_BX.shape[0]
    key_step = jax.random.fold_in(state.key, state.step)
    key_z, key_r = jax.random.split(key_step)
    real_rngs, fake_rngs = (
        {"dropout": jax.random.fold_in(key_step, i)} for i in (2, 3)
    )
    latent_BZE = rng.normal(
        key_z, networks.latent_shape(config, batch), axis_name=axis_name
    )
    z_BZ = latent_BZE[:, : config.latent_size]
    noise_BE = rng.normal(
        key_r, (batch, config.reconstructor_noise), axis_name=axis_name
    )

    def losses(params_d, params_g, params_r):
        fake_BX, stats_g = networks.train(
            generator, params_g, state.batch_stats["generator"], latent_BZE
        )
        code_BZ, stats_r = networks.train(
            reconstructor, params_r, state.batch_stats["reconstructor"], noise_BE, x_BX
        )
        real_logit = discriminator.apply(
            {"params": params_d}, code_BZ, x_BX, rngs=real_rngs
        )
        fake_logit = discriminator.apply(
            {"params": params_d}, z_BZ, fake_BX, rngs=fake_rngs
        )
        loss_d = jnp.mean(softplus(-real_logit)) + jnp.mean(softplus(fake_logit))
        loss_gr = jnp.mean(softplus(real_logit)) + jnp.mean(softplus(-fake_logit))
        return (loss_d, loss_gr), {"generator": stats_g, "reconstructor": stats_r}

    (loss_d, loss_gr), pullback, batch_stats = jax.vjp(
        losses,
        state.params["discriminator"],
        state.params["generator"],
        state.params["reconstructor"],
        has_aux=True,
    )
    grad_d, _, _ = pullback((1.0, 0.0))
    _, grad_g, grad_r = pullback((0.0, 1.0))
    grads = {"discriminator": grad_d, "generator": grad_g, "reconstructor": grad_r}
    metrics = {"loss_d": loss_d, "loss_gr": loss_gr}
    grads, batch_stats, metrics = parallel.mean(
        (grads, batch_stats, metrics), axis_name
    )
    return base.advance(state, grads, batch_stats, config), metrics


sample = base.generate


def reconstruct(state: TrainState, x_BX: jax.Array, *, config: Config) -> jax.Array:
    """The encoder's z_BZ for x_BX, its noise inputs at their mean, 0."""
    noise_BE = jnp.zeros((x_BX.shape[0], config.reconstructor_noise))
    return base.reconstruct(state, noise_BE, x_BX, config=config)
