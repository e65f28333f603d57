"""Gaussian mixtures as pure on-device samplers with exact log-densities.

Dimension key: B batch, K modes, X data dimensions.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special

from veegan_jax.common import errors
from veegan_jax.runtime import numerics, rng


@dataclasses.dataclass(frozen=True)
class Mixture:
    """An equally weighted mixture of K isotropic Gaussians.

    Only the first `live_size` of the `size` dimensions carry noise; in the others a
    sample equals its mean exactly.
    """

    name: str
    means: tuple[tuple[float, ...], ...]  # [K, X]
    sigma: float  # standard deviation of every live dimension
    live_size: int  # dimensions with noise, the first ones
    quality_radius: float  # a sample this many sigma from its mean is high quality
    where: str  # the means, in words

    @property
    def size(self) -> int:
        return len(self.means[0])

    @property
    def num_modes(self) -> int:
        return len(self.means)

    @property
    def means_KX(self) -> np.ndarray:
        return np.asarray(self.means, np.float32)


def ring() -> Mixture:
    """Return eight modes on the unit circle, sigma 0.01.

    VEEGAN paper, section 4.1. `linspace(0, 2 pi, 8)` would give seven: the
    angles here are multiples of 2 pi / 8.
    """
    angles = 2 * np.pi * np.arange(8) / 8
    means = tuple((float(np.cos(a)), float(np.sin(a))) for a in angles)
    return Mixture("ring", means, 0.01, 2, 3.0, "on the circle of radius 1")


def grid() -> Mixture:
    """Return 25 modes on {-4, -2, 0, 2, 4}^2, sigma 0.05. VEEGAN paper."""
    ticks = (-4.0, -2.0, 0.0, 2.0, 4.0)
    means = tuple((x, y) for x in ticks for y in ticks)
    where = f"(x, y) with x and y of {_listed(ticks)}"
    return Mixture("grid", means, 0.05, 2, 3.0, where)


def high_dim() -> Mixture:
    """Return ten 700-D unit Gaussians in 1200 dimensions, the paper's mixture.

    The means are c * ones(1200) with c from PacGAN's release of this set; the last
    500 dimensions carry no noise.
    """
    centres = (-1.0, -0.5, 0.0, 0.5, -2.0, -2.5, 10.0, 0.25, -13.0, -5.5)
    means = tuple((c,) * 1200 for c in centres)
    where = f"(c, c, ..., c) with c of {_listed(centres)}"
    return Mixture("high_dim", means, 1.0, 700, 10.0, where)


def two_modes() -> Mixture:
    """Return two 1-D Gaussians at -2 and 2, sigma 0.2: the paper's first figure."""
    return Mixture("two_modes", ((-2.0,), (2.0,)), 0.2, 1, 3.0, "at -2 and 2")


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(values))


MIXTURES = {"ring": ring, "grid": grid, "high_dim": high_dim, "two_modes": two_modes}


def get(name: str) -> Mixture:
    """Return the mixture called `name`.

    Raises:
      InputError: if there is none; the message lists those that exist.
    """
    if name not in MIXTURES:
        raise errors.InputError(
            f"unknown dataset {name!r}: one of {', '.join(MIXTURES)}"
        )
    return MIXTURES[name]()


def describe(mixture: Mixture) -> str:
    """Describe a mixture in a line: its means, and sigma in the same unit.

    Example:
      >>> describe(ring())
      'ring: 8 means on the circle of radius 1, sigma 0.01'
    """
    live = ""
    if mixture.live_size < mixture.size:
        live = f" in the first {mixture.live_size} of {mixture.size} dimensions, else 0"
    return (
        f"{mixture.name}: {mixture.num_modes} means {mixture.where}, sigma "
        f"{mixture.sigma:g}{live}"
    )


@numerics.standard
def sample(
    mixture: Mixture, key: jax.Array, num: int, *, axis_name: str | None = None
) -> jax.Array:
    """Draw from the mixture.

    Args:
      mixture: the distribution.
      key: typed PRNG key; row i of the result depends on it and i's global index.
      num: samples on this device.
      axis_name: the mapped batch axis, or None.

    Returns:
      float32 [num, X].

    Example:
      >>> sample(ring(), jax.random.key(0), 4).shape
      (4, 2)
    """
    key_mode, key_noise = jax.random.split(key)
    mode_B = rng.index(key_mode, num, mixture.num_modes, axis_name=axis_name)
    noise = rng.normal(key_noise, (num, mixture.live_size), axis_name=axis_name)
    dead = mixture.size - mixture.live_size
    noise_BX = jnp.pad(mixture.sigma * noise, ((0, 0), (0, dead)))
    return jnp.asarray(mixture.means_KX)[mode_B] + noise_BX


@numerics.undefined_allowed
@numerics.standard
def log_density(mixture: Mixture, x_BX: jax.Array) -> jax.Array:
    """Compute the exact log-density of the mixture, in nats.

    Without dead dimensions it is a density on R^X. With them it is a density on the
    live dimensions times a point mass on the dead ones: -inf wherever the dead
    coordinates equal no mean's.

    Args:
      mixture: the distribution.
      x_BX: points, float [B, X].

    Returns:
      float32 [B].
    """
    live = mixture.live_size
    offset_BKX = x_BX[:, None] - jnp.asarray(mixture.means_KX)[None]
    square_BK = jnp.sum((offset_BKX[..., :live] / mixture.sigma) ** 2, axis=-1)
    on_support_BK = jnp.all(offset_BKX[..., live:] == 0, axis=-1)
    log_norm = live * np.log(mixture.sigma * np.sqrt(2 * np.pi))
    log_BK = jnp.where(on_support_BK, -0.5 * square_BK - log_norm, -jnp.inf)
    return special.logsumexp(log_BK, axis=1) - np.log(mixture.num_modes)
