"""A plain GAN over the encodings: the rival without basis, penalty and acceptance.

    y = G(z),  z ~ N(0, I)
    L_D = E softplus(-D(y_real)) + E softplus(D(y)),   L_G = E softplus(-D(y))

Dimension key: B batch, Z latent of G, d encoding.
"""

import jax
import jax.numpy as jnp

from lgan_jax import networks
from lgan_jax import state as states
from lgan_jax.config import Config
from lgan_jax.encodings import Encodings
from lgan_jax.state import Metrics, State
from veegan_jax.runtime import parallel, rng

softplus = jax.nn.softplus


def _generator(config: Config) -> networks.MLP:
    return networks.MLP(config.sampler_widths, config.latent_size)


def _discriminator(config: Config) -> networks.MLP:
    return networks.MLP(config.sampler_widths, 1)


def init(key: jax.Array, encodings: Encodings, config: Config) -> State:
    """Initializes G and D from a typed key."""
    key_g, key_d, key_train = jax.random.split(key, 3)
    z_1Z = jnp.zeros((1, config.noise_size))
    y_1d = jnp.zeros((1, config.latent_size))
    variables = {
        "generator": _generator(config).init(key_g, z_1Z),
        "discriminator": _discriminator(config).init(key_d, y_1d),
    }
    return states.create(key_train, encodings, config, variables)


def train_step(
    state: State,
    axis_name: str | None = None,
    *,
    config: Config,
    num_devices: int = 1,
) -> tuple[State, Metrics]:
    """One simultaneous update of D and G on encodings drawn with replacement."""
    key_rows, key_z = jax.random.split(jax.random.fold_in(state.key, state.step))
    batch = config.sampler_batch // num_devices
    encodings = state.encodings
    index_B = rng.index(key_rows, batch, encodings.count, axis_name=axis_name)
    real_Bd = encodings.unit[index_B]
    z_BZ = rng.normal(key_z, (batch, config.noise_size), axis_name=axis_name)
    generator, discriminator = _generator(config), _discriminator(config)

    def losses(params_d, params_g):
        fake_Bd = generator.apply({"params": params_g}, z_BZ)
        real_logit = discriminator.apply({"params": params_d}, real_Bd)
        fake_logit = discriminator.apply({"params": params_d}, fake_Bd)
        loss_d = jnp.mean(softplus(-real_logit)) + jnp.mean(softplus(fake_logit))
        return loss_d, jnp.mean(softplus(-fake_logit))

    (loss_d, loss_g), pullback = jax.vjp(
        losses, state.params["discriminator"], state.params["generator"]
    )
    # Each loss is pulled back to its own network; XLA drops the other half.
    grads = {
        "discriminator": pullback((1.0, 0.0))[0],
        "generator": pullback((0.0, 1.0))[1],
    }
    metrics = {"loss_d": loss_d, "loss_g": loss_g}
    grads, metrics = parallel.mean((grads, metrics), axis_name)
    return states.advance(state, grads, config), metrics


def sample(state: State, key: jax.Array, num: int, *, config: Config) -> jax.Array:
    """Encodings [num, d] in the autoencoder's units."""
    z_NZ = rng.normal(key, (num, config.noise_size))
    params = {"params": state.params["generator"]}
    return state.encodings.restore(_generator(config).apply(params, z_NZ))
