"""Precision, recall, density and coverage against scikit-learn's neighbours.

Dimension key: N real examples, M samples, F features.
"""

import contextlib
import io

import jax.numpy as jnp
import numpy as np
import prdc
import pytest
from sklearn import neighbors

from veegan_jax.common import errors
from veegan_jax.metrics import coverage


def reference(real, fake, k):
    """The four papers' definitions, ball by ball."""

    def radii(points):
        tree = neighbors.NearestNeighbors(n_neighbors=k + 1).fit(points)
        return tree.kneighbors(points)[0][:, -1]  # the nearest one is itself

    distance = np.sqrt(((real[:, None] - fake[None]) ** 2).sum(axis=2))
    in_real = distance <= radii(real)[:, None]
    in_fake = distance <= radii(fake)[None]
    return {
        "precision": in_real.any(axis=0).mean(),
        "recall": in_fake.any(axis=1).mean(),
        "density": in_real.sum(axis=0).mean() / k,
        "coverage": in_real.any(axis=1).mean(),
    }


@pytest.mark.parametrize("block", [50, 2**24])
@pytest.mark.parametrize("k", [1, 5])
def test_the_metrics_are_those_of_the_papers(k, block, monkeypatch):
    monkeypatch.setattr(coverage, "_BLOCK", block)
    generator = np.random.default_rng(0)
    real = generator.normal(size=(60, 4))
    fake = 1.3 * generator.normal(size=(45, 4)) + 0.5
    found = coverage.evaluate(real, fake, k)
    expected = reference(real, fake, k)
    assert found.keys() == coverage.METRICS.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-6)
        assert 0 < value < 1.5
        assert found[name].error >= 0


def test_the_metrics_are_those_of_the_authors_package():
    """`prdc`, of the authors of density and coverage; no distance is on an edge."""
    generator = np.random.default_rng(1)
    real, fake = generator.normal(size=(2, 300, 6)).astype(np.float32)
    fake[:, 0] = abs(fake[:, 0])
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the sizes
        expected = prdc.compute_prdc(real, fake, 5)
    found = {name: one.value for name, one in coverage.evaluate(real, fake, 5).items()}
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_error_is_that_of_a_mean():
    generator = np.random.default_rng(1)
    real, fake = generator.normal(size=(2, 400, 2))
    found = coverage.evaluate(real, fake)
    share = found["coverage"].value
    expected = np.sqrt(share * (1 - share) / 400)
    assert found["coverage"].error == pytest.approx(expected, rel=1e-6)


def four_modes(generator, counts):
    means = 10.0 * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    return np.concatenate(
        [m + generator.normal(size=(n, 2)) for m, n in zip(means, counts, strict=True)]
    )


def test_a_collapsed_generator_loses_recall_and_coverage_only():
    """Users suspect that public code has precision and recall the wrong way round."""
    generator = np.random.default_rng(2)
    real = four_modes(generator, [250] * 4)
    collapsed = four_modes(generator, [1000, 0, 0, 0])
    found = {n: e.value for n, e in coverage.evaluate(real, collapsed).items()}
    assert found["precision"] > 0.95 and found["density"] > 0.9
    assert found["recall"] < 0.3 and found["coverage"] < 0.3


def test_a_generator_of_too_much_loses_precision_and_density_only():
    generator = np.random.default_rng(3)
    real = four_modes(generator, [500, 500, 0, 0])
    more = four_modes(generator, [500] * 4)
    found = {n: e.value for n, e in coverage.evaluate(real, more).items()}
    assert found["recall"] > 0.95 and found["coverage"] > 0.8
    assert found["precision"] < 0.6 and found["density"] < 0.6


def test_a_memorising_generator_is_perfect_in_all():
    """So these metrics do not see copying."""
    real = np.random.default_rng(4).normal(size=(300, 3))
    found = coverage.evaluate(real, real.copy())
    assert [found[n].value for n in ("precision", "recall", "coverage")] == [1, 1, 1]


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_equal_examples_are_inside_their_own_ball(scale):
    """With < instead of <= nothing would be; rounding must not move them apart."""
    points = scale * np.random.default_rng(5).normal(size=(4, 50))
    real = np.repeat(points, 8, axis=0)  # more copies than neighbours
    found = coverage.evaluate(real, points.repeat(6, axis=0))
    expected = {"precision": 1, "recall": 1, "density": 8 / 5, "coverage": 1}
    assert {n: e.value for n, e in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("real", "fake", "k", "message"),
    [
        ((9, 2), (9, 3), 5, "real features have 2 numbers and generated ones 3"),
        ((5, 2), (9, 2), 5, "5 real features are too few for --neighbours=5: give at"),
        ((9, 2), (5, 2), 5, "5 generated features are too few for --neighbours=5"),
        ((9,), (9, 2), 5, r"the real features have shape \(9,\)"),
        ((9, 2), (9, 2), 0, "--neighbours=0 must be at least 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(real, fake, k, message):
    with pytest.raises(errors.InputError, match=message):
        coverage.evaluate(np.ones(real), np.ones(fake), k)


def test_what_is_not_finite_is_counted():
    bad = np.ones((9, 2))
    bad[3, 1] = bad[5, 0] = np.nan
    with pytest.raises(errors.InputError, match="2 of 9 generated features are not fi"):
        coverage.evaluate(np.ones((9, 2)), bad)


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("columns", [60, 700, 3000])
def test_the_kth_smallest_is_that_of_a_sort(generator, k, columns):
    """Also with equal values, within a group of columns and in many groups."""
    x_PN = generator.normal(size=(20, columns)).astype(np.float32)
    x_PN[:, ::7] = x_PN[:, :1]
    x_PN[0] = 1.0
    found = coverage._kth_smallest(jnp.asarray(x_PN), k)
    np.testing.assert_array_equal(found, np.sort(x_PN, axis=1)[:, k - 1])
