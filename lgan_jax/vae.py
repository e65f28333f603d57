"""A variational autoencoder of one class (Kingma and Welling 2014).

    L = E_x E_{y ~ q(y | x)} [ - log p(x | y) ] + KL(q(y | x) || N(0, I))

with Bernoulli pixels, so that both terms are in nats; samples decode y ~ N(0, I).

Dimension key: B batch, N images of the class, M images of the data set, X pixels,
d latent.
"""

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


class VAE(nn.Module):
    """q(y | x) by dense layers, p(x | y) by the same ones in reverse."""

    widths: tuple[int, ...]
    latent_size: int
    data_size: int

    def setup(self) -> None:
        he_normal = nn.initializers.he_normal()
        self.down = [nn.Dense(w, kernel_init=he_normal) for w in self.widths]
        self.moments = nn.Dense(2 * self.latent_size)
        self.up = [nn.Dense(w, kernel_init=he_normal) for w in reversed(self.widths)]
        self.pixels = nn.Dense(self.data_size)

    def encode(self, x_BX: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log variance of q, [B, d] each."""
        for layer in self.down:
            x_BX = nn.relu(layer(x_BX))
        mean_Bd, log_variance_Bd = jnp.split(self.moments(x_BX), 2, axis=1)
        return mean_Bd, log_variance_Bd

    def logits(self, y_Bd: jax.Array) -> jax.Array:
        for layer in self.up:
            y_Bd = nn.relu(layer(y_Bd))
        return self.pixels(y_Bd)

    def __call__(self, x_BX: jax.Array) -> jax.Array:
        return self.logits(self.encode(x_BX)[0])


def network(config: Config) -> VAE:
    """The modules; sizes as the autoencoder's."""
    return VAE(config.autoencoder_widths, config.latent_size, config.data_size)


def _optimizer(config: Config) -> optax.GradientTransformation:
    steps = max(1, config.autoencoder_steps)
    return optax.adam(optax.cosine_decay_schedule(config.autoencoder_rate, steps))


def init(key: jax.Array, rows_N: jax.Array, count: jax.Array, config: Config) -> State:
    """Initial state for the images `rows_N[:count]` of the data set."""
    key_params, key_train = jax.random.split(key)
    x_1X = jnp.zeros((1, config.data_size))
    params = network(config).init(key_params, x_1X)["params"]
    return State(
        step=jnp.zeros((), jnp.int32),
        key=key_train,
        params=params,
        opt_state=_optimizer(config).init(params),
        rows=rows_N,
        count=count,
    )


def kl_to_standard(mean_Bd: jax.Array, log_variance_Bd: jax.Array) -> jax.Array:
    """KL(N(mean, variance) || N(0, I)) in nats, [B] (appendix B of the paper)."""
    terms_Bd = mean_Bd**2 + jnp.exp(log_variance_Bd) - 1 - log_variance_Bd
    return 0.5 * jnp.sum(terms_Bd, axis=1)


def train_step(
    image_MX: jax.Array,
    state: State,
    axis_name: str | None = None,
    *,
    config: Config,
    num_devices: int = 1,
) -> tuple[State, Metrics]:
    """One Adam step on a batch of the class's images, drawn with replacement."""
    key_rows, key_noise = jax.random.split(jax.random.fold_in(state.key, state.step))
    batch = config.autoencoder_batch // num_devices
    index_B = rng.index(key_rows, batch, state.count, axis_name=axis_name)
    x_BX = image_MX[state.rows[index_B]].astype(jnp.float32) / 255
    noise_Bd = rng.normal(key_noise, (batch, config.latent_size), axis_name=axis_name)
    module = network(config)

    def loss(params: Any) -> tuple[jax.Array, jax.Array]:
        variables = {"params": params}
        mean_Bd, log_variance_Bd = module.apply(variables, x_BX, method="encode")
        y_Bd = mean_Bd + jnp.exp(log_variance_Bd / 2) * noise_Bd
        logits_BX = module.apply(variables, y_Bd, method="logits")
        nats_BX = optax.sigmoid_binary_cross_entropy(logits_BX, x_BX)
        kl = jnp.mean(kl_to_standard(mean_Bd, log_variance_Bd))
        return jnp.mean(jnp.sum(nats_BX, axis=1)) + kl, kl

    (value, kl), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    metrics = {"loss": value, "kl": kl}
    grads, metrics = parallel.mean((grads, metrics), axis_name)
    updates, opt_state = _optimizer(config).update(grads, state.opt_state)
    params = optax.apply_updates(state.params, updates)
    new = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
    return new, metrics


def sample(params: Any, key: jax.Array, num: int, *, config: Config) -> jax.Array:
    """Pixels in [0, 1], [num, X]: the means of p(x | y) for y ~ N(0, I)."""
    y_Nd = rng.normal(key, (num, config.latent_size))
    logits_NX = network(config).apply({"params": params}, y_Nd, method="logits")
    return jax.nn.sigmoid(logits_NX)
