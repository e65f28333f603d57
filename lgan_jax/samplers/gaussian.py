"""A Gaussian with the mean and covariance of a class's encodings: nothing to train.

Dimension key: N encodings, d their size.
"""

import jax
import jax.numpy as jnp
from flax import struct

from lgan_jax.config import Config
from lgan_jax.encodings import Encodings
from veegan_jax.runtime import rng


@struct.dataclass
class State:
    encodings: Encodings
    root: jax.Array  # [d, d], its product with itself is the covariance


def init(key: jax.Array, encodings: Encodings, config: Config) -> State:
    """Fits the covariance of the centred and scaled encodings."""
    del key, config
    unit_Nd = encodings.weight()[:, None] * encodings.unit
    covariance_dd = unit_Nd.T @ unit_Nd / encodings.count
    # By eigenvalues, as a direction that no image uses may have none.
    value_d, vector_dd = jnp.linalg.eigh(covariance_dd)
    scaled_dd = vector_dd * jnp.sqrt(jnp.maximum(value_d, 0))[None]
    return State(encodings, scaled_dd @ vector_dd.T)


def sample(state: State, key: jax.Array, num: int, *, config: Config) -> jax.Array:
    """Encodings [num, d] in the autoencoder's units."""
    noise_Nd = rng.normal(key, (num, config.latent_size))
    return state.encodings.restore(noise_Nd @ state.root)
