"""Distances of two sets of features, and how varied one set is.

- frechet: |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of means and covariances (Heusel et
  al. 2017, there of an Inception network's features). It is biased: also two sets of
  one distribution have more than 0, the more the fewer examples.
- kernel: squared maximum mean discrepancy under the kernel (x . y / F + 1)^3, unbiased,
  so it may be below 0 (Binkowski et al. 2018).
- vendi: exp of the entropy of the eigenvalues of K / N, for the kernel of cosines
  (Friedman and Dieng 2023): the effective number of different examples.
- rke: the same by Renyi's entropy of order 2, 1 / |K / N|^2 (Jalali et al. 2023).

Dimension key: N real examples, M samples, F features, S subsets.
"""

import numpy as np

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
    real_NF: np.ndarray,
    fake_MF: np.ndarray,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the squared kernel distance and its standard error.

    Args:
      real_NF: features of real examples, float [N, F].
      fake_MF: features of samples, float [M, F].
      subsets: S, over which the unbiased estimate is averaged.
      size: of a subset of either, at most N and M.
      seed: of the subsets.
    """
    generator = np.random.default_rng(seed)
    size = min(size, len(real_NF), len(fake_MF))

    def products(a_PF: np.ndarray, b_PF: np.ndarray) -> np.ndarray:
        return (a_PF @ b_PF.T / a_PF.shape[1] + 1) ** 3

    def without_itself(kernel_PP: np.ndarray) -> float:
        return (kernel_PP.sum() - np.trace(kernel_PP)) / (size * (size - 1))

    found = []
    for _ in range(subsets):
        real, fake = (
            np.asarray(x[generator.choice(len(x), size, replace=False)], np.float64)
            for x in (real_NF, fake_MF)
        )
        own = sum(without_itself(products(x, x)) for x in (real, fake))
        found.append(own - 2 * products(real, fake).mean())
    return float(np.mean(found)), float(np.std(found) / subsets**0.5)


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
