"""Metrics of samples against a known mixture: modes, quality, spread.

Dimension key: N samples, K modes, X data dimensions.
"""

import jax
import jax.numpy as jnp
import numpy as np

from veegan_jax.data import mixtures
from veegan_jax.metrics import sliced_wasserstein
from veegan_jax.runtime import numerics, rng

# The metrics of `evaluate`, in the order of the tables.
METRICS = {
    "modes": "means nearest to at least one high-quality sample",
    "high_quality": "% of samples within the paper's radius of their mean",
    "filled_modes": "modes with a quarter of their share of good samples, or more",
    "reverse_kl": "KL(generated || true) over modes, nats; 0 is right",
    "mode_tv": "total variation over modes and 'invalid'; 0 is right, 1 the worst",
    "spread": "standard deviation inside a mode / the true one; 1 is right",
    "sliced_wasserstein": "distance to fresh true samples; the oracle's is the least",
    "calibrated_modes": "modes captured by calibrated samples",
    "calibrated": "% of samples at a true sample's distance from their mean",
    "dead_rms": "RMS error in the dimensions without noise; 0 is right",
}
OF_DEAD = "calibrated_modes", "calibrated", "dead_rms"  # need dimensions without noise
FILLED = 0.25  # of its share, from which a mode is filled
UNDEFINED = {"spread": "empty if no mode of a seed has two samples to measure it by"}


@numerics.undefined_allowed
@numerics.standard
def evaluate(
    x_NX: jax.Array, mixture: mixtures.Mixture, filled: float = FILLED
) -> dict[str, jax.Array]:
    """Score samples against the mixture they should follow. Pure: jit and vmap it.

    The spread is NaN where it is undefined; under JAX_DEBUG_NANS call it eagerly.

    `modes` and `high_quality` are the VEEGAN paper's. In 1200-D no true sample is of
    high quality (it lies sqrt(700) = 26.5 sigma from its mean; the radius is 10). So a
    sample is `calibrated` if ||x - mean|| / (sigma sqrt(live)) lies within three
    standard errors, 3 / sqrt(2 live), of 1.

    `spread` is of the high-quality samples of each mode, around their own mean, over
    that of a Gaussian cut at the same radius; in 1200-D of all samples. It is averaged
    over the modes with two such samples or more, and NaN without any.

    One good sample captures a mode. A filled mode has at least the part `filled` of the
    good samples that perfect ones have there. `mode_tv` is half the sum of the absolute
    differences to the perfect shares of good samples, and of the share of all others.
    Good are those of high quality; with dead dimensions the calibrated ones.

    Args:
      x_NX: samples, float [N, X].
      mixture: the true distribution.
      filled: the part of its share from which a mode is filled, in (0, 1].

    Returns:
      Scalars by the names of `METRICS` (those of `OF_DEAD` only if the mixture has dead
      dimensions, and no distance), and `histogram` [K], the share of samples nearest to
      each mean.

    Raises:
      ValueError: if x_NX is not [N, mixture.size].

    Source: VEEGAN section 4.1; reverse KL, PacGAN section 4.1. With `filled` = 0.25 a
    mode of the grid counts from 1 % of the samples, as in studies of GANs since.
    """
    if x_NX.ndim != 2 or x_NX.shape[1] != mixture.size:
        raise ValueError(
            f"samples have shape {x_NX.shape}; {mixture.name} needs "
            f"[number of samples, {mixture.size}]"
        )
    means_KX = jnp.asarray(mixture.means_KX)
    square_NK = jax.lax.map(
        lambda mean_X: jnp.sum((x_NX - mean_X[None]) ** 2, axis=1), means_KX
    ).T
    nearest_N = jnp.argmin(square_NK, axis=1)
    sigma = jnp.asarray(mixture.sigma_K)[nearest_N] if mixture.sigmas else mixture.sigma
    distance_N = jnp.sqrt(jnp.min(square_NK, axis=1)) / sigma
    nearest_NK = jax.nn.one_hot(nearest_N, mixture.num_modes)
    good_N = distance_N <= mixture.quality_radius
    histogram_K = jnp.mean(nearest_NK, axis=0)
    metrics = {
        "modes": _captured(nearest_NK, good_N),
        "high_quality": 100 * jnp.mean(good_N),
        "reverse_kl": _reverse_kl(histogram_K, mixture),
    }
    has_dead = mixture.live_size < mixture.size
    # No true 1200-D sample is within the paper's radius, so take all samples there.
    members_NK = nearest_NK if has_dead else nearest_NK * good_N[:, None]
    radius = np.inf if has_dead else mixture.quality_radius
    metrics["spread"] = _spread(x_NX, members_NK, mixture, radius)
    if has_dead:
        live = mixture.live_size
        calibrated_N = jnp.abs(distance_N / np.sqrt(live) - 1) <= _tolerance(live)
        dead_NX = x_NX[:, live:] - means_KX[nearest_N, live:]
        metrics["calibrated_modes"] = _captured(nearest_NK, calibrated_N)
        metrics["calibrated"] = 100 * jnp.mean(calibrated_N)
        metrics["dead_rms"] = jnp.sqrt(jnp.mean(dead_NX**2))
        good_N = calibrated_N
    share_K = jnp.mean(nearest_NK * good_N[:, None], axis=0)
    perfect_K = jnp.asarray(good_share(mixture) * mixture.weight_K, jnp.float32)
    metrics["filled_modes"] = jnp.sum(share_K >= filled * perfect_K)
    others = jnp.sum(share_K) - jnp.sum(perfect_K)
    metrics["mode_tv"] = 0.5 * (jnp.sum(jnp.abs(share_K - perfect_K)) + jnp.abs(others))
    return metrics | {"histogram": histogram_K}


