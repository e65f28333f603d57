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
    variables = {
        "generator": networks.generator(config).init(key_g, latent_BZE),
        "reconstructor": networks.reconstructor(config).init(key_r, x_BX),
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
    code_noise_BZ = config.reconstructor_std * rng.normal(
        key_r, z_BZ.shape, axis_name=axis_name
    )

    def losses(params_d, params_g, params_r):
        fake_BX, stats_g = networks.train(
            generator, params_g, state.batch_stats["generator"], latent_BZE
        )
        moments_r = state.batch_stats["reconstructor"]
        fake_code_BZ, _ = networks.train(reconstructor, params_r, moments_r, fake_BX)
        error_BZ = z_BZ - fake_code_BZ
        code_BZ, stats_r = networks.train(reconstructor, params_r, moments_r, x_BX)
        code_BZ += code_noise_BZ
        if not config.adversarial_reconstructor:
            code_BZ = jax.lax.stop_gradient(code_BZ)
        fake_logit = discriminator.apply(
            {"params": params_d}, z_BZ, fake_BX, rngs=fake_rngs
        )
        real_logit = discriminator.apply(
            {"params": params_d}, code_BZ, x_BX, rngs=real_rngs
        )
        loss_d = jnp.mean(softplus(-fake_logit)) + jnp.mean(softplus(real_logit))
        reconstruction = 0.5 * jnp.mean(jnp.sum(error_BZ**2, axis=1))
        loss_gr = jnp.mean(fake_logit) + config.reconstruction_weight * reconstruction
        if config.adversarial_reconstructor:
            loss_gr -= jnp.mean(real_logit)
        batch_stats = {"generator": stats_g, "reconstructor": stats_r}
        return (loss_d, loss_gr), (reconstruction, batch_stats)

    (loss_d, loss_gr), pullback, (reconstruction, batch_stats) = jax.vjp(
        losses,
        state.params["discriminator"],
        state.params["generator"],
        state.params["reconstructor"],
        has_aux=True,
    )
    # x_g alone links the adversarial term to G, and d alone links it to R.
    grad_d, _, _ = pullback((1.0, 0.0))
    _, grad_g, grad_r = pullback((0.0, 1.0))
    grads = {"discriminator": grad_d, "generator": grad_g, "reconstructor": grad_r}
    metrics = {"loss_d": loss_d, "loss_gr": loss_gr, "reconstruction": reconstruction}
    grads, batch_stats, metrics = parallel.mean(
        (grads, batch_stats, metrics), axis_name
    )
    return base.advance(state, grads, batch_stats, config), metrics


sample = base.generate


def reconstruct(state: TrainState, x_BX: jax.Array, *, config: Config) -> jax.Array:
    """The mean of z_BZ given x_BX."""
    return base.reconstruct(state, x_BX, config=config)
