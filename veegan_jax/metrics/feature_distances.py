"""Distances of two sets of features, and how varied one set is.

- frechet: |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of means and covariances (Heusel et
  al. 2017, there of an Inception network's features). It is biased: also two sets of
  one distribution have more than 0, the more the fewer examples.
- kernel: squared maximum mean discrepancy under the kernel (x . y / F + 1)^3, unbiased,
  so it may be below 0 (Binkowski et al. 2018).
- vendi: exp of the entropy of the eigenvalues of K / N, for the kernel of cosines
  (Friedman and Dieng 2023): the effective number of different examples.
- rke: the same by Renyi's entropy of order 2, 1 / |K / N|^2 (Jalali et al. 2023).

Dimension key: N real examples, M samples, F features, P, Q rows.
"""

from collections.abc import Callable

import numpy as np

_GROUPS = 10  # of the samples, for standard errors

METRICS = {
    "frechet": "Frechet distance of Gaussians with the features' moments",
    "kernel": "squared kernel distance (cubic kernel), unbiased",
    "vendi": "effective number of different examples (cosine kernel)",
    "rke": "the same by the entropy of order 2",
}


def frechet(real_NF: np.ndarray, fake_MF: np.ndarray) -> float:
    """Return the Frechet distance of two sets of features."""
    real_NF, fake_MF = (np.asarray(x, np.float64) for x in (real_NF, fake_MF))
    gap = real_NF.mean(axis=0) - fake_MF.mean(axis=0)
    real_FF, fake_FF = (np.atleast_2d(np.cov(x.T)) for x in (real_NF, fake_MF))
    # tr (C C')^(1/2) is that of a symmetric matrix, whose eigenvalues are real.
    value_F, vector_FF = np.linalg.eigh(real_FF)
    root_FF = vector_FF * np.sqrt(np.maximum(value_F, 0)) @ vector_FF.T
    mixed_F = np.linalg.eigvalsh(root_FF @ fake_FF @ root_FF)
    root = np.sqrt(np.maximum(mixed_F, 0)).sum()
    return float(gap @ gap + np.trace(real_FF) + np.trace(fake_FF) - 2 * root)


def kernel(
    real_NF: np.ndarray, fake_MF: np.ndarray, most: int = 5000, seed: int = 0
) -> tuple[float, float]:
    """Return the squared kernel distance, and its standard error over the samples.

    The published average over subsets estimates the same number with more noise.

    Args:
      real_NF: features of real examples, float [N, F].
      fake_MF: features of samples, float [M, F].
      most: of either set; of larger ones a random part is taken. The matrices of
        kernels hold its square.
      seed: of that part.
    """
    generator = np.random.default_rng(seed)
    real, fake = (
        np.asarray(x[generator.permutation(len(x))[:most]], np.float64)
        for x in (real_NF, fake_MF)
    )

    def products(a_PF: np.ndarray, b_PF: np.ndarray) -> np.ndarray:
        return (a_PF @ b_PF.T / a_PF.shape[1] + 1) ** 3

    def without_itself(kernel_PP: np.ndarray) -> float:
        num = len(kernel_PP)
        return (kernel_PP.sum() - np.trace(kernel_PP)) / (num * (num - 1))

    of_real = without_itself(products(real, real))
    own_MM, mixed_M = products(fake, fake), products(real, fake).mean(axis=0)

    def squared(kept_M: np.ndarray) -> float:
        own = without_itself(own_MM[np.ix_(kept_M, kept_M)])
        return float(of_real + own - 2 * mixed_M[kept_M].mean())

    index_M = np.arange(len(fake))
    return squared(index_M), jackknife(lambda i: {"": squared(i)}, index_M, seed)[""]


def jackknife(
    measure: Callable[[np.ndarray], dict[str, float]], index_M: np.ndarray, seed: int
) -> dict[str, float]:
    """Return standard errors over the samples, leaving out a tenth of them at a time.

    Args:
      measure: returns measures, by name, of the samples with the indices given.
      index_M: of all samples.
      seed: of the tenths.

    Source: Efron and Tibshirani 1993, chapter 11, for groups.
    """
    order = np.random.default_rng(seed).permutation(index_M)
    parts = np.array_split(order, min(_GROUPS, len(order)))
    found = [measure(np.setdiff1d(index_M, part)) for part in parts]
    scale = (len(parts) - 1) ** 0.5
    return {n: scale * float(np.std([f[n] for f in found])) for n in found[0]}


def entropies(feature_NF: np.ndarray) -> tuple[float, float]:
    """Return (vendi, rke) of the cosines of features, from 1 to min(N, F).

    Rows that are all 0 have no direction and count as one kind of their own.
    """
    feature_NF = np.asarray(feature_NF, np.float64)
    norm_N1 = np.linalg.norm(feature_NF, axis=1, keepdims=True)
    zeros_N1 = norm_N1 == 0
    unit_NF = np.concatenate([feature_NF / np.where(zeros_N1, 1, norm_N1), zeros_N1], 1)
    small = unit_NF if len(unit_NF) < unit_NF.shape[1] else unit_NF.T
    value = np.linalg.eigvalsh(small @ small.T / len(unit_NF))
    value = value[value > 1e-12]
    return float(np.exp(-(value * np.log(value)).sum())), float(1 / (value**2).sum())
