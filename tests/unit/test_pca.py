"""PCA by the smaller side: N x N for fewer images than values, else the covariance.

Dimension key: N images, X values of an image, K components.
"""

import numpy as np
import pytest
import scipy.linalg

from veegan_jax.common import errors
from veegan_jax.metrics import baselines, pca


def by_covariance(x_NX, components):
    """What `pca.fit` does for more images than values, in float64."""
    centred_NX = x_NX - x_NX.mean(axis=0)
    value_X, vector_XX = np.linalg.eigh(centred_NX.T @ centred_NX / (len(x_NX) - 1))
    std_X = np.sqrt(np.maximum(value_X, 0))
    return vector_XX[:, ::-1][:, :components], std_X[::-1][:components]


@pytest.mark.parametrize("components", (1, 7, 39))
def test_fewer_images_than_values_have_the_same_components(generator, components):
    mixing_XX = generator.normal(size=(90, 90)) * np.geomspace(1, 1e-3, 90)
    x_NX = generator.normal(size=(40, 90)) @ mixing_XX.T + 3
    test_MX = generator.normal(size=(9, 90)) @ mixing_XX.T + 3
    model = pca.fit(x_NX, components, min_share=0.0)
    vector_XK, std_K = by_covariance(x_NX, components)
    np.testing.assert_allclose(model.std_K, std_K, rtol=1e-7)
    cosine_K = np.abs(np.sum(model.vector_XK * vector_XK, axis=0))
    np.testing.assert_allclose(cosine_K, 1, rtol=1e-7)
    gram_KK = model.vector_XK.T @ model.vector_XK
    np.testing.assert_allclose(gram_KK, np.eye(components), atol=1e-12)
    rest_MX = test_MX - x_NX.mean(axis=0)
    rest_MX -= rest_MX @ vector_XK @ vector_XK.T
    found_M = baselines.pca_errors(x_NX, test_MX, components)
    np.testing.assert_allclose(found_M, np.mean(rest_MX**2, axis=1), rtol=1e-7)


def test_no_matrix_of_all_values_is_made(generator, monkeypatch):
    sizes = []
    eigh = scipy.linalg.eigh

    def noted(matrix, **options):
        sizes.append(len(matrix))
        return eigh(matrix, **options)

    monkeypatch.setattr(scipy.linalg, "eigh", noted)
    monkeypatch.setattr(np.linalg, "eigh", None)
    x_NX = generator.normal(size=(12, 3000))
    np.testing.assert_allclose(baselines.pca_errors(x_NX, x_NX, 11), 0, atol=1e-20)
    assert sizes == [12]


def test_repeated_images_and_a_single_one(generator):
    x_NX = np.repeat(generator.normal(size=(3, 20)), 4, axis=0)
    np.testing.assert_allclose(baselines.pca_errors(x_NX, x_NX, 11), 0, atol=1e-20)
    assert len(pca.fit(x_NX, 11).std_K) == 2  # three images span two dimensions
    one_1X, two_2X = x_NX[:1], x_NX[[0, 4]]
    found_M = baselines.pca_errors(one_1X, two_2X, 0)
    np.testing.assert_allclose(found_M, np.mean((two_2X - one_1X) ** 2, axis=1))


@pytest.mark.parametrize("size", (9, 50))
def test_rounding_noise_is_no_component(generator, size):
    """Of repeated images, PCA spans what one copy of each spans."""
    one_4X = generator.normal(size=(4, size))
    test_MX = generator.normal(size=(6, size))
    found_M = baselines.pca_errors(np.repeat(one_4X, 5, axis=0), test_MX, 9)
    expected_M = baselines.pca_errors(one_4X, test_MX, 3)
    np.testing.assert_allclose(found_M, expected_M, rtol=1e-9)


@pytest.mark.parametrize("value", (np.nan, np.inf))
def test_images_that_are_not_finite_are_named(generator, value):
    x_NX = generator.normal(size=(5, 8))
    bad_NX = x_NX.copy()
    bad_NX[1, 2] = value
    for measure in (
        baselines.mean_image_errors,
        lambda *images: baselines.pca_errors(*images, 2),
    ):
        with pytest.raises(errors.InputError, match="1 of 5 training images hold NaN"):
            measure(bad_NX, x_NX)
        with pytest.raises(errors.InputError, match="1 of 5 test images hold NaN"):
            measure(x_NX, bad_NX)


@pytest.mark.parametrize("num", (20, 5))
def test_centring_in_place_has_the_same_bits_and_spares_a_copy(generator, num):
    x_NX = generator.normal(size=(num, 9)) + 3
    test_MX, kept_NX = generator.normal(size=(4, 9)), x_NX.copy()
    errors_M = baselines.pca_errors(x_NX, test_MX, 3)
    np.testing.assert_array_equal(x_NX, kept_NX)  # the caller's own
    model, own_NX = pca.fit(x_NX, 3, min_share=1e-12), x_NX.copy()
    in_place = pca.fit(own_NX, 3, min_share=1e-12, overwrite=True)
    np.testing.assert_array_equal(in_place.vector_XK, model.vector_XK)
    np.testing.assert_array_equal(in_place.std_K, model.std_K)
    np.testing.assert_array_equal(own_NX, x_NX - model.mean_X)
    expected_M = np.mean((test_MX - model.reconstruct(test_MX)) ** 2, axis=1)
    np.testing.assert_array_equal(errors_M, expected_M)
