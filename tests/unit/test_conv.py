"""Convolutions as matrix products, against flax's own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from veegan_jax.networks import conv

CASES = [
    # size, kernel, stride, channels in, channels out: few and many, odd and even
    (7, 3, 2, 3, 5),
    (6, 5, 2, 4, 18),
    (5, 3, 1, 3, 2),
    (4, 4, 3, 2, 3),
    (5, 4, 1, 20, 3),
    (6, 5, 1, 18, 4),
    (7, 1, 2, 3, 17),
    (5, 2, 3, 17, 17),
]


def both(ours, theirs, x, generator):
    """Values of both modules, and their gradients in x and the parameters."""
    variables = jax.jit(theirs.init)(jax.random.key(0), x)
    ours_variables = jax.jit(ours.init)(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, ours_variables, variables)
    bias = generator.normal(size=theirs.features).astype(np.float32)
    variables = {"params": variables["params"] | {"bias": jnp.asarray(bias)}}
    out = []
    for module in (ours, theirs):

        def loss(variables, x, module=module):
            y = module.apply(variables, x)
            return jnp.sum(jnp.sin(y)), y

        grad = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
        out.append(grad(variables, x))
    return out


def assert_close(ours, theirs):
    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * np.abs(b).max())

    jax.tree.map(close, ours, theirs)


@pytest.mark.parametrize(("size", "k", "stride", "c", "o"), CASES)
def test_conv_is_flax_conv(size, k, stride, c, o, generator):
    x = jnp.asarray(generator.normal(size=(2, size, size + 1, c)), jnp.float32)
    ours, theirs = both(
        conv.Conv(o, k, stride), nn.Conv(o, (k, k), (stride, stride)), x, generator
    )
    assert_close(ours, theirs)


@pytest.mark.parametrize(("size", "k", "stride", "c", "o"), CASES)
def test_conv_transpose_is_flax_conv_transpose(size, k, stride, c, o, generator):
    x = jnp.asarray(generator.normal(size=(2, size, size + 1, c)), jnp.float32)
    whole = (size * stride, (size + 1) * stride)
    ours, theirs = both(
        conv.ConvTranspose(o, k, stride, whole),
        nn.ConvTranspose(o, (k, k), (stride, stride)),
        x,
        generator,
    )
    assert_close(ours, theirs)


@pytest.mark.parametrize("channels", (2, 20))
def test_a_cropped_transpose_is_the_transpose_of_the_convolution(channels, generator):
    """4 -> 7 rows, as DCGAN's generator needs them; flax alone gives 8."""
    kernel = jnp.asarray(generator.normal(size=(3, 3, 5, channels)), jnp.float32)
    y = jnp.asarray(generator.normal(size=(2, 4, 4, 5)), jnp.float32)
    like = jnp.zeros((2, 7, 7, channels))
    turned = kernel[::-1, ::-1].swapaxes(2, 3)

    def down(x):
        return jax.lax.conv_general_dilated(
            x, turned, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    expected = jax.vjp(down, like)[1](y)[0]
    actual = conv.conv_transpose(y, kernel, 2, (7, 7))
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("stride", "c", "o"), ((2, 2, 3), (2, 2, 16), (2, 17, 17), (1, 4, 3))
)
def test_second_derivatives_and_vmap(stride, c, o, generator):
    """A penalty on the slope needs the one; seeds in one program the other."""
    x = jnp.asarray(generator.normal(size=(3, 2, 6, 6, c)), jnp.float32)
    kernel = jnp.asarray(generator.normal(size=(3, 3, 3, c, o)), jnp.float32)

    def native(x, w, stride):
        return jax.lax.conv_general_dilated(
            x, w, (stride,) * 2, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def penalty_grad(f):
        def penalty(w, x):
            slope = jax.grad(lambda x: jnp.sum(jnp.sin(f(x, w, stride))))(x)
            return jnp.sum(slope**2)

        return jax.jit(jax.vmap(jax.grad(penalty, argnums=(0, 1))))(kernel, x)

    assert_close(penalty_grad(conv.conv), penalty_grad(native))
