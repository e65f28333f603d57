"""Parts of the rivals' losses against closed forms.

Dimension key: B batch, F features.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from support import tiny

from veegan_jax.common import errors
from veegan_jax.methods import bures, gdpp, hinge, topk
from veegan_jax.networks import mlp
from veegan_jax.presets import resolve

# BuresGAN.


def test_newton_schulz_finds_the_trace_of_a_root():
    generator = np.random.default_rng(0)
    half = generator.normal(size=(7, 7))
    matrix = half @ half.T + 0.1 * np.eye(7)
    expected = np.trace(scipy.linalg.sqrtm(matrix).real)
    assert bures.trace_of_root(jnp.asarray(matrix, jnp.float32)) == pytest.approx(
        expected, rel=1e-4
    )
    zero = jnp.zeros((3, 3))
    assert bures.trace_of_root(zero) == 0  # collapsed samples
    assert np.isfinite(jax.grad(bures.trace_of_root)(zero)).all()


def test_the_bures_distance_is_that_of_the_covariances():
    generator = np.random.default_rng(1)
    real, fake = (generator.normal(size=(40, 3)) * s for s in ([1, 2, 3], [3, 1, 1]))
    a, b = (
        np.cov((x / np.linalg.norm(x, axis=1, keepdims=True)).T, bias=True)
        for x in (real, fake)
    )
    expected = np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    found = bures.distance(
        jnp.asarray(real, jnp.float32), jnp.asarray(fake, jnp.float32)
    )
    assert found == pytest.approx(expected, rel=1e-3)
    same = bures.distance(*2 * (jnp.asarray(real, jnp.float32),))
    assert same == pytest.approx(0, abs=1e-4)


# GDPP.


def test_the_gradient_of_eigenvectors_is_jaxs_where_eigenvalues_differ():
    generator = np.random.default_rng(2)
    half = generator.normal(size=(5, 5)).astype(np.float32)
    matrix, weights = half @ half.T, generator.normal(size=(5, 5)).astype(np.float32)

    def loss(eigh, matrix):
        values, vectors = eigh(0.5 * (matrix + matrix.T))
        return jnp.sum(weights[0] * values) + jnp.sum(weights * vectors**2)

    ours, jaxs = (
        jax.jit(jax.grad(lambda m, e=e: loss(e, m)))(matrix)
        for e in (gdpp.eigh, jnp.linalg.eigh)
    )
    np.testing.assert_allclose(ours, jaxs, rtol=1e-3, atol=1e-4)


def test_the_gradient_is_finite_where_most_eigenvalues_are_zero():
    """The authors' batch of 512 has 128 features, so 384 eigenvalues are equal."""
    generator = np.random.default_rng(3)
    real, fake = generator.normal(size=(2, 512, 128)).astype(np.float32)
    value, grad = jax.jit(jax.value_and_grad(gdpp.diversity, argnums=1))(real, fake)
    assert np.isfinite(value) and np.isfinite(grad).all()
    assert np.abs(grad).max() > 0


def test_equal_features_have_the_least_loss():
    """sum_i n_i, with the sign of every eigenvector's product 1."""
    feature = np.random.default_rng(4).normal(size=(6, 8)).astype(np.float32)
    unit = feature / np.linalg.norm(feature, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T)
    expected = -np.sum((values - values[0]) / (values[-1] - values[0]))
    assert gdpp.diversity(feature, feature) == pytest.approx(expected, rel=1e-4)


# Top-k.


def test_k_falls_from_the_batch_to_its_share_and_stays():
    config = resolve.resolve(
        "topk", "ring", steps=100, top_share=0.25, top_decay_end=0.5
    )
    found = [int(topk.kept(jnp.int32(step), 64, config)) for step in (0, 25, 50, 99)]
    assert found == [64, 32, 16, 16]


# Hinge, with spectral normalization.


def test_spectral_normalization_divides_by_the_largest_singular_value():
    network = mlp.MLP((6, 5), 1, spectral_norm=True, activation="leaky_relu")
    x = np.random.default_rng(5).normal(size=(9, 3)).astype(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), x)
    train = jax.jit(
        lambda v: network.apply(v, x, train=True, mutable=["batch_stats"])[1]
    )
    for _ in range(50):  # the iterations of as many steps
        variables = variables | train(variables)
    h = x
    for number in range(3):
        layer = variables["params"][f"Dense_{number}"]
        kernel = np.asarray(layer["kernel"], np.float64)
        h = h @ (kernel / np.linalg.svd(kernel)[1][0]) + np.asarray(layer["bias"])
        if number < 2:
            h = np.where(h > 0, h, 0.2 * h)
    np.testing.assert_allclose(network.apply(variables, x), h, rtol=1e-3, atol=1e-5)


def test_convolutions_are_normalized_too():
    config = resolve.resolve("hinge", "stacked_mnist", **tiny.STACKS)
    state = jax.jit(hinge.init, static_argnums=1)(jax.random.key(0), config)
    found = jax.tree_util.tree_leaves_with_path(state.batch_stats["discriminator"])
    names = {jax.tree_util.keystr(path) for path, _ in found}
    kernels = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            state.params["discriminator"]
        )
        if leaf.ndim > 1
    ]
    assert len(names) == 2 * len(kernels)  # u and sigma of each


def test_other_methods_keep_no_state_for_it():
    with pytest.raises(errors.InputError, match="--spectral_norm: gan keeps no state"):
        resolve.resolve("gan", "ring", spectral_norm=True)
