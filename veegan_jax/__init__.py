"""Does this GAN drop modes, and what stops it? VEEGAN and its rivals in JAX.

gan = veegan_jax.make("veegan_plus", "ring", batch_size=64)
state = gan.init(jax.random.key(0))
state, metrics = jax.jit(gan.train_step)(state, x_BX)
x_NX = gan.sample(state, jax.random.key(1), 2500)
"""

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.gan import GAN, make
from veegan_jax.presets.resolve import resolve

__all__ = ["GAN", "Config", "make", "methods", "resolve"]
