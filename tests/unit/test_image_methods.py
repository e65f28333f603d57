"""The methods on images: networks against flax and plain Python, steps, devices.

The losses are those of test_methods.py; here is what convolutions, BatchNorm,
packing and mixed precision add.
"""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from veegan_jax import config as config_groups
from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.experiments import base
from veegan_jax.methods import base as method_base
from veegan_jax.networks import dcgan
from veegan_jax.presets import resolve
from veegan_jax.presets import stacked_mnist as stacked_mnist_presets
from veegan_jax.runtime import parallel

TINY = dict(
    steps=6,
    batch_size=8,
    latent_size=3,
    generator_widths=(4, 3, 2),
    reconstructor_widths=(2, 3),
    discriminator_widths=(2, 3),
    joint_widths=(3,),
    output_conv=True,
    ema=0.0,
    kernel_init="normal",
    schedule="constant",
)


def tiny(method, **changes):
    changes = TINY | changes
    return resolve.resolve(method, "stacked_digits", "quick", **changes)


def init(config):
    state = base.init_seeds([0], config)
    return jax.tree.map(lambda leaf: leaf[0], state)


def step(config):
    return jax.jit(
        functools.partial(methods.get(config.method).train_step, config=config)
    )


def leaves(one, other):
    return zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)


def images(generator, batch=8):
    return jnp.asarray(generator.uniform(-1, 1, size=(batch, 8, 8, 3)), jnp.float32)


def generator_by_flax(variables, z, config, stats=None):
    """G again from flax's own layers, BatchNorm by hand."""
    params = variables["params"]

    def norm(h, number):
        p = params[f"BatchNorm_{number}"]
        if stats is None:
            axes = tuple(range(h.ndim - 1))
            mean, var = h.mean(axes), h.var(axes)
        else:
            mean, var = (stats[f"BatchNorm_{number}"][k] for k in ("mean", "var"))
        shape = (1,) * (h.ndim - 1) + (-1,)
        h = (h - mean.reshape(shape)) / jnp.sqrt(var.reshape(shape) + 1e-5)
        return nn.relu(h * p["scale"].reshape(shape) + p["bias"].reshape(shape))

    widths = config.networks.generator_widths
    h = nn.Dense(2 * 2 * widths[0], use_bias=False).apply(
        {"params": params["Dense_0"]}, z
    )
    h = norm(h.reshape(-1, 2, 2, widths[0]), 0)
    for i, width in enumerate(widths[1:]):
        layer = nn.ConvTranspose(width, (3, 3), (2, 2), use_bias=False)
        h = norm(layer.apply({"params": params[f"ConvTranspose_{i}"]}, h), i + 1)
    return jnp.tanh(nn.Conv(3, (3, 3)).apply({"params": params["Conv_0"]}, h))


def test_the_generator_in_training_and_in_inference(generator):
    config = tiny("gan")
    state = init(config)
    state, _ = step(config)(state, images(generator))
    z = jnp.asarray(generator.normal(size=(5, 3)), jnp.float32)
    params, stats = state.params["generator"], state.batch_stats["generator"]
    train = jax.jit(functools.partial(method_base.apply_training, config.generator()))
    out, _ = train(params, stats, z)
    expected = generator_by_flax({"params": params}, z, config)
    np.testing.assert_allclose(out, expected, atol=2e-5)
    generate = jax.jit(functools.partial(methods.get("gan").generate, config=config))
    out = generate(state, z)
    expected = generator_by_flax({"params": params}, z, config, stats)
    np.testing.assert_allclose(out, expected, atol=2e-5)
    # In inference an example does not depend on its batch.
    alone = generate(state, jnp.tile(z[:1], (5, 1)))
    np.testing.assert_allclose(alone[:1], out[:1], atol=1e-6)


def test_z_of_another_size_is_refused():
    config = tiny("veegan")

    def z_of(size):
        return jax.ShapeDtypeStruct((2, size), jnp.float32)

    start = functools.partial(methods.get("veegan").init, config=config)
    state = jax.eval_shape(start, jax.random.key(0))
    generate = functools.partial(method_base.generate, config=config)
    for size in (3, 4):  # z, and z with the noise of G
        assert jax.eval_shape(generate, state, z_of(size)).shape == (2, 8, 8, 3)
    for size in (2, 5):
        with pytest.raises(errors.InputError, match=f"z has {size} columns; the lat"):
            jax.eval_shape(generate, state, z_of(size))


