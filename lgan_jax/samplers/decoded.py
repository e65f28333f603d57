"""The control: real encodings, decoded. What is lost here is the decoder's fault.

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
    """Encodings [num, d] of images of the class, drawn with replacement."""
    del config
    index_N = rng.index(key, num, state.encodings.count)
    return state.encodings.restore(state.encodings.unit[index_N])
