"""Images drawn from training states: samples, lines between samples, reconstructions.

Dimension key: S seeds, N samples, B batch, L lines, P points of a line, Z latent, H
height, W width, C channels.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.data import pixels
from veegan_jax.experiments import base
from veegan_jax.methods.base import TrainState
from veegan_jax.runtime import programs, rng

CHUNK = 500  # samples generated at a time: bounds the memory


def shape(config: Config) -> tuple[int, int, int]:
    """Return height, width and channels, also where the networks see vectors."""
    return config.data.shape


def as_input(x_BHWC: jax.Array, config: Config) -> jax.Array:
    """Convert uint8 images to what the networks see: [-1, 1], images or vectors."""
    x_BHWC = pixels.to_float(x_BHWC)
    return x_BHWC.reshape(len(x_BHWC), *config.example_shape())


def each_seed(state: TrainState) -> list[TrainState]:
    """List the states [S, ...] one by one, on this process's first device."""
    state = jax.device_put(state, jax.local_devices()[0])
    seeds = range(len(np.asarray(state.step)))
    return [jax.tree.map(lambda leaf, s=s: leaf[s], state) for s in seeds]


@programs.jit("config", "num_samples")
def _draw(
    state: TrainState, *, config: Config, num_samples: int
) -> tuple[jax.Array, jax.Array]:
    """Draw uint8 images, and say which of them held NaN or infinity."""
    key = jax.random.fold_in(state.key, base.EVALUATION)
    sample = methods.get(config.method).sample

    def chunk(index):
        key_chunk = jax.random.fold_in(key, index)
        x = sample(state, key_chunk, CHUNK, config=config)
        bad = ~jnp.isfinite(x).reshape(CHUNK, -1).all(axis=1)
        return pixels.to_uint8(x), bad

    drawn = jax.lax.map(chunk, np.arange(-(-num_samples // CHUNK)))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:num_samples], drawn)


def compile_draw(state: TrainState, *, config: Config, num_samples: int) -> None:
    """Compile what `draw` runs; the values of the states [S, ...] need not be there."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    one = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype, sharding=here), state
    )
    _draw.lower(one, config=config, num_samples=num_samples).compile()


def draw(state: TrainState, *, config: Config, num_samples: int) -> np.ndarray:
    """Draw from all seeds: uint8 [S, N, H, W, C], or [S, N, X] from vector networks.

    A draw depends on the seed alone, and the first samples of a longer one are those
    of a shorter one.
    """
    return draw_and_check(state, config=config, num_samples=num_samples)[0]


def draw_and_check(
    state: TrainState, *, config: Config, num_samples: int
) -> tuple[np.ndarray, dict[int, str]]:
    """Draw as `draw` does; also return messages for seeds that drew NaN or infinity.

    Black or white pixels would stand for these.
    """
    drawn, bad = of_each_seed(
        lambda x: x, state, config=config, num_samples=num_samples
    )
    return np.stack(drawn), bad


def of_each_seed(
    function: Callable[[np.ndarray], Any],
    state: TrainState,
    *,
    config: Config,
    num_samples: int,
) -> tuple[list[Any], dict[int, str]]:
    """Draw from one seed after another, and apply a function to each one's samples.

    The memory holds the samples of one seed at a time, unless the function keeps them.

    Args:
      function: of uint8 [N, ...]; a slice of these keeps all, so it copies what stays.
      state: of all seeds.
      config: the state's own.
      num_samples: N.

    Returns:
      The function's result for each seed; messages as of `draw_and_check`.
    """
    found, bad = [], []
    for state_1 in each_seed(state):
        x, bad_N = jax.tree.map(
            np.asarray, _draw(state_1, config=config, num_samples=num_samples)
        )
        found.append(function(x))
        bad.append(bad_N)
        del x  # before the next seed's are drawn
    return found, base.not_finite(np.stack(bad))


def draw_images(state: TrainState, config: Config, num_samples: int) -> np.ndarray:
    """Draw as `draw` does, as images for any networks: uint8 [S, N, H, W, C]."""
    return as_images(draw(state, config=config, num_samples=num_samples), config)


def as_images(x: np.ndarray, config: Config) -> np.ndarray:
    """Reshape what `draw` drew from any networks: [S, N, H, W, C]."""
    return x.reshape(*x.shape[:2], *shape(config))


@programs.jit("config", "lines", "points")
def interpolate(
    state: TrainState, *, config: Config, lines: int, points: int
) -> jax.Array:
    """Draw lines of images between samples of one seed: uint8 [L * P, ...]."""
    key = jax.random.fold_in(state.key, base.EVALUATION)
    ends_LZ = rng.normal(
        jax.random.fold_in(key, 2**31), (2 * lines, config.latent_size)
    )
    z_LPZ = between(*jnp.split(ends_LZ, 2), points)
    z_NZ = z_LPZ.reshape(lines * points, -1)
    generate = methods.get(config.method).generate
    return pixels.to_uint8(generate(state, z_NZ, config=config))


def between(from_LZ: jax.Array, to_LZ: jax.Array, points: int) -> jax.Array:
    """Return points on the arc from one z to another: [L, P, Z], with both ends.

    On a straight line the middle of two draws from N(0, I) would be shorter than any
    draw; on the arc cos(a) z + sin(a) z' every point is such a draw.
    """
    share_P = jnp.linspace(0, 1, points).reshape(1, -1, 1)
    cosine_L = jnp.sum(from_LZ * to_LZ, axis=1) / (
        jnp.linalg.norm(from_LZ, axis=1) * jnp.linalg.norm(to_LZ, axis=1)
    )
    angle_L11 = jnp.arccos(jnp.clip(cosine_L, -1, 1)).reshape(-1, 1, 1)
    parts_LPZ = jnp.sin((1 - share_P) * angle_L11) * from_LZ[:, None]
    parts_LPZ += jnp.sin(share_P * angle_L11) * to_LZ[:, None]
    return parts_LPZ / jnp.sin(angle_L11)


@programs.jit("config")
def reconstruct(state: TrainState, x_BHWC: jax.Array, *, config: Config) -> jax.Array:
    """Return G(R(x)) of uint8 images, as uint8 in the shape of the networks' data."""
    method = methods.get(config.method)
    z_BZ = method.reconstruct(state, as_input(x_BHWC, config), config=config)
    return pixels.to_uint8(method.generate(state, z_BZ, config=config))
