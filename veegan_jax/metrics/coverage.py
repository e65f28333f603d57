"""Precision, recall, density and coverage of samples in a space of features.

Around every real example lies a ball that reaches to its k-th nearest real neighbour.
The real balls together are where real examples lie, and the same holds for samples:

- precision: share of samples in any real ball (Kynkaanniemi et al. 2019);
- recall: share of real examples in any sample's ball (the same);
- density: mean number of real balls around a sample, over k (Naeem et al. 2020);
- coverage: share of real balls with a sample inside (the same).

A generator that drops modes has a low recall and coverage; one that draws what does not
exist a low precision and density. Precision and density say nothing of what is missing.

Distances are computed a block at a time, so 50,000 examples need no more memory than a
block. A point on the edge of a ball is inside: where k + 1 examples are equal the ball
is a point, which holds them (with < it would hold nothing).

Dimension key: N real examples, M samples, P rows of a block, F features.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from veegan_jax.common import errors
from veegan_jax.runtime import numerics

_BLOCK = 2**24  # distances that are held at a time
_GROUP = 64  # columns
# Of squared distances, relative to the points' squared norms: less is rounding.
_EQUAL = 1e-6

METRICS = {
    "precision": "share of samples within a real ball",
    "recall": "share of real examples within a sample's ball",
    "density": "mean number of real balls around a sample, over k; 1 is right",
    "coverage": "share of real balls with a sample inside",
}


class Estimate(NamedTuple):
    """A mean over examples, and its standard error with the other set held fixed."""

    value: float
    error: float


@numerics.standard
def evaluate(
    real_NF: np.ndarray, fake_MF: np.ndarray, neighbours: int = 5
) -> dict[str, Estimate]:
    """Compute the metrics of `METRICS`.

    Args:
      real_NF: features of real examples, float [N, F].
      fake_MF: features of samples, float [M, F].
      neighbours: k.

    Raises:
      InputError: for features that differ in width, are not finite, or are fewer than
        k + 1.
    """
    check(real_NF, fake_MF, neighbours)
    real, fake = _centred(real_NF, fake_MF)
    real_ball_N, fake_ball_M = balls(real, neighbours), balls(fake, neighbours)
    around_M = np.zeros(len(fake))
    covered, recalled = [], []
    for rows in _blocks(len(real), len(fake)):
        found = _meet(real[rows], real_ball_N[rows], fake, fake_ball_M)
        around, *shares = (np.asarray(part) for part in found)
        around_M += around
        covered.append(shares[0])
        recalled.append(shares[1])
    each = {
        "precision": around_M > 0,
        "recall": np.concatenate(recalled),
        "density": around_M / neighbours,
        "coverage": np.concatenate(covered),
    }
    return {
        name: Estimate(float(value.mean()), float(value.std() / len(value) ** 0.5))
        for name, value in each.items()
    }


def _centred(real_NF: np.ndarray, fake_MF: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Shift both sets by the mean of the real one, for the rounding; as float32."""
    centre_F = real_NF.mean(axis=0, dtype=np.float64)
    real, fake = (np.asarray(x) - centre_F for x in (real_NF, fake_MF))
    return jnp.asarray(real, jnp.float32), jnp.asarray(fake, jnp.float32)


def check(real_NF: np.ndarray, fake_MF: np.ndarray, neighbours: int) -> None:
    """Refuse features that cannot be compared.

    Raises:
      InputError: naming the set and what is wrong with it.
    """
    if neighbours < 1:
        raise errors.InputError(f"--neighbours={neighbours} must be at least 1")
    for name, feature in (("real", real_NF), ("generated", fake_MF)):
        if feature.ndim != 2:
            raise errors.InputError(
                f"the {name} features have shape {feature.shape}, not [examples, F]"
            )
        if len(feature) <= neighbours:
            raise errors.InputError(
                f"{len(feature)} {name} features are too few for "
                f"--neighbours={neighbours}: give at least {neighbours + 1}"
            )
        bad = int((~np.isfinite(feature).all(axis=1)).sum())
        if bad:
            raise errors.InputError(
                f"{bad} of {len(feature)} {name} features are not finite"
            )
    if real_NF.shape[1] != fake_MF.shape[1]:
        raise errors.InputError(
            f"real features have {real_NF.shape[1]} numbers and generated ones "
            f"{fake_MF.shape[1]}: make both in one way"
        )


