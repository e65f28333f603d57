"""The sliced Wasserstein distance between two sets of samples.

Dimension key: N samples, X data dimensions, P projections.
"""

import jax
import jax.numpy as jnp

from veegan_jax.runtime import numerics, rng

PROJECTIONS = 128


@numerics.standard
@numerics.exact
def distance(
    x_NX: jax.Array, y_NX: jax.Array, projections: int = PROJECTIONS
) -> jax.Array:
    """Return the sliced 2-Wasserstein distance, in the unit of the samples.

    On a line the optimal transport pairs sorted samples. The squared distances along
    `projections` random directions, the same in every call, are averaged; the root of
    the mean is returned. A shift by v alone costs about |v| / sqrt(X).

    Args:
      x_NX: float [N, X].
      y_NX: as many of the other distribution.
      projections: how many directions.

    Raises:
      ValueError: if the shapes differ.

    Source: Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures".
    """
    if x_NX.shape != y_NX.shape or x_NX.ndim != 2:
        raise ValueError(f"two equal shapes [N, X]: {x_NX.shape} and {y_NX.shape}")
    direction_PX = jax.random.normal(rng.key(0), (projections, x_NX.shape[1]))
    direction_PX /= jnp.linalg.norm(direction_PX, axis=1, keepdims=True)

    def along(direction_X: jax.Array) -> jax.Array:
        x_N, y_N = (jnp.sort(a @ direction_X) for a in (x_NX, y_NX))
        return jnp.mean((x_N - y_N) ** 2)

    return jnp.sqrt(jnp.mean(jax.lax.map(along, direction_PX)))