def test_the_sizes_of_dcgan():
    """28 -> 14 -> 7 -> 4 -> 2 and back, without a last convolution."""
    config = resolve.resolve("gan", "stacked_mnist", "paper")
    shapes = jax.eval_shape(
        functools.partial(methods.get("gan").init, config=config), jax.random.key(0)
    ).params
    g, d = shapes["generator"], shapes["discriminator"]
    assert g["Dense_0"]["kernel"].shape == (100, 2 * 2 * 512)
    kernels = [g[f"ConvTranspose_{i}"]["kernel"].shape for i in range(4)]
    widths = (512, 256, 128, 64, 3)
    assert kernels == [(5, 5, *widths[i : i + 2]) for i in range(4)]
    assert d["Conv_3"]["kernel"].shape == (5, 5, 256, 512)
    assert d["Dense_0"]["kernel"].shape == (2 * 2 * 512, 1)
    assert set(d) == {f"Conv_{i}" for i in range(4)} | {"Dense_0"} | {
        f"BatchMoments_{i}"
        for i in range(3)  # none after the first convolution
    }


def test_batch_moments_are_flax_batch_norm(generator):
    x = jnp.asarray(generator.normal(2.0, 3.0, size=(6, 4, 4, 3)), jnp.float32)
    ours, theirs = dcgan.BatchMoments(), nn.BatchNorm(use_running_average=False)
    variables = theirs.init(jax.random.key(0), x)
    expected, _ = theirs.apply(variables, x, mutable=["batch_stats"])
    actual = ours.apply({"params": variables["params"]}, x)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_packing_joins_neighbours_on_the_last_axis(generator):
    x = images(generator, batch=6)
    packed = method_base.pack(x, 3)
    assert packed.shape == (2, 8, 8, 9)
    for p in range(2):
        for m in range(3):
            np.testing.assert_array_equal(
                packed[p, ..., 3 * m : 3 * m + 3], x[3 * p + m]
            )
    z = jnp.arange(12.0).reshape(6, 2)
    np.testing.assert_array_equal(method_base.pack(z, 2), np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(method_base.pack(z, 1), z)


def run(config, data, mode, devices):
    """Two steps of one seed over some devices."""
    method = methods.get(config.method)

    def step(x_BHWC, state, axis_name):
        if axis_name is not None:
            size = config.batch_size // len(devices)
            first = jax.lax.axis_index(axis_name) * size
            x_BHWC = jax.lax.dynamic_slice_in_dim(x_BHWC, first, size)
        return method.train_step(state, x_BHWC, config=config, axis_name=axis_name)

    state = base.init_seeds([0], config)
    many = parallel.run_steps(step, 2, mode=mode, devices=devices, data=data)
    new, metrics = many(state)
    return jax.tree.map(np.asarray, (new.params, new.batch_stats, metrics))


# The other methods' steps differ in nothing that devices could disagree about.
@pytest.mark.slow
@pytest.mark.parametrize("method", ("pacgan", "veegan_plus", "hinge", "wgan_gp"))
def test_two_devices_equal_one(method, generator):
    """Moments of BatchNorm, packs and noise are those of the whole batch."""
    parts = {"critic_steps": 2} if method == "wgan_gp" else {}
    config = tiny(method, beta1=0.5, **parts)
    x = images(generator)
    params, stats, metrics = run(config, x, "none", jax.devices()[:1])
    split_params, split_stats, split_metrics = run(config, x, "pmap", jax.devices()[:2])
    for name, values in metrics.items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(split_metrics[name], values, rtol=1e-4, atol=1e-6)
    for a, b in leaves(split_stats, stats):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for a, b in leaves(split_params, params):
        # Adam's first steps are the gradient's sign: a sign lost is 2e-3.
        assert np.mean(np.abs(a - b) < 1e-4) > 0.97


def test_d_moves_on_every_second_step_if_told_so(generator):
    config, x = tiny("gan", discriminator_every=2), images(generator)
    states = [init(config)]
    update = step(config)
    for _ in range(3):
        states.append(update(states[-1], x)[0])

    def moved(before, after, name):
        both = leaves(before.params[name], after.params[name])
        return any(bool((a != b).any()) for a, b in both)

    pairs = list(itertools.pairwise(states))
    assert [moved(*p, "discriminator") for p in pairs] == [True, False, True]
    assert [moved(*p, "generator") for p in pairs] == [True, True, True]
    assert int(states[2].opt_state["discriminator"][0].count) == 1


@pytest.mark.parametrize("method", ("gan", "veegan_plus"))
def test_seeds_in_one_program_skip_d_and_take_turns_each_by_its_own_step(
    method, generator
):
    """One seed may be behind, as after it diverged: both of its turns are its own."""
    config, x = tiny(method, discriminator_every=2), images(generator)
    alone = step(config)
    states = [init(config)]
    states.append(alone(states[0], x)[0])
    update = functools.partial(methods.get(method).train_step, config=config)
    both = jax.jit(jax.vmap(update, (0, None)))
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *states)
    after, _ = both(stacked, x)
    for n, state in enumerate(states):
        expected, _ = alone(state, x)
        for a, b in leaves(after.params, expected.params):
            np.testing.assert_allclose(a[n], b, rtol=1e-4, atol=1e-5)
    # The branch is still one: `vmap` turns a `cond` on each seed's own flag into both.
    assert "stablehlo.case" in both.lower(stacked, x).as_text()
    always = functools.partial(methods.get(method).train_step, config=tiny(method))
    lowered = jax.jit(jax.vmap(always, (0, None))).lower(stacked, x)
    assert "stablehlo.case" not in lowered.as_text()


