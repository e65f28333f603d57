"""Cells, distances and entropies of features against SciPy and closed forms.

Dimension key: N real examples, M samples, F features, K cells.
"""

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial.distance
import scipy.stats

from veegan_jax.metrics import feature_cells, feature_distances


def modes(generator, counts):
    means = 20.0 * np.arange(len(counts))[:, None] * np.ones(2)
    parts = [
        m + generator.normal(size=(n, 2)) for m, n in zip(means, counts, strict=True)
    ]
    return generator.permutation(np.concatenate(parts))


# Cells.


def test_the_test_of_two_proportions_is_scipys_chi_square():
    generator = np.random.default_rng(0)
    real, fake = generator.multinomial(900, [0.1] * 10), np.arange(10) * 20
    found = feature_cells.different(real, fake)
    expected = [
        scipy.stats.chi2_contingency(
            [[a, real.sum() - a], [b, fake.sum() - b]], correction=False
        ).pvalue
        < feature_cells.ALPHA
        for a, b in zip(real, fake, strict=True)
    ]
    assert found.tolist() == expected
    assert 0 < found.sum() < 10


def test_the_divergence_is_scipys():
    p, q = np.array([5, 3, 0, 2]), np.array([1, 1, 7, 1])
    expected = scipy.spatial.distance.jensenshannon(p, q) ** 2
    assert feature_cells.divergence(p, q) == pytest.approx(expected)
    assert feature_cells.divergence(p, 3 * p) == 0
    apart = feature_cells.divergence(np.array([1, 0]), np.array([0, 1]))
    assert apart == pytest.approx(np.log(2))


def test_perfect_samples_are_at_the_floor():
    generator = np.random.default_rng(1)
    real, fake = (generator.normal(size=(n, 3)) for n in (8000, 3000))
    found = feature_cells.evaluate(real, fake, num_cells=50)
    assert found.ndb <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 50)
    assert found.jsd == pytest.approx(found.jsd_floor, rel=0.4)
    # Of two multinomials of these sizes, to first order (K - 1) / 8 (1 / N + 1 / M).
    assert found.jsd_floor == pytest.approx(49 / 8 * (1 / 4000 + 1 / 3000), rel=0.1)


def test_a_dropped_mode_is_named_by_its_cells():
    generator = np.random.default_rng(2)
    found = feature_cells.evaluate(
        modes(generator, [500] * 4), modes(generator, [500, 500, 500, 0]), num_cells=4
    )
    assert found.ndb == 1  # the others have too many
    assert found.jsd > 5 * found.jsd_floor
    (empty,) = set(range(4)) - set(found.fake_cell_M.tolist())
    share_K = found.real_K / found.real_K.sum()
    assert share_K[empty] == pytest.approx(0.25, abs=0.05)


# Distances.


def test_the_frechet_distance_is_that_of_the_moments():
    generator = np.random.default_rng(3)
    real, fake = generator.normal(size=(200, 5)), 2 * generator.normal(size=(300, 5))
    root = scipy.linalg.sqrtm(np.cov(real.T) @ np.cov(fake.T)).real
    expected = (
        np.sum((real.mean(0) - fake.mean(0)) ** 2)
        + np.trace(np.cov(real.T) + np.cov(fake.T))
        - 2 * np.trace(root)
    )
    assert feature_distances.frechet(real, fake) == pytest.approx(expected)
    assert feature_distances.frechet(real, real) == pytest.approx(0, abs=1e-9)
    shifted = feature_distances.frechet(real, real + 2)
    assert shifted == pytest.approx(5 * 4)
    flat = np.ones((9, 5))  # collapsed
    expected = np.sum((real.mean(0) - 1) ** 2) + np.trace(np.cov(real.T))
    assert feature_distances.frechet(real, flat) == pytest.approx(expected)


def test_the_kernel_distance_is_the_unbiased_estimate():
    generator = np.random.default_rng(4)
    real, fake = generator.normal(size=(6, 3)), generator.normal(size=(6, 3)) + 1

    def k(a, b):
        return (np.dot(a, b) / 3 + 1) ** 3

    def pairs(a, b, distinct):
        values = [
            k(x, y)
            for i, x in enumerate(a)
            for j, y in enumerate(b)
            if not distinct or i != j
        ]
        return np.mean(values)

    expected = pairs(real, real, True) + pairs(fake, fake, True)
    expected -= 2 * pairs(real, fake, False)
    value, error = feature_distances.kernel(real, fake)
    assert value == pytest.approx(expected)
    assert error > 0


def test_the_kernel_distance_of_one_distribution_is_zero_within_its_error():
    generator = np.random.default_rng(5)
    real, fake = generator.normal(size=(2, 4000, 3))
    value, error = feature_distances.kernel(real, fake, most=1500)
    assert abs(value) < 5 * error


# Entropies.


def test_orthogonal_kinds_are_counted():
    kinds = np.eye(6)[np.repeat(np.arange(4), [5, 5, 5, 5])]
    assert feature_distances.entropies(kinds) == pytest.approx((4, 4))
    assert feature_distances.entropies(3 * kinds) == pytest.approx((4, 4))
    assert feature_distances.entropies(np.ones((9, 2))) == pytest.approx((1, 1))
    with_zeros = np.concatenate([np.eye(2), np.zeros((1, 2))])
    assert feature_distances.entropies(with_zeros) == pytest.approx((3, 3))


@pytest.mark.parametrize("shape", [(5, 9), (9, 5)])
def test_entropies_are_those_of_the_kernel_matrix(shape):
    feature = np.random.default_rng(6).normal(size=shape)
    unit = feature / np.linalg.norm(feature, axis=1, keepdims=True)
    matrix = unit @ unit.T / len(unit)
    entropy = -np.trace(matrix @ scipy.linalg.logm(matrix + 1e-13 * np.eye(len(unit))))
    expected = np.exp(entropy.real), 1 / np.sum(matrix**2)
    assert feature_distances.entropies(feature) == pytest.approx(expected, rel=1e-6)
