"""When IvOM stops: what "converged" means, and generators without a gradient.

Dimension key: N images, Z latent, X values of an image.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from veegan_jax.common import errors
from veegan_jax.metrics import ivom as metric


def straight(linear_ZX, z_BZ):
    return z_BZ @ linear_ZX


def rounded(linear_ZX, z_BZ):
    return jnp.round(z_BZ @ linear_ZX)


def search(sample, x_NX, size, **options):
    options = dict(latent_size=size, value_range=None) | options
    key, devices = jax.random.key(0), jax.devices()[:1]
    return metric.ivom(sample, x_NX, key, devices=devices, **options)


@pytest.mark.parametrize(
    "least, median, most", [(1e-3, 0.01, (1e-3, 0.2)), (0.1, 1e-4, (-1e-4, 1e-4))]
)
def test_converged_is_as_near_the_minimum_as_documented(generator, least, median, most):
    """Against least squares in float64: converged, and yet above the minimum."""
    basis_XZ, _ = np.linalg.qr(generator.normal(size=(30, 8)))
    linear_ZX = np.float32((basis_XZ * np.geomspace(1, least, 8)).T)
    x_NX = generator.normal(size=(16, 8)) @ linear_ZX
    x_NX = np.float32(x_NX + 1e-3 * generator.normal(size=(16, 30)))
    result = search(Partial(straight, linear_ZX), x_NX, 8)
    _, rest_N, *_ = np.linalg.lstsq(np.float64(linear_ZX.T), np.float64(x_NX.T))
    assert result.converged_N.all() and not result.flat_NK.any()
    above_N = result.error_N / (rest_N / 30) - 1
    assert np.median(above_N) < median and most[0] < above_N.max() < most[1]


def test_a_gradient_of_zero_everywhere_is_said_and_has_not_converged(generator, caplog):
    linear_ZX = np.float32(generator.normal(size=(3, 5)))
    x_NX = np.float32(generator.normal(size=(4, 5)))
    for _ in range(2):  # as for several blocks of images
        result = search(Partial(rounded, linear_ZX), x_NX, 3)
    (message,) = [r.getMessage() for r in caplog.records]
    assert "gradient is zero at every start, so nothing was searched" in message
    assert result.flat_NK.all() and not result.converged_N.any()
    start_NZ = metric.draw_starts(jax.random.key(0), np.arange(4), 3, 3)
    error_NK = np.mean((np.round(start_NZ @ linear_ZX) - x_NX[:, None]) ** 2, axis=2)
    np.testing.assert_allclose(result.error_N, error_NK.min(axis=1), rtol=1e-5)


def test_a_start_at_the_minimum_has_converged(generator, caplog):
    linear_ZX = np.float32(generator.normal(size=(3, 5)))
    z_NKZ = np.float32([[[1, 0, 0]], [[0, 0, 0]]])
    x_NX = np.float32([linear_ZX[0], np.ones(5)])
    result = search(Partial(straight, linear_ZX), x_NX, 3, start_z_NKZ=z_NKZ)
    assert result.error_N[0] == 0 and result.iterations_N[0] == 0
    assert result.converged_N.all() and not result.flat_NK.any()
    assert not caplog.records


@pytest.mark.parametrize("kind", (jnp.uint8, jnp.int32, jnp.bool_))
def test_integers_are_refused(kind):
    def whole(z_BZ):
        return (255 * z_BZ).astype(kind)

    message = f"the generator makes {np.dtype(kind)}, which has no gradient; give float"
    with pytest.raises(errors.InputError, match=message):
        search(whole, np.ones((2, 3), np.float32), 3)


def test_a_generator_of_nan_is_refused():
    def broken(z_BZ):
        return jnp.log(-1 - z_BZ**2)

    with pytest.raises(errors.InputError, match=r"makes NaN or infinity of every z"):
        search(broken, np.ones((2, 3), np.float32), 3)