@numerics.standard
def distance(x_NX: jax.Array, mixture: mixtures.Mixture) -> jax.Array:
    """Return the sliced Wasserstein distance to as many true samples, always the same.

    Args:
      x_NX: samples, float [N, X].
      mixture: the true distribution.
    """
    key = jax.random.fold_in(rng.key(0), 1)
    y_NX = mixtures.sample(mixture, key, len(x_NX))
    return sliced_wasserstein.distance(x_NX, y_NX)


def good_share(mixture: mixtures.Mixture) -> float:
    """Return the probability that a true sample is good, where modes do not overlap."""
    from scipy import special  # scipy.stats would take half a second to import

    live = mixture.live_size
    if live == mixture.size:
        return float(special.chdtr(live, mixture.quality_radius**2))
    nearest, farthest = (live * (1 + s * _tolerance(live)) ** 2 for s in (-1, 1))
    return float(special.chdtr(live, farthest) - special.chdtr(live, nearest))


def _tolerance(live: int) -> float:
    return 3 / np.sqrt(2 * live)


def bytes_each(mixture: mixtures.Mixture) -> int:
    """Estimate the memory in which a sample and five true ones are scored.

    `evaluate` holds four numbers for each mode and a few copies of one set of samples.
    XLA states 196 bytes on the ring, 485 on the grid and 61 kB in 1200-D. The process
    itself takes half a gigabyte more, so this refuses nothing that fits.
    """
    return 4 * (4 * mixture.num_modes + 12 * mixture.size)


def _reverse_kl(histogram_K: jax.Array, mixture: mixtures.Mixture) -> jax.Array:
    ratio_K = histogram_K * len(histogram_K)
    if mixture.weights:
        ratio_K = histogram_K / mixture.weight_K
    found = jax.scipy.special.xlogy(histogram_K, ratio_K)
    return jnp.maximum(jnp.sum(found), 0)  # rounding may give -6e-8


def _captured(nearest_NK: jax.Array, accepted_N: jax.Array) -> jax.Array:
    return jnp.sum(jnp.any((nearest_NK > 0) & accepted_N[:, None], axis=0))


def _spread(
    x_NX: jax.Array, members_NK: jax.Array, mixture: mixtures.Mixture, radius: float
) -> jax.Array:
    """Average over modes the members' standard deviation over the true one.

    A d-dimensional Gaussian cut at `radius` sigma keeps the fraction
    P(chi2_{d+2} <= r^2) / P(chi2_d <= r^2) of its variance. The fraction is divided
    out, so the true distribution scores 1. Modes with fewer than two members do not
    count.
    """
    live = mixture.live_size
    count_K = jnp.sum(members_NK, axis=0)
    x_NX = x_NX[:, :live]
    # Sums around each true mean keep float32 accurate; the shift cancels below.
    first, second = [], []
    for k in range(mixture.num_modes):
        offset_NX = (x_NX - mixture.means_KX[k : k + 1, :live]) * members_NK[
            :, k : k + 1
        ]
        first.append(jnp.sum(offset_NX, axis=0))
        second.append(jnp.sum(offset_NX**2))
    first_KX, second_K = jnp.stack(first), jnp.stack(second)
    centred_K = second_K - jnp.sum(first_KX**2, axis=1) / jnp.maximum(count_K, 1)
    variance_K = centred_K / (jnp.maximum(count_K - 1, 1) * live)
    kept = 1.0
    if np.isfinite(radius):
        from scipy import special  # scipy.stats would take half a second to import

        # `chdtr` is the distribution function of chi-square.
        kept = special.chdtr(live + 2, radius**2) / special.chdtr(live, radius**2)
    sigma = mixture.sigma_K if mixture.sigmas else mixture.sigma
    ratio_K = jnp.sqrt(jnp.maximum(variance_K, 0) / kept) / sigma
    counted_K = count_K >= 2
    return jnp.sum(jnp.where(counted_K, ratio_K, 0)) / jnp.sum(counted_K)
