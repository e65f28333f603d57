"""A variational autoencoder of one class (Kingma and Welling 2014).

    L = E_x E_{y ~ q(y | x)} [ - log p(x | y) ] + KL(q(y | x) || N(0, I))

with Bernoulli pixels, so that both terms are in nats; samples decode y ~ N(0, I).

Dimension key: B batch, X pixels, d latent.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lgan_jax import autoencoder, networks, train_state
from lgan_jax.config import Config
from lgan_jax.train_state import Metrics, Rows, TrainState
from veegan_jax.runtime import parallel, rng


def network(config: Config) -> networks.DenseAutoencoder:
    """The autoencoder's layers, but for a code of means and log variances."""
    return networks.DenseAutoencoder(
        config.autoencoder_widths,
        config.latent_size,
        config.data_size,
        code_name="moments",
        code_size=2 * config.latent_size,
    )


def init(key: jax.Array, rows: Rows, config: Config) -> TrainState:
    """Build the state of step 0 for the images of a class."""
    key_params, key_train = jax.random.split(key)
    x_1X = jnp.zeros((1, config.data_size))
    variables = {"vae": network(config).init(key_params, x_1X)}
    optimizer = autoencoder.optimizer(config)
    return train_state.create(key_train, variables, rows, optimizer)


def kl_to_standard(mean_Bd: jax.Array, log_variance_Bd: jax.Array) -> jax.Array:
    """KL(N(mean, variance) || N(0, I)) in nats, [B] (appendix B of the paper)."""
    terms_Bd = mean_Bd**2 + jnp.exp(log_variance_Bd) - 1 - log_variance_Bd
    return 0.5 * jnp.sum(terms_Bd, axis=1)


def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Take one Adam step on a batch of images.

    Args:
      state: of one class and seed.
      x_BX: pixels in [0, 1], this device's part of the batch.
      config: the run's.
      axis_name: the mapped batch axis, or None.
    """
    _, key_noise = train_state.step_keys(state, 2)
    shape = len(x_BX), config.latent_size
    noise_Bd = rng.normal(key_noise, shape, axis_name=axis_name)
    module = network(config)

    def loss(params: Any) -> tuple[jax.Array, jax.Array]:
        variables = {"params": params}
        moments_B2d = module.apply(variables, x_BX, method="encode")
        mean_Bd, log_variance_Bd = jnp.split(moments_B2d, 2, axis=1)
        y_Bd = mean_Bd + jnp.exp(log_variance_Bd / 2) * noise_Bd
        logits_BX = module.apply(variables, y_Bd, method="decode")
        nats_BX = optax.sigmoid_binary_cross_entropy(logits_BX, x_BX)
        kl = jnp.mean(kl_to_standard(mean_Bd, log_variance_Bd))
        return jnp.mean(jnp.sum(nats_BX, axis=1)) + kl, kl

    (value, kl), grad = jax.value_and_grad(loss, has_aux=True)(state.params["vae"])
    metrics = {"loss": value, "kl": kl}
    grads, metrics = parallel.mean(({"vae": grad}, metrics), axis_name)
    return train_state.advance(state, grads, autoencoder.optimizer(config)), metrics


def sample(state: TrainState, key: jax.Array, n: int, *, config: Config) -> jax.Array:
    """Draw n images: the means of p(x | y) for y ~ N(0, I).

    Returns:
      Pixels in [0, 1], float [n, X].
    """
    y_Nd = rng.normal(key, (n, config.latent_size))
    params = {"params": state.params["vae"]}
    return jax.nn.sigmoid(network(config).apply(params, y_Nd, method="decode"))
