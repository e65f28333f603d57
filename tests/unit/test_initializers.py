"""The kernels that networks start from."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from veegan_jax.networks import mlp


@pytest.mark.parametrize(
    "shape", [(2, 128), (128, 128), (128, 2), (3, 3, 4, 20), (128, 1200), (1, 1)]
)
def test_orthogonal_kernels_are_flax_s(shape):
    found = jax.jit(lambda key: mlp.orthogonal(key, shape))(jax.random.key(5))
    expected = nn.initializers.orthogonal(1.4)(jax.random.key(5), shape)
    np.testing.assert_allclose(found, expected, atol=5e-6)
    matrix = np.asarray(found, float).reshape(-1, shape[-1])
    matrix = matrix if len(matrix) >= shape[-1] else matrix.T
    gram = matrix.T @ matrix / 1.4**2
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=2e-6)


@pytest.mark.parametrize("name", mlp.INITIALIZERS)
def test_no_initializer_waits_for_lapack(name):
    # Two of its calls at once may stop a machine of two cores for ever: `orthogonal`.
    draw = jax.vmap(lambda key: mlp.INITIALIZERS[name](key, (6, 5)))
    keys = jax.vmap(jax.random.key)(np.arange(2))
    assert "lapack" not in jax.jit(draw).lower(keys).as_text()
