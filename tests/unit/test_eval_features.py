"""eval_features.py: measures of anyone's samples, and what they say of faults."""

import json

import numpy as np
import pytest
from support import programs

from veegan_jax.common import errors
from veegan_jax.experiments import features
from veegan_jax.metrics import coverage, feature_distances

SMALL = features.Options(cells=8)


def modes(counts, seed):
    generator = np.random.default_rng(seed)
    parts = [
        20 * np.array([k % 2, k // 2]) + generator.normal(size=(n, 2))
        for k, n in enumerate(counts)
    ]
    return np.concatenate(parts).astype(np.float32)


def test_perfect_samples_score_as_real_ones_do():
    found = features.measure(modes([300] * 4, 0), modes([150] * 4, 1), SMALL)
    assert found["compared"] == {"reference": 600, "samples": 600}
    assert found["samples"].keys() == found["real"].keys() == features.METRICS.keys()
    for name in ("precision", "recall", "density", "coverage"):
        assert found["samples"][name] == pytest.approx(found["real"][name], abs=0.06)
        assert found["error"][name] < 0.05
    for name in ("vendi", "rke"):
        assert found["samples"][name] == pytest.approx(found["real"][name], rel=0.05)
    assert found["samples"]["frechet"] < 3


def test_the_dropped_mode_is_what_is_missing():
    real = modes([300] * 4, 2)
    found = features.measure(real, modes([200, 200, 200, 0], 3), SMALL)
    assert found["samples"]["coverage"] < 0.8 * found["real"]["coverage"]
    assert found["samples"]["precision"] > 0.95
    # Half of the dropped mode's 300 are in the reference, and they are the worst.
    assert (found["missing"][:100] >= 900).all()
    assert (found["distance"][:100] > 1).all()
    assert (np.diff(found["distance"]) <= 0).all()


def test_distances_are_those_to_the_nearest_sample_over_the_radius():
    generator = np.random.default_rng(4)
    real, fake = generator.normal(size=(40, 3)), generator.normal(size=(30, 3))

    def apart(a, b):
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2))

    radius = np.sort(apart(real, real), axis=1)[:, 5]  # the first is itself
    expected = apart(real, fake).min(axis=1) / radius
    found = coverage.distances(real, fake)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    covered = coverage.evaluate(real, fake)["coverage"].value
    assert covered == np.mean(found <= 1)


def test_images_become_principal_components():
    real = np.random.default_rng(5).uniform(size=(50, 4, 4, 1)).astype(np.float32)
    options = features.Options(components=3)
    a, b, what = features.made(real, real[:20], options)
    assert a.shape == (50, 3) and b.shape == (20, 3)
    assert what == "3 principal components of the real images"
    flat = real.reshape(50, -1)
    flat = flat - flat.mean(axis=0)
    value = np.linalg.eigvalsh(np.cov(flat.T))[::-1][:3]
    np.testing.assert_allclose(a.var(axis=0, ddof=1), value, rtol=1e-4)
    as_they_are, _, _ = features.made(real, real, features.Options(features="pixels"))
    np.testing.assert_array_equal(as_they_are, real.reshape(50, 16))


@pytest.mark.parametrize(
    ("real", "fake", "options", "message"),
    [
        ((9, 2), (9, 3), {}, r"have shape \(2,\) and samples \(3,\)"),
        ((9, 2), (9, 2), dict(features="pca"), "--features=pca: the files hold feat"),
        ((9, 4, 4, 1), (9, 4, 4, 1), dict(features="given"), "the files hold images"),
    ],
)
def test_features_that_cannot_be_made_are_refused(real, fake, options, message):
    with pytest.raises(errors.InputError, match=message):
        features.made(np.ones(real), np.ones(fake), features.Options(**options))


def test_too_few_examples_are_refused():
    message = "60 real examples and 50 samples are too few for --cells=100"
    with pytest.raises(errors.InputError, match=message):
        features.measure(np.ones((60, 2)), np.ones((50, 2)), features.Options())


# The script.


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("eval_features")


def test_it_prints_every_measure_and_writes_what_is_missing(
    script, tmp_path, capsys, monkeypatch
):
    generator = np.random.default_rng(6)
    kinds = generator.uniform(size=(4, 6, 6, 1))

    def drawn(num, of):
        noise = 0.05 * generator.normal(size=(num, 6, 6, 1))
        return (kinds[generator.integers(of, size=num)] + noise).clip(0, 1)

    real, fake = tmp_path / "real.npy", tmp_path / "fake.npy"
    np.save(real, drawn(200, 4).astype(np.float32))
    np.save(fake, (255 * drawn(100, 3)).round().astype(np.uint8))
    output, figure = tmp_path / "out.json", tmp_path / "out.png"
    for name, value in dict(output=output, figure=figure, cells=8).items():
        monkeypatch.setattr(script.flags.FLAGS[name], "value", value)
    script.main(str(real), str(fake))
    out = capsys.readouterr().out
    assert "fake.npy: 100 images, NHWC, pixels in [0,255]" in out
    for name in features.METRICS:
        assert f"| {name} " in out
    record = json.loads(output.read_text())
    assert len(record["missing"]) == 64
    shown = np.load(real)[record["missing"][:20]]
    nearest = ((shown[:, None] - kinds[None]) ** 2).sum(axis=(2, 3, 4)).argmin(axis=1)
    assert (nearest == 3).all()  # the kind that no sample is of
    assert figure.stat().st_size > 1000


def test_the_jackknife_is_the_standard_error_of_a_mean(generator):
    """Of a mean, leaving out groups gives s / sqrt(M) but for chance."""
    x_M = generator.normal(2, 3, 4000)
    found = feature_distances.jackknife(
        lambda index: {"mean": x_M[index].mean()}, np.arange(4000), 0
    )
    assert found["mean"] == pytest.approx(3 / 4000**0.5, rel=0.5)


def test_errors_are_the_spread_over_draws_of_samples(generator):
    """The jackknife's error of one draw beside the spread over thirty draws."""
    real_NF = generator.normal(size=(1200, 4))
    options = features.Options(cells=10)
    draws = [generator.normal(size=(400, 4)) for _ in range(30)]
    found = [features._scores(real_NF, fake_MF, options) for fake_MF in draws]
    for name in ("jsd", "frechet", "vendi", "rke", "kernel"):
        spread = np.std([values[name] for values, _ in found])
        error = np.mean([error[name] for _, error in found])
        assert 0.4 < error / spread < 2.5, name
