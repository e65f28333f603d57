"""An autoencoder of one class: y = E(x), and a decoder S that returns from y.

    L = E_x [ - sum_i x_i log xhat_i + (1 - x_i) log (1 - xhat_i) ],  xhat = S(E(x))

with pixels in [0, 1] and a sigmoid output. One state is one class of one seed; all of
them are a leading axis (`jax.vmap`, or `parallel.run_steps`).

Dimension key: B batch, N encodings, X pixels, d encoding.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lgan_jax import networks, train_state
from lgan_jax.config import Config
from lgan_jax.train_state import Metrics, Rows, TrainState
from veegan_jax.common import optimizers
from veegan_jax.runtime import numerics, parallel, rng


def network(config: Config) -> networks.DenseAutoencoder:
    """The modules; `config` sets their sizes."""
    return networks.DenseAutoencoder(
        config.autoencoder_widths, config.latent_size, config.data_size
    )


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam, its step size falling to 0 along half a cosine."""
    return optimizers.adam(
        config.autoencoder_rate,
        steps=max(1, config.autoencoder_steps),
        schedule="cosine",
        beta1=0.9,
        beta2=0.999,
    )


def training_bytes(config: Config) -> int:
    """Return the bytes of one autoencoder's weights and of Adam's two moments."""
    sizes = config.data_size, *config.autoencoder_widths, config.latent_size
    return 2 * sum(a * b for a, b in itertools.pairwise(sizes)) * 3 * 4


def init(key: jax.Array, rows: Rows, config: Config) -> TrainState:
    """Build the state of step 0 for the images of a class."""
    key_params, key_train = jax.random.split(key)
    x_1X = jnp.zeros((1, config.data_size))
    variables = {"autoencoder": network(config).init(key_params, x_1X)}
    return train_state.create(key_train, variables, rows, optimizer(config))


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

    def loss(params: Any) -> tuple[jax.Array, Metrics]:
        y_Bd = module.apply({"params": params}, x_BX, method="encode")
        # Noise in units of the batch's own spread: encodings may take any unit.
        spread_1d = _spread(jax.lax.stop_gradient(y_Bd), axis_name)
        y_Bd = y_Bd + config.latent_noise * spread_1d * noise_Bd
        logits_BX = module.apply({"params": params}, y_Bd, method="decode")
        nats_BX = optax.sigmoid_binary_cross_entropy(logits_BX, x_BX)
        error = jnp.mean((jax.nn.sigmoid(logits_BX) - x_BX) ** 2)
        return jnp.mean(jnp.sum(nats_BX, axis=1)), {"squared_error": error}

    (value, metrics), grad = jax.value_and_grad(loss, has_aux=True)(
        state.params["autoencoder"]
    )
    grads, metrics = parallel.mean(
        ({"autoencoder": grad}, metrics | {"loss": value}), axis_name
    )
    return train_state.advance(state, grads, optimizer(config)), metrics


def _spread(y_Bd: jax.Array, axis_name: str | None) -> jax.Array:
    """Standard deviations over the whole batch, on all devices: [1, d]."""

    def mean(a_Bd: jax.Array) -> jax.Array:
        return parallel.mean(jnp.mean(a_Bd, axis=0, keepdims=True), axis_name)

    return jnp.sqrt(mean((y_Bd - mean(y_Bd)) ** 2))


def encode(state: TrainState, x_BX: jax.Array, *, config: Config) -> jax.Array:
    """Encode pixels in [0, 1], float [B, X], as [B, d]."""
    params = {"params": state.params["autoencoder"]}
    return network(config).apply(params, x_BX, method="encode")


def decode(state: TrainState, y_Bd: jax.Array, *, config: Config) -> jax.Array:
    """Decode encodings [B, d] to pixels in [0, 1], float [B, X]."""
    params = {"params": state.params["autoencoder"]}
    return jax.nn.sigmoid(network(config).apply(params, y_Bd, method="decode"))


@numerics.exact
def effective_dimension(y_Nd: jax.Array, weight_N: jax.Array) -> jax.Array:
    """exp of the entropy of the covariance's eigenvalues: d if all directions are used.

    Args:
      y_Nd: encodings.
      weight_N: 1 for those that count, 0 for padding.

    Returns:
      A number in [1, d] (Roy and Vetterli 2007, "The effective rank").
    """
    share_N1 = (weight_N / jnp.sum(weight_N))[:, None]
    centred_Nd = y_Nd - jnp.sum(share_N1 * y_Nd, axis=0, keepdims=True)
    covariance_dd = centred_Nd.T @ (share_N1 * centred_Nd)
    p_d = jnp.maximum(jnp.linalg.eigvalsh(covariance_dd), 0)
    p_d = p_d / jnp.sum(p_d)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(p_d, p_d)))
