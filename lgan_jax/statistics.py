"""Paired differences between two generators, seed by seed, with their uncertainty."""

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    mean: float
    low: float
    high: float


def paired(
    treated_S: np.ndarray, control_S: np.ndarray, level: float = 0.95
) -> Interval:
    """Estimate the mean of the differences, with Student's interval.

    Args:
      treated_S: a metric of each seed, with one generator.
      control_S: the same metric of the same seeds, with the other.
      level: of confidence, in (0, 1).

    Returns:
      treated - control. With one seed the interval is not known: (mean, nan, nan).

    Raises:
      ValueError: if the numbers of seeds differ.
    """
    from scipy import stats  # takes half a second, and only tables need it

    treated_S, control_S = np.asarray(treated_S), np.asarray(control_S)
    if treated_S.shape != control_S.shape:
        raise ValueError(f"{treated_S.shape} and {control_S.shape} cannot be paired")
    difference_S = treated_S - control_S
    mean = float(difference_S.mean())
    num = len(difference_S)
    if num < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = stats.t.ppf((1 + level) / 2, num - 1) * stats.sem(difference_S)
    return Interval(mean, mean - float(half), mean + float(half))
