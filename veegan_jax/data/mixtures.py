"""Gaussian mixtures as pure on-device samplers with exact log-densities.

Dimension key: B batch, K modes, X data dimensions.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special

from veegan_jax.data.mixture_kinds import (
    Mixture,
    canonical,
    describe,
    folder,
    get,
    grid,
    high_dim,
    is_mixture,
    kind,
    ring,
    two_modes,
)
from veegan_jax.runtime import numerics, rng

__all__ = [
    "Mixture",
    "canonical",
    "describe",
    "folder",
    "get",
    "grid",
    "high_dim",
    "is_mixture",
    "kind",
    "log_density",
    "ring",
    "sample",
    "two_modes",
]


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
      >>> sample(get("ring"), jax.random.key(0), 4).shape
      (4, 2)
    """
    key_mode, key_noise = jax.random.split(key)
    if mixture.weights:
        share_B = rng.uniform(key_mode, num, axis_name=axis_name)
        end_K = np.cumsum(mixture.weights).astype(np.float32)
        mode_B = jnp.searchsorted(jnp.asarray(end_K[:-1]), share_B, "right")
    else:
        mode_B = rng.index(key_mode, num, mixture.num_modes, axis_name=axis_name)
    noise = rng.normal(key_noise, (num, mixture.live_size), axis_name=axis_name)
    dead = mixture.size - mixture.live_size
    sigma: jax.Array | float = mixture.sigma
    if mixture.sigmas:
        sigma = jnp.asarray(mixture.sigma_K)[mode_B, None]
    noise_BX = jnp.pad(sigma * noise, ((0, 0), (0, dead)))
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
    sigma_1K1 = mixture.sigma_K[None, :, None]
    square_BK = jnp.sum((offset_BKX[..., :live] / sigma_1K1) ** 2, axis=-1)
    on_support_BK = jnp.all(offset_BKX[..., live:] == 0, axis=-1)
    log_norm_K = live * np.log(mixture.sigma_K * np.sqrt(2 * np.pi))
    log_share_K = np.log(mixture.weight_K) - log_norm_K
    log_BK = jnp.where(on_support_BK, log_share_K[None] - 0.5 * square_BK, -jnp.inf)
    return special.logsumexp(log_BK, axis=1)
