"""Points between two encodings of a class: y = t y_i + (1 - t) y_j, t ~ U(0, 1).

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
    """Draw n encodings [n, d], in the autoencoder's units."""
    del config
    key_i, key_j, key_t = jax.random.split(key, 3)
    i_N = rng.index(key_i, n, state.count)
    j_N = rng.index(key_j, n, state.count)
    t_N1 = jax.random.uniform(key_t, (n, 1))
    return state.restore(t_N1 * state.unit[i_N] + (1 - t_N1) * state.unit[j_N])
