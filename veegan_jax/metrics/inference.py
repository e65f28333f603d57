"""Metrics of inference: G(R(x)) against x, R(G(z)) against z, codes against N(0, I).

Pure functions of NumPy arrays. `METRICS` are the metrics of a run, `baselines` computes
the same metrics without a GAN.

Dimension key: N images or codes, X pixels, Z latent dimensions, K components, C
classes.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from veegan_jax.metrics import pca

LEVEL = 0.05  # of the tests
SUBSET = 1000  # codes in the energy distance; its cost is quadratic in them
DRAWS = 199  # sets of draws from N(0, I) to test an energy distance: p >= 1 / 200

# The metrics of codes, in the order of the records. Codes are z ~ p(z | x) of the test
# images, as the discriminator sees them; "point" is R(x) without its noise. Over all x,
# a perfect model's codes are draws from N(0, I), the row "N(0, I)" of `baselines`.
CODE_METRICS = {
    "mean": "mean over dimensions of the codes' |mean|",
    "worst_mean": "the largest |mean| of a dimension",
    "std": "mean over dimensions of the codes' standard deviation",
    "worst_std": "the standard deviation furthest from 1",
    "correlation": "mean |correlation| of two dimensions",
    "worst_correlation": "the largest |correlation| of two dimensions",
    "ks": "mean over dimensions of the Kolmogorov-Smirnov distance to N(0, 1)",
    "ks_p": "p that all dimensions are N(0, 1), Bonferroni over dimensions",
    "ks_rejected": f"% of dimensions that are not N(0, 1), Holm at {LEVEL:g}",
    "radius_ks": "Kolmogorov-Smirnov distance of |z|^2 to a chi-square of Z degrees",
    "energy": "% of the largest energy distance to N(0, I)",
    "energy_p": f"its p by {DRAWS} draws from N(0, I)",
}
METRICS = {
    "reconstruction": "mean squared error of G(R(x)), pixels in [0, 1]",
    "drawn_reconstruction": "the same of G(z), z ~ p(z | x)",
    "latent": "mean of (z - R(G(z)))^2, 1 for R = 0",
    "agreement": "% of x whose G(R(x)) the classifier calls the same digit",
    **{f"code_{name}": f"{text}" for name, text in CODE_METRICS.items()},
    **{f"point_{name}": f"{text}, of R(x)" for name, text in CODE_METRICS.items()},
}


def squared_error(a_N: np.ndarray, b_N: np.ndarray) -> float:
    """Compute the mean of (a - b)^2 over all entries.

    For pixels in [0, 1] it is the reconstruction error, in [0, 1]; 0 is perfect. For
    z ~ N(0, I) and R(G(z)) it is the latent error, at least 0. R = 0 has 1, so 1 minus
    the error is the share of z's variance that R recovers from G(z).

    Args:
      a_N: any shape.
      b_N: the same shape.

    Source: VEEGAN, equations 2 and 3, where the latent error is half the sum over Z.
    """
    return float(np.mean((a_N.astype(np.float64) - b_N) ** 2))


def agreement(a_N: np.ndarray, b_N: np.ndarray) -> float:
    """Return the % of labels that are equal.

    With a classifier's labels of x and of G(R(x)) it says whether digits survive. It
    says nothing about style, and a classifier also labels images that are no digits.
    """
    return 100 * float(np.mean(a_N == b_N))


def code_metrics(z_NZ: np.ndarray) -> dict[str, float]:
    """Compare codes with draws from N(0, I); return `CODE_METRICS`.

    Args:
      z_NZ: codes of N different images, N at least 2.
    """
    z_NZ = np.asarray(z_NZ, np.float64)
    mean_Z, std_Z = z_NZ.mean(axis=0), z_NZ.std(axis=0, ddof=1)
    pairs = correlations(z_NZ)
    ks_Z, p_Z = kolmogorov_smirnov(z_NZ)
    energy_100, energy_p = energy_test(z_NZ)
    return {
        "mean": float(np.abs(mean_Z).mean()),
        "worst_mean": float(np.abs(mean_Z).max()),
        "std": float(std_Z.mean()),
        "worst_std": float(std_Z[np.argmax(np.abs(std_Z - 1))]),
        "correlation": float(pairs.mean()) if len(pairs) else 0.0,
        "worst_correlation": float(pairs.max()) if len(pairs) else 0.0,
        "ks": float(ks_Z.mean()),
        "ks_p": float(holm(p_Z).min()),
        "ks_rejected": 100 * float(np.mean(holm(p_Z) <= LEVEL)),
        "radius_ks": radius_ks(z_NZ),
        "energy": energy_100,
        "energy_p": energy_p,
    }


def correlations(z_NZ: np.ndarray) -> np.ndarray:
    """Return |correlation| of every pair of dimensions; 0 if one is constant."""
    centred_NZ = z_NZ - z_NZ.mean(axis=0)
    norm_Z = np.linalg.norm(centred_NZ, axis=0)
    unit_NZ = centred_NZ / np.where(norm_Z > 0, norm_Z, 1)
    return np.abs((unit_NZ.T @ unit_NZ)[np.triu_indices(z_NZ.shape[1], k=1)])


def radius_ks(z_NZ: np.ndarray) -> float:
    """Compute the Kolmogorov-Smirnov distance of |z|^2 to a chi-square of Z degrees.

    It is in [0, 1], about .87 / sqrt(N) for draws from N(0, I). It detects what single
    dimensions do not show: clusters on a shell, or tails that all dimensions share.
    """
    from scipy import stats  # takes half a second, and only records need it

    square_N = np.sum(z_NZ**2, axis=1)
    uniform_N = stats.chi2.cdf(square_N, z_NZ.shape[1])
    return float(_distance_to_uniform(uniform_N[:, None])[0])


def _distance_to_uniform(u_NZ: np.ndarray) -> np.ndarray:
    """Return Kolmogorov-Smirnov distances [Z] of columns to a uniform in [0, 1]."""
    num = len(u_NZ)
    u_NZ = np.sort(u_NZ, axis=0)
    rank_N1 = np.arange(num)[:, None] / num
    over_Z = np.max(u_NZ - rank_N1, axis=0)
    under_Z = np.max(rank_N1 + 1 / num - u_NZ, axis=0)
    return np.maximum(over_Z, under_Z)


def kolmogorov_smirnov(z_NZ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Test each dimension against N(0, 1) by Kolmogorov and Smirnov.

    Args:
      z_NZ: codes.

    Returns:
      Distances [Z] in [0, 1], about .87 / sqrt(N) for draws from N(0, 1), and exact
      p-values [Z]. N(0, 1) is not fitted, so an offset and a wrong scale count, as they
      do for G.
    """
    from scipy import stats  # see `radius_ks`

    distance_Z = _distance_to_uniform(special.ndtr(z_NZ))
    return distance_Z, np.clip(stats.kstwo.sf(distance_Z, len(z_NZ)), 0, 1)


