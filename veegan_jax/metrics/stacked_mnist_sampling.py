"""Stacked MNIST: the effect of a finite number of samples on the metrics.

Dimension key: N samples, T tuples of digits, R resamplings, U different shares.
"""

import numpy as np

from veegan_jax.common import records


def num_tuples(channels: int) -> int:
    """Return how many tuples of digits there are: the modes."""
    return 10**channels


def expected(share_T: np.ndarray, num_samples: int) -> dict[str, float]:
    """Compute the mean metrics of N perfect samples: the sampling floor.

    It is exact. The count c of a tuple of share p is binomial, and
    E[c / N log(c / (N q))] = p E[log((1 + b) / (N q))] with b ~ Binomial(N - 1, p).
    For large N, E[KL(drawn || true)] is (T - 1) / (2 N): .0192 at 26,000 of 1,000.

    Args:
      share_T: the true shares [T], none of them 0.
      num_samples: N.

    Returns:
      The means of `modes`, `kl_uniform` and `kl_data` for a perfect classifier.
    """
    from scipy import stats  # takes half a second, and only records need it

    share_T = np.asarray(share_T, np.float64)
    # Shares of tuples that differ only in order are equal up to rounding.
    values_U, index_T = np.unique(np.round(share_T, 12), return_inverse=True)
    most = int(stats.binom.isf(1e-15, num_samples - 1, share_T.max()))
    count = np.arange(most + 1).reshape(-1, 1)
    chance = stats.binom.pmf(count, num_samples - 1, values_U)
    log_T = (chance * np.log1p(count)).sum(axis=0)[index_T] - np.log(num_samples)
    return {
        "modes": float(np.sum(1 - (1 - share_T) ** num_samples)),
        "kl_uniform": float(np.sum(share_T * (log_T + np.log(len(share_T))))),
        "kl_data": float(np.sum(share_T * (log_T - np.log(share_T)))),
    }


def standard_errors(
    count_T: np.ndarray, share_T: np.ndarray, repeats: int = 1000
) -> dict[str, float]:
    """Estimate standard errors over the draw of the samples, by the bootstrap.

    The model and the classifier are fixed; metrics differ by more over seeds. Only the
    spread of the resamplings is used, since the KL of a histogram is too large on
    average, and that of a resampled one twice so. Near the sampling floor the spread is
    1.8 times the true one, so it is an upper bound there.

    Args:
      count_T: how many samples are of each tuple.
      share_T: the data's shares, for `kl_data`.
      repeats: how many resamplings.

    Returns:
      The standard errors of `modes`, `kl_uniform` and `kl_data`.
    """
    from scipy import stats  # see `expected`

    num = int(count_T.sum())
    generator = np.random.default_rng(0)
    count_RT = generator.multinomial(num, count_T / num, size=repeats)
    drawn_RT = count_RT / num
    uniform_T = np.full(len(share_T), 1 / len(share_T))
    metrics = {
        "modes": (count_RT > 0).sum(axis=1),
        "kl_uniform": stats.entropy(drawn_RT, uniform_T.reshape(1, -1), axis=1),
        "kl_data": stats.entropy(drawn_RT, share_T.reshape(1, -1), axis=1),
    }
    return {name: records.std(values) for name, values in metrics.items()}
