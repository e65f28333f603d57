"""Flax modules, how a `Config` sizes them, and the one way to generate.

Dimension key: B batch, Z latent (with G's noise inputs), X data dimensions.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from veegan_jax.common import rng
from veegan_jax.config import Config
from veegan_jax.networks import mlp
from veegan_jax.state import State


def generator(config: Config, axis_name: str | None = None) -> nn.Module:
    """G: (z, noise) -> x."""
    if config.generator_code:
        return mlp.CodeGenerator(
            config.latent_size,
            config.generator_widths,
            config.generator_code,
            config.data_size,
            activation=config.activation,
            kernels=config.init,
        )
    return mlp.MLP(
        config.generator_widths,
        config.data_size,
        activation=config.activation,
        kernels=config.init,
        batch_norm=config.batch_norm,
        axis_name=axis_name,
    )


def reconstructor(config: Config) -> mlp.MLP:
    """R: x, or (noise, x), -> the mean of z given x."""
    return mlp.MLP(
        config.reconstructor_widths,
        config.latent_size,
        activation=config.activation,
        kernels=config.init,
        gain=config.reconstructor_gain,
        fourier_size=config.fourier_size,
        fourier_scale=config.fourier_scale,
    )


def discriminator(config: Config) -> mlp.MLP:
    """D: x, or the pair (z, x), -> one logit."""
    return mlp.MLP(
        config.discriminator_widths,
        1,
        activation=config.activation,
        kernels=config.init,
        maxout=config.maxout,
        bias_std=config.bias_std,
        latent_gain=config.latent_gain,
        moments=config.moments,
        fourier_size=config.fourier_size,
        fourier_scale=config.fourier_scale,
    )


def latent_shape(config: Config, batch: int) -> tuple[int, int]:
    """Shape of G's whole input for a batch: z's columns, then the noise's."""
    return batch, config.latent_size + config.generator_noise


def generate(
    state: State, key_or_z: jax.Array, *, config: Config, num_samples: int = 0
) -> jax.Array:
    """Generates x, by G's average where there is one, BatchNorm in inference mode.

    Args:
      state: a trained state.
      key_or_z: a typed key, with num_samples; or z_BZ, whose missing noise columns
        count as 0 (their mean). x is differentiable in z.
      config: the state's own.
      num_samples: how many to draw from a key.

    Returns:
      float [B, X].
    """
    if jnp.issubdtype(key_or_z.dtype, jax.dtypes.prng_key):
        z_BZ = rng.normal(key_or_z, latent_shape(config, num_samples))
    else:
        missing = latent_shape(config, 0)[1] - key_or_z.shape[1]
        z_BZ = jnp.pad(key_or_z, ((0, 0), (0, missing)))
    params = state.params["generator"] if state.ema is None else state.ema
    variables = {"params": params, "batch_stats": state.batch_stats}
    return config.data_scale * generator(config).apply(variables, z_BZ)
