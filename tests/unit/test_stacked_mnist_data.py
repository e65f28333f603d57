"""Stacks drawn on the device, against plain Python."""

import functools

import jax
import numpy as np
import pytest
from scipy import stats

from veegan_jax.data import images, pixels, stacked_mnist

N, B = 50, 4000


def indices(*args, **kwargs):
    return np.asarray(stacked_mnist.indices(N, *args, **kwargs))


@pytest.fixture
def digits(generator):
    return generator.integers(0, 256, size=(N, 8, 8), dtype=np.uint8)


@pytest.mark.parametrize(("num_stacks", "channels"), [(0, 3), (60, 3), (0, 4), (60, 4)])
def test_a_stack_has_digits_in_its_channels(digits, num_stacks, channels):
    draw = functools.partial(stacked_mnist.sample, jax.numpy.asarray(digits))
    sizes = dict(channels=channels, num_stacks=num_stacks)
    x = draw(jax.random.key(3), 40, **sizes)
    index = indices(jax.random.key(3), 40, **sizes)
    assert x.shape == (40, 8, 8, channels)
    for i in range(40):
        for channel in range(channels):
            expected = digits[index[i, channel]].astype(float) / 255 * 2 - 1
            np.testing.assert_allclose(x[i, :, :, channel], expected, atol=1e-6)


def test_fresh_stacks_are_uniform_and_their_channels_independent():
    index = indices(jax.random.key(0), B)
    for channel in range(3):
        counts = np.bincount(index[:, channel], minlength=N)
        assert stats.chisquare(counts).pvalue > 1e-3
    for a, b in ((0, 1), (0, 2), (1, 2)):
        pairs = np.histogram2d(index[:, a] % 5, index[:, b] % 5, bins=5)[0]
        assert stats.chi2_contingency(pairs).pvalue > 1e-3


def test_a_fixed_list_has_so_many_stacks_whatever_the_key():
    drawn = [
        {tuple(row) for row in indices(jax.random.key(seed), B, num_stacks=60).tolist()}
        for seed in (0, 1)
    ]
    assert drawn[0] == drawn[1]  # 4,000 draws see all 60
    assert len(drawn[0]) == 60


@pytest.mark.parametrize("num_stacks", (0, 60))
def test_devices_together_draw_what_one_draws(num_stacks):
    whole = indices(jax.random.key(5), 16, num_stacks=num_stacks)
    parts = jax.pmap(
        lambda _: stacked_mnist.indices(
            N, jax.random.key(5), 4, num_stacks=num_stacks, axis_name="batch"
        ),
        axis_name="batch",
        devices=jax.devices()[:4],
    )(np.zeros(4))
    np.testing.assert_array_equal(np.asarray(parts).reshape(16, 3), whole)


def test_quantise_undoes_scale():
    values = np.arange(256, dtype=np.uint8)
    back = pixels.to_uint8(pixels.to_float(jax.numpy.asarray(values)))
    np.testing.assert_array_equal(back, values)
    np.testing.assert_array_equal(
        pixels.to_uint8(jax.numpy.asarray([-3.0, 3.0])), [0, 255]
    )


def test_the_digits_stack_too():
    digits = images.load("digits", "train").image[..., 0]
    x = stacked_mnist.sample(jax.numpy.asarray(digits), jax.random.key(0), 5)
    assert x.shape == (5, 8, 8, 3)
    assert float(x.min()) == -1 and float(x.max()) == 1
