"""The control: real encodings, decoded. Any loss is due to the autoencoder alone.

Dimension key: N encodings, d their size.
"""

import jax

from lgan_jax.config import Config
from lgan_jax.encodings import Encodings
from veegan_jax.runtime import rng


def init(key: jax.Array, encodings: Encodings, config: Config) -> Encodings:
    """Keep the encodings: nothing is fitted."""
    del key, config
    return encodings


def sample(state: Encodings, key: jax.Array, n: int, *, config: Config) -> jax.Array:
    """Draw n encodings [n, d] of images of the class, with replacement."""
    del config
    return state.restore(state.unit[rng.index(key, n, state.count)])
