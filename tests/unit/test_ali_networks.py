"""ALI's networks of CIFAR-10 and dropout, against plain loops and closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from veegan_jax import methods
from veegan_jax.experiments import base
from veegan_jax.methods import base as method_base
from veegan_jax.networks import ali, mlp
from veegan_jax.presets import resolve
from veegan_jax.runtime import parallel, rng


def shapes(method="ali"):
    config = resolve.resolve(method, "cifar10", "paper")
    init = functools.partial(methods.get(method).init, config=config)
    return jax.eval_shape(init, jax.random.key(0)).params


def test_the_published_sizes():
    """Dumoulin et al. 2017, table 3: kernels, channels, and one position in the end."""
    params = shapes()
    g, r, d = (params[n] for n in ("generator", "reconstructor", "discriminator"))
    widths = (64, 256, 128, 64, 32, 32, 32)
    kernels = (4, 4, 4, 4, 5, 1)
    for i, kernel in enumerate(kernels):
        expected = (kernel, kernel, *widths[i : i + 2])
        assert g[f"ConvTranspose_{i}"]["kernel"].shape == expected
    assert g["Conv_0"]["kernel"].shape == (1, 1, 32, 3)
    widths = (3, 32, 64, 128, 256, 512, 512)
    for i, kernel in enumerate((5, 4, 4, 4, 4, 1)):
        expected = (kernel, kernel, *widths[i : i + 2])
        assert r[f"Conv_{i}"]["kernel"].shape == expected
    assert r["Conv_6"]["kernel"].shape == (1, 1, 512, 128)  # mean and log std of 64
    assert d["Conv_4"]["kernel"].shape == (4, 4, 256, 2 * 512)
    assert d["Conv_6"]["kernel"].shape == (1, 1, 512, 2 * 512)  # of z
    assert d["Dense_0"]["kernel"].shape == (1024, 2 * 1024)
    assert d["Dense_2"]["kernel"].shape == (1024, 1)


def test_images_and_codes_have_their_sizes():
    z = jax.ShapeDtypeStruct((5, 64), jnp.float32)
    x = jax.ShapeDtypeStruct((5, 32, 32, 3), jnp.float32)
    key = jax.random.key(0)
    for module, inputs, expected in (
        (ali.Generator(3), (z,), (5, 32, 32, 3)),
        (ali.Encoder(64), (x,), (5, 64)),
        (ali.Encoder(64), (z, x), (5, 64)),
        (ali.Discriminator(0.5), (z, x), (5, 1)),
        (ali.Discriminator(0.5), (x,), (5, 1)),
    ):
        out, _ = jax.eval_shape(module.init_with_output, key, *inputs)
        assert out.shape == expected


def test_the_encoder_adds_its_noise_by_its_own_deviation(generator, monkeypatch):
    monkeypatch.setattr(ali, "ENCODER", ((5, 1, 2), (28, 1, 3)))
    module = ali.Encoder(4)
    x = jnp.asarray(generator.normal(size=(3, 32, 32, 3)), jnp.float32)
    noise = jnp.asarray(generator.normal(size=(3, 4)), jnp.float32)
    variables = module.init(jax.random.key(0), x)
    encode = jax.jit(module.apply)
    mean, one = encode(variables, x), encode(variables, noise, x)
    two = encode(variables, 2 * noise, x)
    np.testing.assert_allclose(encode(variables, 0 * noise, x), mean, atol=1e-6)
    np.testing.assert_allclose(two - mean, 2 * (one - mean), atol=1e-5)
    assert ((one - mean) / noise > 0).all()  # a standard deviation


def test_the_discriminator_by_plain_loops(generator, monkeypatch):
    """Unpadded convolutions with strides and maxout, without dropout."""
    monkeypatch.setattr(ali, "JUDGE", ((5, 1, 2), (4, 2, 3), (13, 1, 2)))
    x = generator.normal(size=(2, 32, 32, 3)).astype(np.float32)
    module = ali.Discriminator(0.0)
    variables = module.init(jax.random.key(1), x)
    p = jax.tree.map(np.asarray, variables["params"])

    def maxout(h):
        return np.maximum(h[..., 0::2], h[..., 1::2])

    h = x
    for i, (k, stride, width) in enumerate(ali.JUDGE):
        kernel, size = p[f"Conv_{i}"]["kernel"], (h.shape[1] - k) // stride + 1
        out = np.zeros((2, size, size, 2 * width))
        for a in range(size):
            for b in range(size):
                rows, columns = (slice(stride * n, stride * n + k) for n in (a, b))
                patch = h[:, rows, columns]
                out[:, a, b] = np.tensordot(patch, kernel, 3) + p[f"Conv_{i}"]["bias"]
        h = maxout(out)
    h = h.reshape(2, -1)
    for i in range(3):
        h = h @ p[f"Dense_{i}"]["kernel"] + p[f"Dense_{i}"]["bias"]
        h = maxout(h) if i < 2 else h
    np.testing.assert_allclose(module.apply(variables, x), h, rtol=1e-4, atol=1e-7)


def test_dropout_keeps_its_share_and_the_mean():
    layer = mlp.Dropout(0.3)
    x = jnp.ones((500, 40))
    apply = jax.jit(lambda key: layer.apply({}, x, rngs={"dropout": key}))
    out = np.asarray(apply(jax.random.key(0)))
    assert set(np.unique(out)) == {0, np.float32(1 / 0.7)}
    kept = int((out > 0).sum())
    assert stats.binomtest(kept, out.size, 0.7).pvalue > 1e-3
    assert (out != np.asarray(apply(jax.random.key(1)))).mean() > 0.3
    assert (out[0] != out[1]).any()
    np.testing.assert_array_equal(mlp.Dropout(0.0).apply({}, x), x)


def test_what_dropout_keeps_is_a_function_of_the_global_row():
    key = jax.random.key(7)
    whole = np.asarray(rng.keep(key, (8, 5), 0.5))

    def draw(_):
        return rng.keep(key, (2, 5), 0.5, axis_name="batch")

    shards = jax.vmap(draw, axis_name="batch")(np.arange(4))
    np.testing.assert_array_equal(np.concatenate(np.asarray(shards)), whole)
    assert 0 < whole.sum() < 40


@pytest.mark.slow
def test_two_devices_equal_one_with_dropout(generator):
    config = resolve.resolve(
        "ali",
        "digits",
        "dense",
        steps=6,
        batch_size=8,
        latent_size=3,
        generator_widths=(5,),
        reconstructor_widths=(5,),
        discriminator_widths=(40,),
    )
    assert config.networks.dropout == 0.5
    x = jnp.asarray(generator.uniform(-1, 1, size=(8, 64)), jnp.float32)

    def run(mode, devices):
        def step(x_BX, state, axis_name):
            if axis_name is not None:
                first = jax.lax.axis_index(axis_name) * 4
                x_BX = jax.lax.dynamic_slice_in_dim(x_BX, first, 4)
            train_step = methods.get("ali").train_step
            return train_step(state, x_BX, config=config, axis_name=axis_name)

        state = base.init_seeds([0], config)
        many = parallel.run_steps(step, 2, mode=mode, devices=devices, data=x)
        return jax.tree.map(np.asarray, many(state)[1])

    one, two = run("none", jax.devices()[:1]), run("pmap", jax.devices()[:2])
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-4, atol=1e-6)
    # D did drop: without dropout the same step has another loss.
    state = jax.tree.map(lambda leaf: leaf[0], base.init_seeds([0], config))
    undropped = config.replace(dropout=0.0)
    step = functools.partial(methods.get("ali").train_step, config=undropped)
    _, metrics = jax.jit(step)(state, x)
    assert abs(metrics["loss_d"] - one["loss_d"][0, 0]) > 1e-4


def test_a_step_of_the_published_networks_is_possible():
    """Abstractly: shapes and types of a step of ALI's networks agree."""
    config = resolve.resolve("ali", "cifar10", "paper", batch_size=4)
    method = methods.get("ali")
    init = functools.partial(method.init, config=config)
    state = jax.eval_shape(init, jax.random.key(0))
    step = functools.partial(method.train_step, config=config)
    x = jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.float32)
    new, metrics = jax.eval_shape(step, state, x)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, state)
    assert set(metrics) == {"loss_d", "loss_gr"}
    z = jax.ShapeDtypeStruct((4, 64), jnp.float32)
    sample = functools.partial(method_base.generate, config=config)
    assert jax.eval_shape(sample, state, z).shape == (4, 32, 32, 3)
