"""Inference on the digits: baselines, linear maps that invert each other, runs."""

import dataclasses
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn import decomposition
from support import programs, tiny

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.classifier import network as classifiers
from veegan_jax.common import errors
from veegan_jax.data import images
from veegan_jax.experiments import base, codes, inference
from veegan_jax.metrics import pca
from veegan_jax.presets import resolve


@pytest.fixture(scope="module")
def of(classifier):
    return inference.materials("digits", options(classifier))


def options(classifier, **changes):
    values = dict(seeds=2, samples=300, interval=4, save_every=0.0)
    return inference.Options(classifier=str(classifier), **(values | changes))


def test_pca_is_scikit_learns(of):
    train_NX, test_NX = inference.as_vectors(of.train), inference.as_vectors(of.test)
    model = pca.fit(train_NX, 9)
    theirs = decomposition.PCA(9, svd_solver="full").fit(train_NX)
    expected = theirs.inverse_transform(theirs.transform(test_NX))
    np.testing.assert_allclose(model.reconstruct(test_NX), expected, atol=1e-5)
    white = decomposition.PCA(9, svd_solver="full", whiten=True).fit(train_NX)
    expected = np.abs(white.transform(test_NX))
    np.testing.assert_allclose(np.abs(model.encode(test_NX)), expected, atol=1e-3)
    everything = pca.fit(train_NX, 1000)  # some pixels are never used
    assert len(everything.std_K) == np.linalg.matrix_rank(train_NX - model.mean_X)


def test_the_baselines_of_the_digits(of, classifier):
    rows = inference.baselines("digits", 5, options(classifier))
    test_NX, mean_X = inference.as_vectors(of.test), inference.as_vectors(of.train)
    mean_X = mean_X.mean(axis=0, keepdims=True)
    label_N = classifiers.classify(of.classifier, of.test.image)
    constant = rows["mean training image"]
    expected = np.mean((test_NX - mean_X) ** 2)
    assert constant["reconstruction"] == pytest.approx(expected, rel=1e-4)
    # A constant reconstruction is right for one class, that of the mean image.
    pixels = np.rint(255 * mean_X).astype(np.uint8).reshape(1, 8, 8, 1)
    share = np.mean(label_N == classifiers.classify(of.classifier, pixels)[0])
    assert constant["agreement"] == pytest.approx(100 * share, rel=1e-4)
    order = ["PCA, 5 components", "another of its class", "another test image"]
    errors_of = [rows[name]["reconstruction"] for name in order]
    assert errors_of == sorted(errors_of)
    assert rows[order[2]]["agreement"] < 15 < 90 < rows[order[1]]["agreement"]
    prior = rows["N(0, I)"]
    assert prior["code_energy_p"] > 0.1 and abs(prior["code_energy"]) < 0.3
    assert prior["code_ks"] == pytest.approx(0.87 / np.sqrt(len(test_NX)), rel=0.2)


# The experiment's parts, with maps whose figures are known.


class Keyed(NamedTuple):
    """As much of a state as the measures read."""

    key: Any


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """Codes may be drawn around R(x)."""

    reconstructor_std: float = 0.0


@pytest.fixture
def linear(monkeypatch):
    """A method whose G is linear and whose R is its exact inverse, or is constant."""
    matrix = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    inverse = np.linalg.inv(matrix.astype(np.float64)).astype(np.float32)

    def generate(state, z, *, config):
        del state, config
        with jax.default_matmul_precision("highest"):
            return z @ matrix

    def reconstruct(state, x, *, config):
        del state, config
        with jax.default_matmul_precision("highest"):
            return x @ inverse

    method = SimpleNamespace(
        Objective=Objective, generate=generate, reconstruct=reconstruct
    )
    monkeypatch.setitem(methods.METHODS, "linear", method)
    monkeypatch.setitem(
        methods.METHODS,
        "constant",
        SimpleNamespace(
            generate=lambda state, z, *, config: jnp.zeros((len(z), 64)) - 0.201,
            reconstruct=lambda state, x, *, config: jnp.zeros((len(x), 64)),
        ),
    )
    return lambda name, **changes: resolve.resolve(
        name, "digits", "dense", latent_size=64, **changes
    )


def _score(config, of):
    state = Keyed(jax.random.key(3))
    inferred = codes.infer(state, of.test.image, config=config)
    return inferred, inference.score(inferred, state, of, config)


def test_an_exact_inverse_has_no_error(linear, of):
    inferred, found = _score(linear("linear"), of)
    np.testing.assert_allclose(inferred.x_NX, inference.as_vectors(of.test), atol=1e-3)
    for name in ("reconstruction", "drawn_reconstruction", "latent"):
        assert found[name] < 1e-6, name
    assert found["agreement"] == 100
    np.testing.assert_array_equal(inferred.code_NZ, inferred.point_NZ)


def test_a_constant_has_the_errors_of_knowing_nothing(linear, of):
    _, found = _score(linear("constant"), of)
    test_NX = inference.as_vectors(of.test)
    assert found["reconstruction"] == pytest.approx(np.mean((test_NX - 0.3995) ** 2))
    assert found["latent"] == pytest.approx(1, abs=0.01)
    grey = np.full((1, 8, 8, 1), 102, np.uint8)
    label_N = classifiers.classify(of.classifier, of.test.image)
    share = np.mean(label_N == classifiers.classify(of.classifier, grey)[0])
    assert found["agreement"] == pytest.approx(100 * share)
    assert found["code_std"] == 0 and found["code_energy_p"] == 1 / 200


