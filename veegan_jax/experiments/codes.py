"""Codes of images: z ~ p(z | x), and G of them, from a training state.

Dimension key: N images, B images of a chunk, Z latent, E noise inputs, X pixels.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.experiments import base, sampling
from veegan_jax.methods import base as method_base
from veegan_jax.methods.base import TrainState
from veegan_jax.runtime import programs, rng

_CHUNK = 500  # images at a time: bounds the memory


class Inferred(NamedTuple):
    """One seed's codes and reconstructions of images."""

    point_NZ: np.ndarray  # R(x), its noise left out
    code_NZ: np.ndarray  # z ~ p(z | x)
    x_NX: np.ndarray  # G(R(x)), pixels in [0, 1], as all below
    drawn_x_NX: np.ndarray  # G(z) of those codes


def is_random(config: Config) -> bool:
    """Return whether p(z | x) is more than a point."""
    return bool(
        config.objective.reconstructor_noise or config.objective.reconstructor_std
    )


def describe(config: Config) -> str:
    """Describe p(z | x) in a few words."""
    if noise := config.objective.reconstructor_noise:
        return f"R(noise, x), {noise} noise inputs; point: noise 0"
    if std := config.objective.reconstructor_std:
        return f"R(x) + {std:g} N(0, I); point: R(x)"
    return "R(x)"


def draw_code(
    state: TrainState, key: jax.Array, x: jax.Array, *, config: Config
) -> tuple[jax.Array, jax.Array]:
    """R(x) without its noise, and z ~ p(z | x) as D is shown it in training: [B, Z].

    Args:
      state: one seed's.
      key: a typed key.
      x: images as the networks see them.
      config: the state's own.
    """
    point_BZ = methods.get(config.method).reconstruct(state, x, config=config)
    if config.objective.reconstructor_noise:
        noise_BE = rng.normal(key, (len(x), config.objective.reconstructor_noise))
        return point_BZ, method_base.reconstruct(state, noise_BE, x, config=config)
    noise_BZ = rng.normal(key, point_BZ.shape)
    return point_BZ, point_BZ + config.objective.reconstructor_std * noise_BZ


@programs.jit("config")
def _infer(
    state: TrainState, index: jax.Array, x_BHWC: jax.Array, *, config: Config
) -> Inferred:
    key = jax.random.fold_in(state.key, base.EVALUATION)
    key = jax.random.fold_in(jax.random.fold_in(key, 2**31 + 1), index)
    x = sampling.as_input(x_BHWC, config)
    codes = draw_code(state, key, x, config=config)
    generate = functools.partial(methods.get(config.method).generate, config=config)
    return Inferred(*codes, *(_to_unit(generate(state, z)) for z in codes))


def _to_unit(x: jax.Array) -> jax.Array:
    """Networks' images in [-1, 1], of any shape -> [B, X] in [0, 1]."""
    return (jnp.clip(x.reshape(len(x), -1), -1, 1) + 1) / 2


def infer(state: TrainState, x_NHWC: np.ndarray, *, config: Config) -> Inferred:
    """R and G(R) of uint8 images, by one seed's state; the draws depend on it alone."""
    num = len(x_NHWC)
    # Padded to whole chunks, so that one compiled program serves every number.
    pads = ((0, -num % _CHUNK), (0, 0), (0, 0), (0, 0))
    chunks = np.pad(x_NHWC, pads).reshape(-1, _CHUNK, *x_NHWC.shape[1:])
    parts = [
        _infer(state, np.uint32(index), x_BHWC, config=config)
        for index, x_BHWC in enumerate(chunks)
    ]
    return Inferred(*(np.concatenate(p)[:num] for p in zip(*parts, strict=True)))


@programs.jit("config", "num")
def recover(
    state: TrainState, *, config: Config, num: int = 10_000
) -> tuple[jax.Array, jax.Array]:
    """z ~ N(0, I), and R(G(z, noise)) without R's noise: [num, Z] each."""
    key = jax.random.fold_in(state.key, base.EVALUATION)
    key = jax.random.fold_in(key, 2**31 + 2)
    method = methods.get(config.method)

    def chunk(index):
        shape = config.latent_shape(_CHUNK)
        latent_BZE = rng.normal(jax.random.fold_in(key, index), shape)
        x = method.generate(state, latent_BZE, config=config)
        z_BZ = latent_BZE[:, : config.latent_size]
        return z_BZ, method.reconstruct(state, x, config=config)

    both = jax.lax.map(chunk, np.arange(-(-num // _CHUNK)))
    z_NZ, code_NZ = (z.reshape(-1, config.latent_size)[:num] for z in both)
    return z_NZ, code_NZ
