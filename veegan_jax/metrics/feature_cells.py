"""How many samples fall into each cell of the data (Richardson and Weiss 2018).

k-means cuts the space of features into K cells. A generator that drops modes leaves
cells empty or thin:

- ndb: share of cells whose share of samples differs from that of real examples, by a
  test of two proportions at the level ALPHA. Of perfect samples ALPHA of them do.
- jsd: Jensen-Shannon divergence of the two histograms, nats, from 0 to log 2.

The cells must not follow from the examples that are counted: k-means would cut around
their noise. So one half of the real examples makes the cells and the other is counted.

Dimension key: N real examples, M samples, F features, K cells.
"""

from typing import NamedTuple

import numpy as np
import scipy.special

ALPHA = 0.05

METRICS = {
    "ndb": "share of cells with too many or too few samples",
    "jsd": "Jensen-Shannon divergence of samples over cells, nats",
}


class Cells(NamedTuple):
    """What `evaluate` returns: metrics, their floors, and what is missing."""

    ndb: float
    jsd: float
    ndb_floor: float  # of perfect samples: ALPHA
    jsd_floor: float  # of perfect samples, by simulation
    real_K: np.ndarray  # real examples that are counted, by cell
    fake_cell_M: np.ndarray  # the cell of each sample


def evaluate(
    real_NF: np.ndarray, fake_MF: np.ndarray, num_cells: int = 100, seed: int = 0
) -> Cells:
    """Compare samples with real examples cell by cell.

    Args:
      real_NF: features of real examples in random order, float [N, F].
      fake_MF: features of samples, float [M, F].
      num_cells: K, at most N / 2.
      seed: of k-means, and of the simulated floor.
    """
    from sklearn import cluster  # takes a second to import

    half = len(real_NF) // 2
    means = cluster.KMeans(num_cells, n_init=1, random_state=seed).fit(real_NF[:half])
    real_K = np.bincount(means.predict(real_NF[half:]), minlength=num_cells)
    fake_cell_M = means.predict(fake_MF)
    return Cells(
        *compare(real_K, fake_cell_M),
        ALPHA,
        floor(real_K, len(fake_cell_M), seed),
        real_K,
        fake_cell_M,
    )


def compare(real_K: np.ndarray, fake_cell_M: np.ndarray) -> tuple[float, float]:
    """Return ndb and jsd of real counts by cell and the cells of samples."""
    fake_K = np.bincount(fake_cell_M, minlength=len(real_K))
    return float(different(real_K, fake_K).mean()), divergence(real_K, fake_K)


def different(real_K: np.ndarray, fake_K: np.ndarray) -> np.ndarray:
    """Test the two shares of every cell: bool [K], True where they differ."""
    real, fake = real_K.sum(), fake_K.sum()
    pooled_K = (real_K + fake_K) / (real + fake)
    error_K = np.sqrt(pooled_K * (1 - pooled_K) * (1 / real + 1 / fake))
    gap_K = np.abs(real_K / real - fake_K / fake)
    limit = scipy.special.ndtri(1 - ALPHA / 2)
    return gap_K > limit * error_K


def divergence(real_K: np.ndarray, fake_K: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence of two histograms, nats."""
    p_K, q_K = real_K / real_K.sum(), fake_K / fake_K.sum()
    middle_K = (p_K + q_K) / 2
    return float(
        sum(scipy.special.rel_entr(share_K, middle_K).sum() for share_K in (p_K, q_K))
        / 2
    )


def floor(real_K: np.ndarray, samples: int, seed: int, draws: int = 200) -> float:
    """Return the mean divergence of two perfect histograms of these sizes."""
    generator = np.random.default_rng(seed)
    share_K = real_K / real_K.sum()
    pairs = zip(
        generator.multinomial(real_K.sum(), share_K, draws),
        generator.multinomial(samples, share_K, draws),
        strict=True,
    )
    return float(np.mean([divergence(a_K, b_K) for a_K, b_K in pairs]))