@pytest.mark.slow
def test_bfloat16_is_float32_up_to_its_rounding(generator):
    """Activations only: parameters, moments and losses stay float32."""
    x, out = images(generator), {}
    for dtype in ("float32", "bfloat16"):
        config = tiny("gan", dtype=dtype)
        state, metrics = step(config)(init(config), x)
        kinds = {leaf.dtype for leaf in jax.tree.leaves(state.params)}
        assert kinds == {jnp.dtype("float32")}
        out[dtype] = metrics
    for name, value in out["float32"].items():
        np.testing.assert_allclose(out["bfloat16"][name], value, rtol=0.03, atol=0.02)
        assert out["bfloat16"][name] != value  # it did run in bfloat16


def test_a_reconstructor_keeps_moments_of_real_images(generator):
    config = tiny("veegan")
    x = images(generator)
    state = init(config)
    new, _ = step(config)(state, x)
    r = config.reconstructor()
    stats = state.batch_stats["reconstructor"]
    train = jax.jit(functools.partial(method_base.apply_training, r))
    _, expected = train(state.params["reconstructor"], stats, x)
    for a, b in leaves(new.batch_stats["reconstructor"], expected):
        np.testing.assert_allclose(a, b, atol=1e-6)
    reconstruct = methods.get("veegan").reconstruct
    reconstruct = jax.jit(functools.partial(reconstruct, config=config))
    codes = reconstruct(new, x)
    assert codes.shape == (8, 3)
    alone = reconstruct(new, jnp.tile(x[:1], (8, 1, 1, 1)))
    np.testing.assert_allclose(alone[:1], codes[:1], atol=1e-5)


def test_presets_are_complete_and_the_same_for_all_but_their_own():
    for preset in stacked_mnist_presets.PRESETS:
        configs = [resolve.resolve(m, "stacked_mnist", preset) for m in methods.METHODS]
        sizes = {c.batch_size // c.objective.batch_parts[1] for c in configs}
        assert len(sizes) == 1, preset
        if preset == "paper":  # of two papers
            of_meg = {c.latent_size for c in configs if c.method in ("wgan_gp", "meg")}
            assert of_meg == {128}
            configs = [c for c in configs if c.method not in ("wgan_gp", "meg")]
        shared = ("steps", "latent_size", "generator_widths")
        for field in (*shared, "discriminator_widths", "num_stacks"):
            values = {config_groups.get(c, field) for c in configs}
            assert len(values) == 1, (preset, field)