def balls(feature_NF: jax.Array, neighbours: int) -> jax.Array:
    """Return each row's squared distance to its k-th nearest other row: float [N]."""
    found = [
        _kth(feature_NF[rows], rows.start, feature_NF, neighbours)
        for rows in _blocks(len(feature_NF), len(feature_NF))
    ]
    return jnp.concatenate(found)


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    """Cut the rows of a matrix so that a block has at most `_BLOCK` entries."""
    step = max(1, _BLOCK // columns)
    return (slice(i, min(i + step, rows)) for i in range(0, rows, step))


def _squares(a_PF: jax.Array, b_MF: jax.Array) -> jax.Array:
    """Squared distances [P, M], with 0 for rows that are equal."""
    a_P1, b_1M = jnp.sum(a_PF**2, axis=1)[:, None], jnp.sum(b_MF**2, axis=1)[None]
    both_PM = a_P1 + b_1M
    square_PM = both_PM - 2 * jnp.dot(a_PF, b_MF.T, precision="highest")
    return jnp.where(square_PM > _EQUAL * both_PM, square_PM, 0)


@functools.partial(jax.jit, static_argnames="neighbours")
def _kth(
    block_PF: jax.Array, first: int, feature_NF: jax.Array, neighbours: int
) -> jax.Array:
    square_PN = _squares(block_PF, feature_NF)
    row_P1 = first + jnp.arange(len(block_PF))[:, None]
    is_self_PN = row_P1 == jnp.arange(len(feature_NF))[None]
    return _kth_smallest(jnp.where(is_self_PN, jnp.inf, square_PN), neighbours)


def _kth_smallest(x_PN: jax.Array, k: int) -> jax.Array:
    """Return each row's k-th smallest value, without sorting the rows.

    The k smallest values lie in the k groups of columns whose least values are smallest
    (or in others with equal values), so only those groups are sorted.
    """
    rows, columns = x_PN.shape
    groups = -(-columns // _GROUP)
    if groups <= 2 * k:
        return -jax.lax.top_k(-x_PN, k)[0][:, -1]
    missing = groups * _GROUP - columns
    x_PN = jnp.pad(x_PN, ((0, 0), (0, missing)), constant_values=jnp.inf)
    x_PGC = x_PN.reshape(rows, groups, _GROUP)
    _, chosen_PK = jax.lax.top_k(-x_PGC.min(axis=2), k)
    found_PKC = jnp.take_along_axis(x_PGC, chosen_PK[:, :, None], axis=1)
    return -jax.lax.top_k(-found_PKC.reshape(rows, -1), k)[0][:, -1]


@jax.jit
def _meet(
    real_PF: jax.Array,
    real_ball_P: jax.Array,
    fake_MF: jax.Array,
    fake_ball_M: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return real balls around each sample, and which real rows are met by what."""
    square_PM = _squares(real_PF, fake_MF)
    in_real_PM = square_PM <= real_ball_P[:, None]
    in_fake_PM = square_PM <= fake_ball_M[None]
    return in_real_PM.sum(axis=0), in_real_PM.any(axis=1), in_fake_PM.any(axis=1)


@numerics.standard
def distances(
    real_NF: np.ndarray, fake_MF: np.ndarray, neighbours: int = 5
) -> np.ndarray:
    """Return how far each real example is from the nearest sample, in its own radius.

    Returns:
      float [N]: at most 1 where the example is covered; infinite where the ball is a
      point that no sample meets.
    """
    check(real_NF, fake_MF, neighbours)
    real, fake = _centred(real_NF, fake_MF)
    found = [
        np.asarray(jax.jit(_squares)(real[rows], fake).min(axis=1))
        for rows in _blocks(len(real), len(fake))
    ]
    square_N, ball_N = np.concatenate(found), np.asarray(balls(real, neighbours))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_N = np.sqrt(square_N / ball_N)
    return np.where(square_N == 0, 0.0, ratio_N)