def holm(p_Z: np.ndarray) -> np.ndarray:
    """Adjust p-values for their number, for any dependence (Holm 1979).

    The smallest is Bonferroni's p of the hypothesis that all hold.
    """
    order = np.argsort(p_Z)
    factor_Z = np.arange(len(p_Z), 0, -1)
    adjusted_Z = np.empty(len(p_Z))
    adjusted_Z[order] = np.minimum(np.maximum.accumulate(factor_Z * p_Z[order]), 1)
    return adjusted_Z


def energy(z_NZ: np.ndarray) -> float:
    """Compute the energy distance to N(0, I) as a % of its largest value.

        100 (2 E|z - n| - E|z - z'| - E|n - n'|) / (2 E|z - n|),   n, n' ~ N(0, I)

    It is 0 only for N(0, I): any offset, scale, correlation or other shape raises it,
    up to nearly 100 far away. Expectations over n are exact, and pairs z, z' are of
    different images. So the mean over draws from N(0, I) is 0, and single values may be
    negative. Values are small: codes of half or twice the scale have about 5 %, codes
    all at one point 29 %.

    Args:
      z_NZ: codes, N at least 2.

    Source: Szekely and Rizzo 2005 (a test of multivariate normality, the parameters
    given) and 2013 (the ratio, their coefficient of inhomogeneity).
    """
    from scipy.spatial import distance  # takes a quarter of a second

    to_prior = 2 * np.mean(distance_to_prior(z_NZ))
    among_prior = 2 * np.exp(
        special.gammaln((z_NZ.shape[1] + 1) / 2) - special.gammaln(z_NZ.shape[1] / 2)
    )
    among_codes = distance.pdist(z_NZ).mean()
    return float(100 * (to_prior - among_codes - among_prior) / to_prior)


