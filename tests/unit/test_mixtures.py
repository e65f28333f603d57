"""The mixtures against SciPy and against formulas written out by hand.

Dimension key: B batch, K modes, X data dimensions.
"""

import jax
import numpy as np
import pytest
from scipy import special, stats

from veegan_jax.data import mixtures

CENTRES = (-1, -0.5, 0, 0.5, -2, -2.5, 10, 0.25, -13, -5.5)


def test_ring_has_eight_distinct_modes_on_the_unit_circle():
    ring = mixtures.ring()
    assert (ring.sigma, ring.size, ring.live_size, ring.num_modes) == (0.01, 2, 2, 8)
    np.testing.assert_allclose(np.linalg.norm(ring.means_KX, axis=1), 1, rtol=1e-6)
    distance_KK = np.linalg.norm(ring.means_KX[:, None] - ring.means_KX, axis=-1)
    np.fill_diagonal(distance_KK, np.inf)
    # Neighbours of a regular octagon of radius 1 are 2 sin(pi / 8) apart.
    np.testing.assert_allclose(distance_KK.min(axis=1), 2 * np.sin(np.pi / 8), 1e-5)


def test_grid_is_five_by_five():
    grid = mixtures.grid()
    assert (grid.sigma, grid.size, grid.live_size) == (0.05, 2, 2)
    expected = {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
    assert set(grid.means) == expected
    assert grid.num_modes == 25


def test_high_dim_is_pacgans_set():
    mixture = mixtures.high_dim()
    assert (mixture.sigma, mixture.size, mixture.live_size) == (1, 1200, 700)
    assert mixture.quality_radius == 10
    expected_KX = np.repeat(np.array(CENTRES, np.float32)[:, None], 1200, axis=1)
    np.testing.assert_array_equal(mixture.means_KX, expected_KX)


@pytest.mark.parametrize("name", ["ring", "grid", "two_modes"])
def test_log_density_is_scipys(name, generator):
    mixture = mixtures.get(name)
    num, size = 200, mixture.size
    mode_B = generator.integers(mixture.num_modes, size=num)
    # Points near the modes and far from them.
    width_B1 = generator.choice([1.0, 6.0, 40.0], size=(num, 1)) * mixture.sigma
    x_BX = mixture.means_KX[mode_B] + width_B1 * generator.normal(size=(num, size))
    x_BX = x_BX.astype(np.float32)
    covariance = mixture.sigma**2 * np.eye(size)
    parts_BK = np.stack(
        [
            stats.multivariate_normal(mean, covariance).logpdf(x_BX)
            for mean in np.asarray(mixture.means, np.float64)
        ],
        axis=1,
    )
    expected = special.logsumexp(parts_BK, axis=1) - np.log(mixture.num_modes)
    # float32 means are off by 6e-8: far out that moves the exponent by 1e-3 of it.
    np.testing.assert_allclose(
        mixtures.log_density(mixture, x_BX), expected, rtol=2e-4, atol=2e-3
    )


def test_log_density_integrates_to_one():
    x_B1 = np.linspace(-4, 4, 4001, dtype=np.float32)[:, None]
    density_B = np.exp(mixtures.log_density(mixtures.two_modes(), x_B1))
    assert np.sum(density_B) * (8 / 4000) == pytest.approx(1, abs=1e-4)


def test_log_density_in_1200_dimensions_and_off_the_support(generator):
    mixture = mixtures.high_dim()
    mode_B = np.array([0, 3, 6, 8])
    x_BX = mixture.means_KX[mode_B].copy()
    x_BX[:, :700] += generator.normal(size=(4, 700)).astype(np.float32)
    # The dead coordinates name the mode, so the sum over modes has one term.
    square_B = ((x_BX[:, :700] - mixture.means_KX[mode_B, :700]) ** 2).sum(axis=1)
    expected = -0.5 * square_B - 350 * np.log(2 * np.pi) - np.log(10)
    np.testing.assert_allclose(mixtures.log_density(mixture, x_BX), expected, rtol=1e-5)
    x_BX[0, 700] += 1e-3  # one dead coordinate off its mean
    x_BX[1, 1199] = mixture.means_KX[2, 1199]  # another mode's
    x_BX[2, 700:] = mixture.means_KX[8, 700:]  # all of another mode's: on the support
    density = np.asarray(mixtures.log_density(mixture, x_BX))
    assert density[0] == density[1] == -np.inf
    far = ((x_BX[2, :700] - mixture.means_KX[8, :700]) ** 2).sum()
    swapped = -0.5 * far - 350 * np.log(2 * np.pi) - np.log(10)
    np.testing.assert_allclose(density[2], swapped, rtol=1e-5)
    assert np.isfinite(density[3])


@pytest.mark.parametrize("name", ["ring", "grid", "two_modes"])
def test_samples_have_the_modes_moments(name):
    mixture, num = mixtures.get(name), 50_000
    x_BX = np.asarray(mixtures.sample(mixture, jax.random.key(4), num), np.float64)
    assert x_BX.shape == (num, mixture.size)
    means_KX = np.asarray(mixture.means)
    distance_BK = np.linalg.norm(x_BX[:, None] - means_KX, axis=-1)
    mode_B = distance_BK.argmin(axis=1)  # modes are 10 sigma apart or more
    counts_K = np.bincount(mode_B, minlength=mixture.num_modes)
    assert stats.chisquare(counts_K).pvalue > 1e-3
    noise_BX = (x_BX - means_KX[mode_B]) / mixture.sigma
    for column in noise_BX.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3
    covariance = np.cov(noise_BX.T).reshape(mixture.size, mixture.size)
    tolerance = 4.5 * np.sqrt(2 / num)
    np.testing.assert_allclose(covariance, np.eye(mixture.size), atol=tolerance)
    # The mode says nothing about the noise: each mode's own mean is right.
    for k in range(mixture.num_modes):
        error = np.abs(noise_BX[mode_B == k].mean(axis=0)).max()
        assert error < 4.5 / np.sqrt(counts_K[k])


def test_high_dim_samples_are_dead_where_they_should_be():
    mixture = mixtures.high_dim()
    x_BX = np.asarray(mixtures.sample(mixture, jax.random.key(9), 600))
    mode_B = [CENTRES.index(x) for x in x_BX[:, 1199]]
    np.testing.assert_array_equal(x_BX[:, 700:], mixture.means_KX[mode_B, 700:])
    assert stats.chisquare(np.bincount(mode_B, minlength=10)).pvalue > 1e-3
    noise_BX = x_BX[:, :700] - mixture.means_KX[mode_B, :700]
    assert stats.kstest(noise_BX.ravel(), "norm").pvalue > 1e-3
    variance_X = noise_BX.var(axis=0)
    assert np.abs(variance_X - 1).max() < 5 * np.sqrt(2 / 600)  # largest of 700


def test_samples_do_not_depend_on_the_devices():
    ring, key = mixtures.ring(), jax.random.key(11)
    whole = jax.jit(lambda: mixtures.sample(ring, jax.random.key(11), 16))()

    def draw(_):
        return mixtures.sample(ring, key, 4, axis_name="batch")

    shards = jax.jit(jax.vmap(draw, axis_name="batch"))(np.arange(4))
    np.testing.assert_array_equal(shards.reshape(16, 2), whole)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'rings': one of ring, grid, high_dim"):
        mixtures.get("rings")
