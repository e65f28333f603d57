"""An autoencoder of one class: y = E(x), and a decoder that returns from y.

    L = E_x [ - sum_i x_i log xhat_i + (1 - x_i) log (1 - xhat_i) ],  xhat = S(E(x))

with pixels in [0, 1] and a sigmoid output. One state is one class of one seed; all of
them are a leading axis (`jax.vmap`, or `parallel.run_steps`).

Dimension key: B batch, N images of the class, M images of the data set, X pixels,
d encoding.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from lgan_jax.config import Config
from veegan_jax.runtime import parallel, rng

Metrics = dict[str, jax.Array]


@struct.dataclass
class State:
    """A run's arrays. `key` never changes: steps fold their number into it."""

    step: jax.Array  # int32 []
    key: jax.Array  # typed PRNG key []
    params: Any
    opt_state: Any
    rows: jax.Array  # int32 [N], which images are the class's; padded
    count: jax.Array  # int32 [], how many of `rows` are not padding


class Autoencoder(nn.Module):
    """Dense layers down to the encoding, and the same ones up."""

    widths: tuple[int, ...]
    latent_size: int
    data_size: int

    def setup(self) -> None:
        dense = functools.partial(nn.Dense, kernel_init=nn.initializers.he_normal())
        self.down = [dense(width) for width in self.widths]
        self.code = nn.Dense(self.latent_size)
        self.up = [dense(width) for width in reversed(self.widths)]
        self.pixels = nn.Dense(self.data_size)

    def encode(self, x_BX: jax.Array) -> jax.Array:
        for layer in self.down:
            x_BX = nn.relu(layer(x_BX))
        return self.code(x_BX)

    def logits(self, y_Bd: jax.Array) -> jax.Array:
        for layer in self.up:
            y_Bd = nn.relu(layer(y_Bd))
        return self.pixels(y_Bd)

    def __call__(self, x_BX: jax.Array) -> jax.Array:
        return self.logits(self.encode(x_BX))


def network(config: Config) -> Autoencoder:
    """The modules; `config` sets their sizes."""
    return Autoencoder(config.autoencoder_widths, config.latent_size, config.data_size)


def _optimizer(config: Config) -> optax.GradientTransformation:
    steps = max(1, config.autoencoder_steps)
    return optax.adam(optax.cosine_decay_schedule(config.autoencoder_rate, steps))


def init(key: jax.Array, rows_N: jax.Array, count: jax.Array, config: Config) -> State:
    """Initial state for the images `rows_N[:count]` of the data set."""
    key_params, key_train = jax.random.split(key)
    params = network(config).init(key_params, jnp.zeros((1, config.data_size)))
    params = params["params"]
    return State(
        step=jnp.zeros((), jnp.int32),
        key=key_train,
        params=params,
        opt_state=_optimizer(config).init(params),
        rows=rows_N,
        count=count,
    )


def train_step(
    image_MX: jax.Array,
    state: State,
    axis_name: str | None = None,
    *,
    config: Config,
    num_devices: int = 1,
) -> tuple[State, Metrics]:
    """One Adam step on a batch of the class's images, drawn with replacement.

    Args:
      image_MX: the data set, uint8.
      state: of one class and seed.
      axis_name: the mapped batch axis, or None.
      config: the run's.
      num_devices: over which the batch is split.
    """
    key_rows, key_noise = jax.random.split(jax.random.fold_in(state.key, state.step))
    batch = config.autoencoder_batch // num_devices
    index_B = rng.index(key_rows, batch, state.count, axis_name=axis_name)
    x_BX = to_unit(image_MX[state.rows[index_B]])
    noise_Bd = rng.normal(key_noise, (batch, config.latent_size), axis_name=axis_name)
    module = network(config)

    def loss(params: Any) -> tuple[jax.Array, Metrics]:
        y_Bd = module.apply({"params": params}, x_BX, method="encode")
        # Noise of a share of the batch's own spread: encodings may take any unit.
        spread_1d = _spread(jax.lax.stop_gradient(y_Bd), axis_name)
        y_Bd = y_Bd + config.latent_noise * spread_1d * noise_Bd
        logits_BX = module.apply({"params": params}, y_Bd, method="logits")
        nats_BX = optax.sigmoid_binary_cross_entropy(logits_BX, x_BX)
        error = jnp.mean((jax.nn.sigmoid(logits_BX) - x_BX) ** 2)
        return jnp.mean(jnp.sum(nats_BX, axis=1)), {"squared_error": error}

    (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    grads, metrics = parallel.mean((grads, metrics | {"loss": value}), axis_name)
    updates, opt_state = _optimizer(config).update(grads, state.opt_state)
    params = optax.apply_updates(state.params, updates)
    return state.replace(
        step=state.step + 1, params=params, opt_state=opt_state
    ), metrics


def _spread(y_Bd: jax.Array, axis_name: str | None) -> jax.Array:
    """Standard deviations over the whole batch, of which this may be a part: [1, d]."""

    def mean(a_Bd: jax.Array) -> jax.Array:
        return parallel.mean(jnp.mean(a_Bd, axis=0, keepdims=True), axis_name)

    return jnp.sqrt(mean((y_Bd - mean(y_Bd)) ** 2))


def encode(params: Any, x_BX: jax.Array, *, config: Config) -> jax.Array:
    """Encodings [B, d] of pixels in [0, 1], float [B, X]."""
    return network(config).apply({"params": params}, x_BX, method="encode")


def decode(params: Any, y_Bd: jax.Array, *, config: Config) -> jax.Array:
    """Pixels in [0, 1], float [B, X]."""
    logits_BX = network(config).apply({"params": params}, y_Bd, method="logits")
    return jax.nn.sigmoid(logits_BX)


def to_unit(image: jax.Array) -> jax.Array:
    """uint8 pixels to floats in [0, 1]."""
    return image.astype(jnp.float32) / 255


def to_uint8(x: jax.Array) -> jax.Array:
    """Pixels in [0, 1] to the nearest of 0 to 255."""
    return jnp.clip(jnp.round(255 * x), 0, 255).astype(jnp.uint8)


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
