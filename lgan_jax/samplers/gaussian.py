"""A Gaussian with the mean and covariance of a class's encodings: nothing to train.

Dimension key: N encodings, d their size.
"""

import jax
import jax.numpy as jnp
from flax import struct

from lgan_jax.config import Config
from lgan_jax.encodings import Encodings
from veegan_jax.runtime import numerics, rng


@struct.dataclass
class Gaussian:
    """The fitted distribution of the centred and scaled encodings."""

    data: Encodings  # with their centre and scale
    root_dd: jax.Array  # [d, d], symmetric; its square is the covariance


@numerics.exact
def init(key: jax.Array, encodings: Encodings, config: Config) -> Gaussian:
    """Fit the covariance of the centred and scaled encodings."""
    del key, config
    unit_Nd = encodings.weight()[:, None] * encodings.unit
    covariance_dd = unit_Nd.T @ unit_Nd / encodings.count
    # Not by Cholesky: the variance is 0 in a direction that no image uses.
    value_d, vector_dd = jnp.linalg.eigh(covariance_dd)
    scaled_dd = vector_dd * jnp.sqrt(jnp.maximum(value_d, 0))[None]
    return Gaussian(encodings, scaled_dd @ vector_dd.T)


@numerics.exact
def sample(state: Gaussian, key: jax.Array, n: int, *, config: Config) -> jax.Array:
    """Draw n encodings [n, d], in the autoencoder's units."""
    noise_Nd = rng.normal(key, (n, config.latent_size))
    return state.data.restore(noise_Nd @ state.root_dd)
