"""IvOM of a few images, as a run's reports measure it: how it falls while G learns.

Dimension key: S seeds, N images, X values of an image (any shape), Z latent, H height,
W width, C channels.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.config import Config
from veegan_jax.data import mixtures
from veegan_jax.experiments import sampling
from veegan_jax.methods.base import TrainState
from veegan_jax.metrics import ivom
from veegan_jax.runtime import programs, rng

KEY = 2017  # of the starts: the same for every run
ITERATIONS = 25


def every_nth(total: int, num: int, flag: str = "images") -> np.ndarray:
    """Choose which of `total` test images to measure: 0, n, 2 n, ..., n = total // num.

    A rule, not a list of numbers: tensorflow-datasets' order is fixed, and mixes the
    classes.

    Raises:
      InputError: if there are fewer images than asked for by `flag`.
    """
    if num > total:
        raise errors.InputError(
            f"--{flag}={num}: there are {total} test images; ask for at most so many"
        )
    return np.arange(num) * (total // num)


@programs.jit("config")
def _generate_pixels(
    state: TrainState, z_BZ: jax.Array, *, config: Config
) -> jax.Array:
    return (methods.get(config.method).generate(state, z_BZ, config=config) + 1) / 2


def generate_values(state: TrainState, z_BZ: jax.Array, *, config: Config) -> jax.Array:
    """Map z to what the networks' data are: images in [-1, 1], or a mixture's x."""
    return methods.get(config.method).generate(state, z_BZ, config=config)


@functools.cache
def _generator(config: Config) -> Callable[..., jax.Array]:
    """Return one function for all seeds of a run: JAX keeps programs by function."""
    is_mixture = mixtures.is_mixture(config.dataset)
    generate = generate_values if is_mixture else _generate_pixels
    return functools.partial(generate, config=config)


def sampler(state: TrainState, config: Config) -> Partial:
    """Return z [B, Z] -> x [B, ...]: pixels in [0, 1], or a mixture's own values."""
    return Partial(_generator(config), state)


def errors_of_seeds(
    state: TrainState, config: Config, test_NHWC: np.ndarray
) -> np.ndarray:
    """Return each seed's mean error after 25 iterations from one start: [S].

    It is NaN for a seed that makes NaN or infinity of every start.

    Args:
      state: of all seeds, on images.
      config: the state's own.
      test_NHWC: uint8, the images to come near to.
    """
    x_NX = sampling.as_input(jnp.asarray(test_NHWC), config)
    target_NX = np.asarray((x_NX + 1) / 2).clip(0, 1)
    start_z_NKZ = ivom.draw_starts(
        rng.key(KEY), np.arange(len(target_NX)), 1, config.latent_size
    )
    found = []
    for state_1 in sampling.each_seed(state):
        sample = sampler(state_1, config)
        x_NX = np.asarray(sample(jnp.asarray(start_z_NKZ[:, 0])))
        if not np.isfinite(x_NX).reshape(len(x_NX), -1).all(axis=1).any():
            found.append(np.nan)  # `ivom` refuses it, and other seeds go on
            continue
        result = ivom.ivom(
            sample,
            target_NX,
            rng.key(KEY),
            latent_size=config.latent_size,
            start_z_NKZ=start_z_NKZ,
            starts=1,
            iterations=ITERATIONS,
            report_at=(0, 5, ITERATIONS),
        )
        found.append(result.error_N.mean())
    return np.array(found)
