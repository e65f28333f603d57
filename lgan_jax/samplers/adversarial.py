"""Shared by the trained samplers: D, the optimizer and the initial state."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from lgan_jax import networks, train_state
from lgan_jax.config import Config
from lgan_jax.encodings import Encodings
from lgan_jax.train_state import TrainState
from veegan_jax.common import optimizers


def discriminator(config: Config) -> networks.MLP:
    """D: encodings -> one logit."""
    return networks.MLP(config.sampler_widths, 1)


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam with a constant step size."""
    return optimizers.adam(
        config.sampler_rate,
        steps=config.sampler_steps,
        schedule="constant",
        beta1=config.sampler_beta1,
        beta2=0.999,
    )


def init(
    key: jax.Array, generator: nn.Module, encodings: Encodings, config: Config
) -> TrainState:
    """Build the state of step 0 of G and D.

    Args:
      key: one typed key.
      generator: G, which reads config.noise_size numbers.
      encodings: what is learnt from.
      config: the run's.
    """
    key_g, key_d, key_train = jax.random.split(key, 3)
    noise_1E = jnp.zeros((1, config.noise_size))
    y_1d = jnp.zeros((1, config.latent_size))
    variables = {
        "generator": generator.init(key_g, noise_1E),
        "discriminator": discriminator(config).init(key_d, y_1d),
    }
    return train_state.create(key_train, variables, encodings, optimizer(config))
