"""An autoencoder of a GAN's own G and R: how near its networks can come to x at all.

    L_GR = E mean (G(R(x)) - x)^2

It is no rival but a floor for IvOM. If a GAN's G of the same size and budget is farther
from the images, that is for what it learned, not for its networks. Nothing brings the
codes to the prior, so draws of z ~ N(0, I) say nothing.

Dimension key: B batch, Z latent, X data dimensions.
"""

import jax
import jax.numpy as jnp

from veegan_jax.config import Config
from veegan_jax.methods import base
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics


@numerics.standard
def init(key: jax.Array, config: Config) -> TrainState:
    """Initialize G and R from a typed key."""
    key_g, key_r, key_train = jax.random.split(key, 3)
    variables = {
        "generator": config.generator().init(key_g, jnp.zeros(config.latent_shape(1))),
        "reconstructor": config.reconstructor().init(key_r, config.examples(1)),
    }
    return base.create(key_train, config, variables)


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update G and R on a batch of real examples."""
    generator = config.generator(axis_name)
    reconstructor = config.reconstructor(axis_name)
    x_BX = x_BX / config.data.scale
    stats = state.batch_stats

    def loss(params):
        code_BZ, stats_r = base.apply_training(
            reconstructor, params["reconstructor"], stats["reconstructor"], x_BX
        )
        found_BX, stats_g = base.apply_training(
            generator, params["generator"], stats["generator"], code_BZ
        )
        error = jnp.mean(jnp.square(found_BX - x_BX))
        return error, {"generator": stats_g, "reconstructor": stats_r}

    (error, batch_stats), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    metrics = {"error": error}
    return base.update(
        state, grads, batch_stats, metrics, config=config, axis_name=axis_name
    )


sample, generate = base.sample, base.generate


@numerics.standard
def reconstruct(state: TrainState, x_BX: jax.Array, *, config: Config) -> jax.Array:
    """Return the code z_BZ of x_BX."""
    return base.reconstruct(state, x_BX / config.data.scale, config=config)
