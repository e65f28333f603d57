"""Mixtures by description and from files: what they are, and what is refused.

Dimension key: N samples, K modes, X data dimensions.
"""

import json
import pathlib

import jax
import numpy as np
import pytest
import scipy.stats

from veegan_jax.common import errors
from veegan_jax.data import mixtures
from veegan_jax.experiments import base
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.presets import resolve

UNEQUAL = {
    "means": [[0, 0, 0], [3, 0, 0], [0, 5, 0]],
    "sigmas": [0.1, 0.2, 0.4],
    "weights": [0.5, 0.3, 0.2],
}


def written(folder: pathlib.Path, content) -> str:
    path = folder / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


# Descriptions.


def test_descriptions_are_the_protocols_of_other_papers():
    metz = mixtures.get("ring:radius=2,sigma=.02")
    np.testing.assert_allclose(np.linalg.norm(metz.means_KX, axis=1), 2, rtol=1e-6)
    assert (metz.num_modes, metz.sigma) == (8, 0.02)
    large = mixtures.get("grid:side=7")
    assert large.num_modes == 49
    assert large.means_KX.min() == -6 and large.means_KX.max() == 6
    small = mixtures.get("high_dim:size=30,live=20")
    assert (small.size, small.live_size, small.num_modes) == (30, 20, 10)


def test_imbalance_is_the_ratio_of_the_first_to_the_last():
    weight_K = np.array(mixtures.get("ring:modes=5,imbalance=16").weights)
    assert weight_K.sum() == pytest.approx(1)
    np.testing.assert_allclose(weight_K[:-1] / weight_K[1:], 2)
    assert mixtures.get("ring:modes=1,imbalance=16").weights == ()


@pytest.mark.parametrize(
    ("name", "one"),
    [
        ("ring", "ring"),
        ("ring:modes=8,radius=1.0", "ring"),
        ("ring:sigma=.02,modes=12", "ring:modes=12,sigma=0.02"),
        ("grid:imbalance=1", "grid"),
    ],
)
def test_a_mixture_has_one_name(name, one):
    assert mixtures.canonical(name) == one
    assert mixtures.get(one).name == mixtures.get(name).name == one
    assert resolve.resolve("gan", name).dataset == one


def test_folders_have_no_signs_of_a_description(tmp_path):
    changes = {"method": "gan"}
    runs = base.plan(base.Options(), changes, ["ring:sigma=.02,modes=9"], None)
    assert str(runs[0][0]) == "runs/ring-modes9-sigma0.02/quick/gan"
    runs = base.plan(base.Options(), changes, [written(tmp_path, UNEQUAL)], None)
    assert str(runs[0][0]) == "runs/mine/quick/gan"


# A file.


def test_samples_follow_sigmas_and_weights(tmp_path):
    mixture = mixtures.get(written(tmp_path, UNEQUAL))
    x_NX = np.asarray(mixtures.sample(mixture, jax.random.key(0), 20_000))
    square = ((x_NX[:, None] - mixture.means_KX[None]) ** 2).sum(axis=2)
    mode_N = square.argmin(axis=1)  # the modes are far apart
    counts = np.bincount(mode_N)
    expected = 20_000 * np.array(UNEQUAL["weights"])
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-4
    for k, sigma in enumerate(UNEQUAL["sigmas"]):
        spread = (x_NX[mode_N == k] - mixture.means_KX[k]).std()
        assert spread == pytest.approx(sigma, rel=0.03)
    expected = np.sqrt((x_NX**2).mean())
    assert mixture.rms == pytest.approx(expected, rel=0.02)


