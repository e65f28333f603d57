"""Points between two encodings of a class: y = t y_i + (1 - t) y_j, t ~ U(0, 1).

Dimension key: N encodings, d their size.
"""

import jax
from flax import struct

from lgan_jax.config import Config
from lgan_jax.encodings import Encodings
from veegan_jax.runtime import rng


@struct.dataclass
class State:
    encodings: Encodings


def init(key: jax.Array, encodings: Encodings, config: Config) -> State:
    """Nothing is fitted."""
    del key, config
    return State(encodings)


def sample(state: State, key: jax.Array, num: int, *, config: Config) -> jax.Array:
    """Encodings [num, d] in the autoencoder's units."""
    del config
    key_i, key_j, key_t = jax.random.split(key, 3)
    i_N = rng.index(key_i, num, state.encodings.count)
    j_N = rng.index(key_j, num, state.encodings.count)
    t_N1 = jax.random.uniform(key_t, (num, 1))
    unit_Nd = state.encodings.unit
    return state.encodings.restore(t_N1 * unit_Nd[i_N] + (1 - t_N1) * unit_Nd[j_N])
