"""The public face: `make` binds a method's own functions to a configuration."""

import functools
import json
import types

import jax
import numpy as np
import pytest

import veegan_jax
from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.data import mixtures
from veegan_jax.methods import gan as gan_method
from veegan_jax.presets import resolve
from veegan_jax.runtime import rng

SMALL = dict(batch_size=8, generator_widths=(4,), discriminator_widths=(4,))


def batch(size: int = 8) -> jax.Array:
    return mixtures.sample(mixtures.get("ring"), jax.random.key(7), size)


def assert_equal(ours, theirs) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        if jax.numpy.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def test_bound_functions_are_the_methods_own():
    gan = veegan_jax.make("gan", "ring", **SMALL)
    state = jax.jit(gan.init)(jax.random.key(0))
    init = functools.partial(gan_method.init, config=gan.config)
    assert_equal(state, jax.jit(init)(jax.random.key(0)))
    step = functools.partial(gan_method.train_step, config=gan.config)
    assert_equal(jax.jit(gan.train_step)(state, batch()), jax.jit(step)(state, batch()))
    assert gan.sample(state, jax.random.key(1), 5).shape == (5, 2)


def test_numbers_of_numpy_and_lists_make_the_same_configuration():
    """A record and a work directory hold them as JSON."""
    ours = veegan_jax.make(
        "gan", "ring", batch_size=np.int64(8), generator_widths=[np.int32(4)], steps=9
    ).config
    theirs = resolve.resolve(
        "gan", "ring", batch_size=8, generator_widths=(4,), steps=9
    )
    assert ours == theirs
    assert json.dumps(configs.to_json(ours)) == json.dumps(configs.to_json(theirs))


def test_keys_of_the_older_kind_are_taken():
    gan = veegan_jax.make("gan", "ring", **SMALL)
    older, typed = jax.random.PRNGKey(3), jax.random.key(3)
    states = [jax.eval_shape(gan.init, key) for key in (older, typed)]
    assert states[0] == states[1]
    np.testing.assert_array_equal(
        jax.random.key_data(rng.typed(older)), jax.random.key_data(typed)
    )


def test_steps_run_in_a_scan_and_under_pmap():
    gan = veegan_jax.make("veegan", "ring", reconstructor_widths=(4,), **SMALL)
    state = jax.jit(gan.init)(jax.random.key(0))

    def body(state, _):
        return gan.train_step(state, batch())

    scanned, metrics = jax.jit(lambda s: jax.lax.scan(body, s, length=2))(state)
    assert int(scanned.step) == 2 and metrics["loss_d"].shape == (2,)
    one, _ = jax.jit(gan.train_step)(state, batch())
    parallel = jax.pmap(
        functools.partial(gan.train_step, axis_name="batch"),
        axis_name="batch",
        in_axes=(None, 0),
        out_axes=None,
        devices=jax.devices()[:2],
    )
    two, _ = parallel(state, np.reshape(batch(), (2, 4, 2)))
    for a, b in zip(
        jax.tree.leaves(one.opt_state), jax.tree.leaves(two.opt_state), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)


def test_latents_go_to_samples_and_back():
    gan = veegan_jax.make("veegan_plus", "grid", reconstructor_widths=(4,), **SMALL)
    state = jax.jit(gan.init)(jax.random.key(0))
    z_BZ = np.zeros((3, 2), np.float32)
    x_BX = gan.generate(state, z_BZ)
    assert x_BX.shape == (3, 2)
    assert gan.reconstruct(state, x_BX).shape == (3, 2)


def test_a_method_without_a_reconstructor_says_so():
    gan = veegan_jax.make("gan", "ring", **SMALL)
    with pytest.raises(errors.InputError, match="gan has no reconstructor"):
        gan.reconstruct(jax.jit(gan.init)(jax.random.key(0)), batch())


def test_a_method_without_generate_says_so(monkeypatch):
    only_samples = types.SimpleNamespace(
        init=gan_method.init, train_step=None, sample=gan_method.sample
    )
    monkeypatch.setitem(methods.METHODS, "mine", only_samples)
    gan = veegan_jax.make("mine", "ring", **SMALL)
    with pytest.raises(errors.InputError, match=r"mine has no generate\(state, z"):
        gan.generate(jax.jit(gan.init)(jax.random.key(0)), np.zeros((1, 2), np.float32))


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (("wgan", "ring"), {}, "unknown method 'wgan': one of gan, pacgan"),
        (("gan", "rung"), {}, "unknown dataset 'rung': one of ring, grid"),
        (("gan", "ring", "fast"), {}, "unknown preset 'fast': one of quick"),
        (("gan", "ring"), {"gamma": 1.0}, "--gamma: gan on ring has no such setting"),
        (("gan", "ring"), {"steps": 0}, "--steps=0 must be at least 1"),
        (("gan", "ring"), {"size": 3}, "--size=3: it follows from --dataset=ring"),
    ],
)
def test_mistakes_are_named(names, changes, message):
    with pytest.raises(errors.InputError) as raised:
        veegan_jax.make(*names, **changes)
    assert message in str(raised.value)