def distance_to_prior(z_NZ: np.ndarray) -> np.ndarray:
    """Compute E|z - n| over n ~ N(0, I) for each z: [N].

    |z - n|^2 is a noncentral chi-square Y, and E sqrt(Y) is an integral of its Laplace
    transform. With 1 / (1 + 2 t) = cos(a)^2, Gauss-Legendre nodes give it up to
    rounding: they are densest at a = 0, where far codes have a peak. scipy's hyp1f1
    gives the same number but sometimes overflows.
    """
    square_N = np.sum(z_NZ**2, axis=1)
    size = z_NZ.shape[1]
    far_N = square_N > 1e6  # here the first two terms of a series are exact
    near_N = np.where(far_N, 0, square_N)
    nodes = 64 + 8 * int((near_N.max(initial=0) + size) ** 0.25)
    total_N = np.zeros(len(z_NZ))
    for node, weight in zip(*special.roots_legendre(nodes), strict=True):
        angle = (node + 1) * np.pi / 4
        exponent_N = size * np.log(np.cos(angle)) - near_N * np.sin(angle) ** 2 / 2
        total_N -= weight * np.expm1(exponent_N) / np.sin(angle) ** 2
    length_N = np.sqrt(np.where(far_N, square_N, 1))
    return np.where(
        far_N,
        length_N + (size - 1) / (2 * length_N),
        np.sqrt(2 / np.pi) * np.pi / 4 * total_N,
    )


def energy_test(z_NZ: np.ndarray) -> tuple[float, float]:
    """Compute `energy` of up to SUBSET codes, evenly spaced, and its p-value.

    The hypothesis is N(0, I) itself, so draws from it give an exact p-value. Tests of
    "some Gaussian" (Henze-Zirkler) standardize first and so ignore offset and scale.
    """
    chosen = np.linspace(0, len(z_NZ) - 1, min(SUBSET, len(z_NZ))).astype(int)
    found = energy(z_NZ[chosen])
    null = energy_null(len(chosen), z_NZ.shape[1])
    return found, (1 + int(np.sum(null >= found))) / (1 + len(null))


@functools.cache
def energy_null(num: int, size: int) -> np.ndarray:
    """Compute `energy` of DRAWS sets of `num` draws from N(0, I), Z = `size`."""
    generator = np.random.default_rng(0)
    draws = (generator.standard_normal((num, size)) for _ in range(DRAWS))
    return np.array([energy(z_NZ) for z_NZ in draws])


def baselines(
    train_NX: np.ndarray,
    test_NX: np.ndarray,
    label_N: np.ndarray,
    classify: Callable[[np.ndarray], np.ndarray],
    latent_size: int,
) -> dict[str, dict[str, Any]]:
    """Compute the metrics without a GAN: row -> some of `METRICS`.

    Args:
      train_NX: training images, pixels in [0, 1].
      test_NX: test images.
      label_N: classes of the test images.
      classify: images [N, X] -> labels [N].
      latent_size: components of PCA, and dimensions of the codes.

    Returns:
      Reconstruction by the mean training image, by PCA, and by another test image of
      the same or of any class (expectations over all pairs). Codes of PCA, and of as
      many draws from N(0, I) as there are test images (the mean of 10 sets).
    """
    model = pca.fit(train_NX, latent_size)
    linear_NX = model.reconstruct(test_NX)
    constant_NX = np.broadcast_to(model.mean_X, test_NX.shape)
    of_test_N = classify(test_NX)
    generator = np.random.default_rng(1)
    draws = [
        code_metrics(generator.standard_normal((len(test_NX), latent_size)))
        for _ in range(10)
    ]
    prior = {name: float(np.mean([d[name] for d in draws])) for name in CODE_METRICS}
    of_pca = code_metrics(model.encode(test_NX))

    def error(x_NX: np.ndarray) -> dict[str, float]:
        return {
            "reconstruction": squared_error(x_NX, test_NX),
            "agreement": agreement(of_test_N, classify(np.clip(x_NX, 0, 1))),
        }

    return {
        "mean training image": error(constant_NX),
        "another test image": of_other_images(test_NX, of_test_N, 0 * label_N),
        "another of its class": of_other_images(test_NX, of_test_N, label_N),
        f"PCA, {len(model.std_K)} components": error(linear_NX)
        | {f"code_{name}": value for name, value in of_pca.items()},
        "N(0, I)": {f"code_{name}": value for name, value in prior.items()},
    }


def of_other_images(
    x_NX: np.ndarray, label_N: np.ndarray, group_N: np.ndarray
) -> dict[str, float]:
    """Score a random other image of the same group as the reconstruction.

    This is the mean over all ordered pairs of different images of a group, where each
    image of a group of two or more has equal weight. The squared error is twice the
    variance.

    Args:
      x_NX: images, pixels in [0, 1].
      label_N: the classifier's labels of the images.
      group_N: groups of the images.
    """
    error, agreed, num = 0.0, 0.0, 0
    for group in np.unique(group_N):
        inside = group_N == group
        size = int(inside.sum())
        if size < 2:
            continue
        variance_X = x_NX[inside].var(axis=0, ddof=1, dtype=np.float64)
        count_C = np.bincount(label_N[inside])
        error += size * 2 * variance_X.mean()
        agreed += np.sum(count_C * (count_C - 1)) / (size - 1)
        num += size
    return {
        "reconstruction": float(error / num),
        "agreement": float(100 * agreed / num),
    }