def test_codes_are_drawn_as_the_discriminator_sees_them(linear, of):
    """N(R(x), s^2 I) for VEEGAN: the noise has its scale and is fresh for each x."""
    config = linear("linear", reconstructor_std=0.25)
    inferred, found = _score(config, of)
    noise_NZ = (inferred.code_NZ - inferred.point_NZ) / 0.25
    assert stats.kstest(noise_NZ.ravel(), "norm").pvalue > 0.01
    assert np.abs(np.corrcoef(noise_NZ)[np.triu_indices(len(noise_NZ), 1)]).max() < 0.7
    assert found["reconstruction"] < 1e-6 < found["drawn_reconstruction"]
    assert found["code_std"] > found["point_std"]
    again = codes.infer(Keyed(jax.random.key(3)), of.test.image[:9], config=config)
    np.testing.assert_array_equal(again.code_NZ, inferred.code_NZ[:9])
    other = codes.infer(Keyed(jax.random.key(4)), of.test.image[:9], config=config)
    assert (other.code_NZ != again.code_NZ).all()
    # A second chunk of images has other noise than the first.
    doubled = np.concatenate([of.test.image, of.test.image])
    twice = codes.infer(Keyed(jax.random.key(3)), doubled, config=config)
    noise_NZ = twice.code_NZ - twice.point_NZ
    assert (noise_NZ[:9] != noise_NZ[500:509]).all()


def test_alis_encoder_reads_noise():
    config = resolve.resolve("ali", "digits", "dense", **tiny.DENSE)
    assert codes.describe(config) == "R(noise, x), 3 noise inputs; point: noise 0"
    state = jax.tree.map(lambda leaf: leaf[0], base.init_seeds([5], config))
    x = images.load("digits", "test").image[:7]
    one = codes.infer(state, x, config=config)
    two = codes.infer(state.replace(key=jax.random.key(99)), x, config=config)
    np.testing.assert_array_equal(one.point_NZ, two.point_NZ)
    assert (one.code_NZ != two.code_NZ).all() and (one.code_NZ != one.point_NZ).all()


def test_the_latent_error_is_of_noisy_images():
    """R(G(z, noise)): G is given its noise, and z alone is asked back."""
    config = resolve.resolve("veegan", "digits", "dense", **tiny.DENSE)
    assert config.networks.generator_noise == 1
    state = jax.tree.map(lambda leaf: leaf[0], base.init_seeds([5], config))
    z_NZ, code_NZ = codes.recover(state, config=config, num=700)
    assert z_NZ.shape == code_NZ.shape == (700, 3)
    assert stats.kstest(np.ravel(z_NZ), "norm").pvalue > 0.01
    without = methods.get("veegan").generate(state, z_NZ, config=config)
    without = methods.get("veegan").reconstruct(state, without, config=config)
    assert not np.allclose(without, code_NZ, atol=1e-4)


def test_the_first_images_of_each_class():
    label_N = np.array([2, 0, 2, 2, 0, 1])
    chosen = inference.first_of_each_class(label_N)
    assert chosen.tolist() == [1, 4, 5, 0, 2]


# The experiment as a whole.


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("infer_mnist")


@pytest.mark.parametrize(
    ("flags", "message"),
    (
        (
            {"method": "gan"},
            "--method=gan has no reconstructor.*one of ali, mdgan, alice, veegan",
        ),
        ({"method": "vegan"}, "unknown method 'vegan': one of gan, pacgan, ali"),
        (
            {"dataset": "cifar10"},
            "--dataset=cifar10 must be one of mnist, d",
        ),
        ({"preset": "tiny"}, "unknown preset 'tiny': one of quick"),
        (
            {"networks": "ali"},
            "--networks=ali has layers for 32 x 32 pixels, digits has",
        ),
        ({"classifier": "none.npz"}, "none.npz.*python scripts/train_classifier.py"),
        ({"reconstructor_std": 0.5}, "--reconstructor_std: ali on digits has no such"),
        ({"seeds": 0}, "--seeds=0 must be at least 1"),
        ({"cpu_devices": 0}, "--cpu_devices=0 must be in"),
    ),
)
def test_bad_flags_are_refused_before_any_work(
    flags, message, script, classifier, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(script.distributed, "use_cpu_cores", lambda num: None)
    given = {"dataset": "digits", "method": "all", "classifier": str(classifier)}
    for name, value in (given | flags).items():
        monkeypatch.setattr(script.common_flags.flags.FLAGS[name], "value", value)
    with pytest.raises(errors.InputError, match=f"(?s){message}"):
        script.main()
    assert list(tmp_path.iterdir()) == []


def test_data_is_loaded_once_whatever_the_other_options(classifier, of):
    """A notebook of fifty runs would hold fifty copies."""
    others = options(classifier, seeds=3, interval=7, first_seed=5)
    assert inference.materials("digits", others) is of


def test_a_file_without_reconstruct_is_refused(
    script, classifier, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(methods, "METHODS", dict(methods.METHODS))
    monkeypatch.setattr(script.distributed, "start", lambda hosts: None)
    text = "from veegan_jax.methods import gan\n"
    text += "init, train_step, sample = gan.init, gan.train_step, gan.sample\n"
    (tmp_path / "mine.py").write_text(text)
    given = {"dataset": "digits", "method_file": "mine.py"}
    for name, value in (given | {"classifier": str(classifier)}).items():
        monkeypatch.setattr(script.common_flags.flags.FLAGS[name], "value", value)
    with pytest.raises(errors.InputError, match="mine has no function reconstruct"):
        script.main()