def test_the_density_is_scipys(tmp_path):
    mixture = mixtures.get(written(tmp_path, UNEQUAL))
    x_BX = np.random.default_rng(1).uniform(-0.5, 5, (50, 3)).astype(np.float32)
    expected = sum(
        weight * scipy.stats.multivariate_normal(mean, sigma**2).pdf(x_BX)
        for mean, sigma, weight in zip(*UNEQUAL.values(), strict=True)
    )
    found = np.exp(np.asarray(mixtures.log_density(mixture, x_BX), np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-30)


def test_true_samples_score_as_they_should(tmp_path):
    mixture = mixtures.get(written(tmp_path, UNEQUAL))
    x_NX = mixtures.sample(mixture, jax.random.key(2), 20_000)
    metrics = mixture_metrics.evaluate(x_NX, mixture)
    assert metrics["modes"] == 3
    inside = 100 * scipy.stats.chi2.cdf(3**2, 2)  # as in the plane
    assert metrics["high_quality"] == pytest.approx(inside, abs=0.4)
    assert metrics["reverse_kl"] == pytest.approx(0, abs=1e-3)
    assert metrics["spread"] == pytest.approx(1, abs=0.02)


def test_a_changed_file_is_noticed(tmp_path):
    path = written(tmp_path, UNEQUAL)
    name = mixtures.canonical(path)
    assert mixtures.get(name).num_modes == 3
    written(tmp_path, UNEQUAL | {"sigmas": [1, 1, 1]})
    mixtures.get.cache_clear()
    with pytest.raises(errors.InputError, match=r"mine\.json has changed since"):
        mixtures.get(name)
    assert mixtures.canonical(path) != name


@pytest.mark.parametrize("method", ["veegan_plus", "gan"])
def test_presets_fit_the_scale_of_the_data(method, tmp_path):
    for name in ("ring", "grid:side=7", written(tmp_path, UNEQUAL)):
        config = resolve.resolve(method, name)
        mixture = mixtures.get(config.dataset)
        assert config.data.size == mixture.size
        expected = mixture.rms if method == "veegan_plus" else 1
        assert config.data.scale == expected


# Refusals.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rings", "unknown dataset 'rings': one of ring, grid, high_dim, two_modes"),
        ("ring:foo=1", "'foo=1' is no setting of ring; it has modes=8, radius=1"),
        ("ring:modes", "'modes' is no setting of ring"),
        ("ring:", "'' is no setting of ring"),
        ("ring:modes=2.5", "modes=2.5 must be a whole number"),
        ("ring:modes=0", "modes=0 must be in"),
        ("ring:sigma=0", "sigma=0 must be above 0"),
        ("ring:sigma=nan", "sigma=nan must be finite"),
        ("ring:radius=x", "radius=x must be a number"),
        ("grid:imbalance=.5", "imbalance=.5 must be at least 1"),
        ("high_dim:live=2000", "live=2000 of size=1200 dimensions"),
        ("no_such_file.json", "no_such_file.json cannot be read: No such file"),
    ],
)
def test_descriptions_that_mean_nothing_are_refused(name, message):
    with pytest.raises(errors.InputError, match=message):
        mixtures.get(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "must hold"),
        ({"means": [[1], [2]]}, "give sigma, or sigmas"),
        ({"means": [[1], [2]], "sigma": 1, "sigmas": [1, 1]}, "give sigma, or sigmas"),
        ({"means": [[1], [1]], "sigma": 1}, "two means are at one place"),
        ({"means": [[1], [2, 3]], "sigma": 1}, "means must be a list of lists"),
        ({"means": [1, 2], "sigma": 1}, "means must be a list of lists"),
        ({"means": [], "sigma": 1}, "means must be a list of lists"),
        ({"means": [[1], ["a"]], "sigma": 1}, "means must be a list of lists"),
        ({"means": [[1], [2]], "sigma": 0}, "sigma must be above 0"),
        ({"means": [[1], [2]], "sigmas": [1]}, "1 sigmas for 2 means"),
        ({"means": [[1], [2]], "sigma": 1, "weights": [1, 1]}, "sum to 2, not to 1"),
        (
            {"means": [[1], [2]], "sigma": 1, "weights": [2, -1]},
            "weights must be ab",
        ),
        ({"means": [[1], [2]], "sigma": 1, "weights": [1]}, "1 weights for 2 means"),
        ({"means": [[1], [2]], "sigma": 1, "wieghts": [1]}, "unknown wieghts"),
    ],
)
def test_files_that_are_no_mixture_are_refused(content, message, tmp_path):
    with pytest.raises(errors.InputError, match=message):
        mixtures.get(written(tmp_path, content))
