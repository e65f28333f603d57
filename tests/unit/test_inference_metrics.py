"""The figures of inference against SciPy, plain loops, closed forms."""

import itertools

import numpy as np
import pytest
from scipy import special, stats

from veegan_jax.metrics import inference as inference_metrics


@pytest.mark.parametrize("size", [1, 3, 32, 256])
@pytest.mark.parametrize("length", [0.0, 0.7, 5.0, 12.0, 300.0, 2e3, 1e5])
def test_the_mean_distance_to_the_prior(size, length):
    z_1Z = np.full((1, size), length / np.sqrt(size))
    found = inference_metrics.distance_to_prior(z_1Z)[0]
    if size == 1:  # the folded normal
        expected = np.sqrt(2 / np.pi) * np.exp(-(length**2) / 2)
        expected += length * special.erf(length / np.sqrt(2))
    elif size == 3:  # the noncentral chi of three degrees
        expected = np.sqrt(2 / np.pi) * np.exp(-(length**2) / 2)
        ratio = special.erf(length / np.sqrt(2)) / length if length else 0.7978845608
        expected += (length**2 + 1) * ratio
    else:
        scale = np.exp(special.gammaln((size + 1) / 2) - special.gammaln(size / 2))
        expected = np.sqrt(2) * scale * special.hyp1f1(-0.5, size / 2, -(length**2) / 2)
        if not np.isfinite(expected):  # SciPy's overflows here and there
            assert (size, length) == (256, 12.0)
            expected = 19.98299917007374  # by mpmath
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_distances_differ_by_code(generator):
    z_NZ = generator.normal(size=(5, 4)) * np.array([[1, 1e-3, 30, 2, 1e4]]).T
    each = [inference_metrics.distance_to_prior(z_NZ[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(
        inference_metrics.distance_to_prior(z_NZ), each, rtol=1e-12
    )


def test_energy_of_known_distributions(generator):
    point = inference_metrics.energy(np.zeros((3, 7)))
    assert point == pytest.approx(100 * (1 - np.sqrt(0.5)))
    z_NZ = generator.normal(size=(3000, 8))
    assert abs(inference_metrics.energy(z_NZ)) < 0.03
    for scale in (0.5, 2.0):
        cross = np.hypot(1, scale)  # of N(0, s^2 I): lengths of Gaussians, all alike
        ratio = (2 * cross - np.sqrt(2) * (scale + 1)) / (2 * cross)
        found = inference_metrics.energy(scale * z_NZ)
        assert found == pytest.approx(100 * ratio, abs=0.15), scale
    assert 90 < inference_metrics.energy(z_NZ + 100) < 100


def test_energy_by_two_samples(generator):
    """The two-sample energy distance from many draws of N(0, I), in plain loops."""
    z_NZ = generator.exponential(size=(60, 2))
    n_MZ = generator.normal(size=(3000, 2))

    def mean_distance(pairs):
        return np.mean([np.linalg.norm(a - b) for a, b in pairs])

    cross = mean_distance((z, n) for z in z_NZ for n in n_MZ[:1000])
    codes = mean_distance(itertools.permutations(z_NZ, 2))
    prior = mean_distance(zip(n_MZ[:1500], n_MZ[1500:], strict=True))
    expected = 100 * (2 * cross - codes - prior) / (2 * cross)
    assert inference_metrics.energy(z_NZ) == pytest.approx(expected, abs=1.5)
    assert expected > 5


def test_kolmogorov_smirnov_is_scipys(generator):
    z_NZ = generator.normal(size=(83, 3)) * [1, 1.4, 1] + [-0.3, 0, 0.3]
    distance_Z, p_Z = inference_metrics.kolmogorov_smirnov(z_NZ)
    for z_N, distance, p in zip(z_NZ.T, distance_Z, p_Z, strict=True):
        theirs = stats.kstest(z_N, "norm", method="exact")
        np.testing.assert_allclose((distance, p), theirs, rtol=1e-9)
    theirs = stats.kstest(np.sum(z_NZ**2, axis=1), stats.chi2(3).cdf)
    assert inference_metrics.radius_ks(z_NZ) == pytest.approx(
        theirs.statistic, rel=1e-9
    )


def test_holm_of_a_textbook():
    p_Z = np.array([0.01, 0.04, 0.03, 0.005, 0.9])
    np.testing.assert_allclose(
        inference_metrics.holm(p_Z), [0.04, 0.09, 0.09, 0.025, 0.9]
    )
    np.testing.assert_allclose(inference_metrics.holm(np.array([0.8, 0.7])), [1, 1])


def test_correlations_are_numpys_and_none_with_a_constant(generator):
    z_NZ = generator.normal(size=(50, 4)) @ generator.normal(size=(4, 4)) + 3
    expected = np.abs(np.corrcoef(z_NZ.T)[np.triu_indices(4, k=1)])
    np.testing.assert_allclose(inference_metrics.correlations(z_NZ), expected)
    z_NZ[:, 1:] = 2.0
    np.testing.assert_array_equal(inference_metrics.correlations(z_NZ), np.zeros(6))
    metrics = inference_metrics.code_metrics(z_NZ)
    assert all(np.isfinite(list(metrics.values())))
    one = inference_metrics.code_metrics(z_NZ[:, :1])
    assert one["correlation"] == one["worst_correlation"] == 0


def test_the_worst_dimension_is_furthest_from_the_prior(generator):
    z_NZ = generator.normal(size=(500, 3))
    small = inference_metrics.code_metrics(z_NZ * [1.2, 0.5, 1])
    assert small["worst_std"] == pytest.approx(0.5, abs=0.05)
    assert small["std"] == pytest.approx(0.9, abs=0.05)
    low = inference_metrics.code_metrics(z_NZ * [1.2, 1.5, 0.9] + [0, -1, 0.5])
    assert low["worst_std"] == pytest.approx(1.5, abs=0.1)
    assert low["worst_mean"] == pytest.approx(1, abs=0.15)
    assert low["mean"] == pytest.approx(0.5, abs=0.1)


def test_draws_of_the_prior_pass_with_uniform_p(generator):
    metrics = [
        inference_metrics.code_metrics(generator.normal(size=(80, 1)))
        for _ in range(200)
    ]
    for name in ("ks_p", "energy_p"):
        p = np.array([f[name] for f in metrics])
        # Less strict than for free ones: all energies are set beside 199 draws.
        assert stats.kstest(p, "uniform").statistic < 0.14, name
    # Over several dimensions Bonferroni's p is no smaller than uniform.
    many = [
        inference_metrics.code_metrics(generator.normal(size=(80, 6)))["ks_p"]
        for _ in range(200)
    ]
    assert np.mean(np.array(many) <= 0.05) <= 0.09


def _other(generator, kind):
    z_NZ = generator.normal(size=(900, 4))
    mixed = z_NZ @ np.linalg.cholesky(0.3 * np.eye(4) + 0.7).T
    twins = z_NZ[:, [0, 0, 1, 1]] * np.sign(generator.normal(size=(900, 4)))
    return {
        "offset": z_NZ + [0, 0, 0, 0.5],
        "scale": 1.3 * z_NZ,
        "correlation": mixed,
        "shape": np.sqrt(0.9) * np.sign(z_NZ) + np.sqrt(0.1) * z_NZ[::-1],
        "dependence": twins,  # each is N(0, 1), and no two are correlated
    }[kind]


@pytest.mark.parametrize(
    ("kind", "seen_by", "figure"),
    [
        ("offset", ("ks", "energy"), ("worst_mean", 0.5)),
        ("scale", ("ks", "energy"), ("worst_std", 1.3)),
        ("correlation", ("energy",), ("worst_correlation", 0.7)),
        ("shape", ("ks", "energy"), ("worst_std", 1.0)),
        ("dependence", ("energy",), ("worst_correlation", 0.0)),
    ],
)
def test_what_is_not_the_prior_fails(generator, kind, seen_by, figure):
    found = inference_metrics.code_metrics(_other(generator, kind))
    for test in ("ks", "energy"):
        least = {"ks": 1e-3, "energy": 1 / 200}[test]
        assert (found[f"{test}_p"] <= least) == (test in seen_by), test
    name, value = figure
    assert found[name] == pytest.approx(value, abs=0.12)
    rejected = {"offset": 25, "correlation": 0, "dependence": 0}
    assert found["ks_rejected"] == rejected.get(kind, 100)
    if kind == "dependence":
        assert found["radius_ks"] > 0.1 > 3 * found["ks"]


def test_effect_sizes_do_not_grow_with_the_number_of_codes(generator):
    few, many = (
        inference_metrics.code_metrics(1.3 * generator.normal(size=(num, 4)))
        for num in (1000, 16_000)
    )
    for name in ("ks", "energy", "radius_ks", "std"):
        assert few[name] == pytest.approx(many[name], rel=0.35), name
    assert many["ks_p"] < few["ks_p"]


def test_other_images_by_all_pairs(generator):
    x_NX = generator.uniform(size=(30, 5))
    label_N, group_N = generator.integers(0, 3, size=(2, 30))
    group_N[7] = 9  # alone in its group: no pair
    error, agreed, of_image = [], [], []
    for i in range(30):
        pairs = [j for j in range(30) if j != i and group_N[j] == group_N[i]]
        if pairs:
            error.append(np.mean([(x_NX[i] - x_NX[j]) ** 2 for j in pairs]))
            agreed.append(np.mean([label_N[i] == label_N[j] for j in pairs]))
            of_image.append(i)
    assert len(of_image) == 29
    found = inference_metrics.of_other_images(x_NX, label_N, group_N)
    assert found["reconstruction"] == pytest.approx(np.mean(error))
    assert found["agreement"] == pytest.approx(100 * np.mean(agreed))
