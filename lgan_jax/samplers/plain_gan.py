"""A plain GAN over the encodings: the rival without basis, penalty and acceptance.

    y = G(z),  z ~ N(0, I)
    L_D = E softplus(-D(y_real)) + E softplus(D(y)),   L_G = E softplus(-D(y))

Dimension key: B batch, Z latent of G, d encoding.
"""

import jax
import jax.numpy as jnp

from lgan_jax import networks, train_state
from lgan_jax.config import Config
from lgan_jax.encodings import Encodings
from lgan_jax.samplers import adversarial
from lgan_jax.train_state import Metrics, TrainState
from veegan_jax.methods import base
from veegan_jax.runtime import parallel, rng

softplus = jax.nn.softplus


def _generator(config: Config) -> networks.MLP:
    return networks.MLP(config.sampler_widths, config.latent_size)


def init(key: jax.Array, encodings: Encodings, config: Config) -> TrainState:
    """Build the state of step 0."""
    return adversarial.init(key, _generator(config), encodings, config)


def train_step(
    state: TrainState, y_Bd: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Take one simultaneous step of D and G on a batch of encodings.

    Args:
      state: of one class, or of all moves.
      y_Bd: centred and scaled encodings, this device's part of the batch.
      config: the run's.
      axis_name: the mapped batch axis, or None.
    """
    _, key_z = train_state.step_keys(state, 2)
    z_BZ = rng.normal(key_z, (len(y_Bd), config.noise_size), axis_name=axis_name)
    generator = _generator(config)
    discriminator = adversarial.discriminator(config)

    def losses(params):
        params_d = {"params": params["discriminator"]}
        fake_Bd = generator.apply({"params": params["generator"]}, z_BZ)
        real_logit = discriminator.apply(params_d, y_Bd)
        fake_logit = discriminator.apply(params_d, fake_Bd)
        loss_d = jnp.mean(softplus(-real_logit)) + jnp.mean(softplus(fake_logit))
        return (loss_d, jnp.mean(softplus(-fake_logit))), None

    grads, (loss_d, loss_g), _ = base.simultaneous_gradients(losses, state.params)
    metrics = {"loss_d": loss_d, "loss_g": loss_g}
    grads, metrics = parallel.mean((grads, metrics), axis_name)
    return train_state.advance(state, grads, adversarial.optimizer(config)), metrics


def sample(state: TrainState, key: jax.Array, n: int, *, config: Config) -> jax.Array:
    """Draw n encodings [n, d], in the autoencoder's units."""
    z_NZ = rng.normal(key, (n, config.noise_size))
    params = {"params": state.params["generator"]}
    return state.data.restore(_generator(config).apply(params, z_NZ))
