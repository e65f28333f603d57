"""JAX's settings change no number; those that would are refused in one message."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from lgan_jax import autoencoder
from lgan_jax.samplers import affine, lgan
from veegan_jax.common import errors
from veegan_jax.data import mixtures
from veegan_jax.methods import bures, gdpp
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.metrics import sliced_wasserstein
from veegan_jax.metrics import stacked_mnist as stacked_mnist_metrics
from veegan_jax.networks import mlp
from veegan_jax.runtime import numerics, rng

CONTEXTS = {
    "x64": lambda: jax.enable_x64(True),
    "rbg": lambda: jax.default_prng_impl("rbg"),
    "unsafe_rbg": lambda: jax.default_prng_impl("unsafe_rbg"),
    "strict": lambda: jax.numpy_dtype_promotion("strict"),
}


@numerics.standard
def _noise(key, scale):
    """Promotes int32 and a float, takes a default type, and draws."""
    steps = jnp.arange(3) / 7
    return {"x": scale * rng.normal(key, (3, 2)) + jnp.zeros((3, 2)), "steps": steps}


@pytest.mark.parametrize("name", CONTEXTS)
def test_numbers_and_types_are_those_of_the_default(name):
    expected = jax.jit(_noise)(jax.random.key(3), np.float64(0.1))
    with CONTEXTS[name]():
        found = jax.jit(_noise)(jax.random.key(3), jnp.asarray(0.1))
    assert {found["x"].dtype, found["steps"].dtype} == {jnp.dtype("float32")}
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_keys_of_another_kind_give_the_same_samples():
    ring = mixtures.get("ring")
    expected = mixtures.sample(ring, jax.random.key(5), 4)
    found = mixtures.sample(ring, jax.random.key(5, impl="rbg"), 4)
    np.testing.assert_array_equal(found, expected)
    with jax.default_prng_impl("rbg"):
        assert jax.random.key_impl(rng.key(5)) == jax.random.key_impl(
            jax.random.key(0, impl="threefry2x32")
        )


def test_the_settings_of_the_caller_stay():
    with jax.enable_x64(True), jax.default_prng_impl("rbg"):
        _noise(jax.random.key(0), 1.0)
        assert jnp.zeros(1).dtype == jnp.float64
        assert str(jax.random.key_impl(jax.random.key(0))) == "rbg"


def test_the_older_threefry_is_refused():
    with (
        jax.threefry_partitionable(False),
        pytest.raises(errors.InputError, match="JAX_THREEFRY_PARTITIONABLE=0 gives"),
    ):
        _noise(jax.random.key(0), 1.0)


def test_what_is_undefined_stops_no_search_for_mistakes():
    ring = mixtures.get("ring")
    with jax.debug_nans(True), jax.debug_infs(True):
        metrics = mixture_metrics.evaluate(jnp.full((4, 2), 9.0), ring)
        assert np.isnan(metrics["spread"]) and metrics["modes"] == 0
        with pytest.raises(FloatingPointError):
            jnp.log(jnp.zeros(1))


@pytest.fixture
def restored():
    names = [*numerics._NEEDED, "jax_threefry_partitionable", "jax_disable_jit"]
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.usefixtures("restored")
def test_scripts_set_back_what_their_numbers_need():
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_prng_impl", "rbg")
    jax.config.update("jax_threefry_partitionable", False)
    numerics.pin()
    assert jnp.zeros(1).dtype == jnp.float32
    assert str(jax.random.key_impl(jax.random.key(0))) == "threefry2x32"
    assert jax.config.jax_threefry_partitionable


@pytest.mark.usefixtures("restored")
def test_scripts_refuse_to_run_uncompiled():
    jax.config.update("jax_disable_jit", True)
    with pytest.raises(errors.InputError, match="JAX_DISABLE_JIT is set, and a run"):
        numerics.pin()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (AssertionError(), "there is no such device"),
        (RuntimeError("Unknown backend (set JAX_PLATFORMS='')"), "Unknown backend"),
    ],
)
def test_a_platform_without_devices_is_one_message(monkeypatch, error, why):
    assert numerics.missing_platform() == ""

    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    message = f"JAX_PLATFORMS=cpu: {why}; unset it, or give cpu"
    assert numerics.missing_platform() == message


def test_names_of_the_caller_keep_their_order():
    """A sweep's variants follow from it."""
    assert numerics.standard(list)({"b": 1, "a": 2}) == ["b", "a"]


PRODUCTS = {  # a function with products that are no network's, and an argument
    "Bures distance": (lambda x: bures.distance(x, x[::-1]), (4, 3)),
    "GDPP": (lambda x: gdpp.diversity(x, x[::-1]), (4, 3)),
    "Fourier features": (
        lambda x: mlp.FourierFeatures(2, 9.0).init_with_output(jax.random.key(0), x, 1),
        (4, 2),
    ),
    "sliced Wasserstein": (lambda x: sliced_wasserstein.distance(x, x + 1), (4, 3)),
    "Vendi score": (stacked_mnist_metrics.vendi, (4, 3)),
    "effective dimension": (
        lambda y: autoencoder.effective_dimension(y, jnp.ones(4)),
        (4, 3),
    ),
    "orthogonality": (lgan.orthogonality, (4, 3, 5)),
    "affine": (lambda x: affine.sample(jax.random.key(0), x), (2, 5, 5, 1)),
}


def _dots(jaxpr: core.Jaxpr) -> Iterator[object]:
    """The precision of every matrix product in a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for inner in core.jaxprs_in_params(equation.params):
            yield from _dots(inner)


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_outside_of_networks_are_exact(name):
    """GPUs round the factors of others to 11 bits, TPUs to 8; CPUs cannot tell."""
    function, shape = PRODUCTS[name]
    x = jax.random.normal(jax.random.key(0), shape)

    def loss(x):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(function(x)))

    dots = list(_dots(jax.make_jaxpr(jax.value_and_grad(loss))(x).jaxpr))
    assert dots
    assert set(dots) == {(jax.lax.Precision.HIGHEST,) * 2}


def test_with_factors_of_11_bits_the_root_of_bures_diverges():
    """An eigenvalue that should be 0 is then below 0, and grows in each iteration."""

    def product(a, b):
        return np.matmul(*(x * 8193 - (x * 8193 - x) for x in (a, b)))

    cross = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    matrix, eye = product(cross, cross.T), np.eye(32, dtype=np.float32)
    norm = np.linalg.norm(matrix)
    root, inverse = matrix / norm, eye
    for _ in range(bures.ITERATIONS):
        change = 0.5 * (3 * eye - product(inverse, root))
        root, inverse = product(root, change), product(change, inverse)
    expected = np.linalg.svd(cross, compute_uv=False).sum()
    assert np.trace(root) * norm**0.5 < -expected  # and no root has a trace below 0
    assert bures.trace_of_root(cross @ cross.T) == pytest.approx(expected, rel=0.01)
