"""Every method's step against its equations, written out slowly.

The references are those of `equations.py`, and Adam in NumPy. Gradients are read off
Adam's first moment, m' = beta1 m + (1 - beta1) g, in the second step, when the moments,
the schedules and the averages of the first are in play.

One file, since most tests share the compiled steps.

Dimension key: B batch, Z latent, E noise inputs, X data dimensions.
"""

import functools
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import equations, plain_networks
from support.method_cases import CASES, B, X, Z

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.methods import base, gan
from veegan_jax.runtime import rng

# Two steps of each case on given noise.


def noise_shapes(config):
    """The noise that a step draws, in the order of the references."""
    shapes = [(B, Z + config.networks.generator_noise)]
    if config.method in ("ali", "alice"):
        shapes.append((B, config.objective.reconstructor_noise))
    elif config.method in ("veegan", "veegan_adversarial", "veegan_mean"):
        shapes.append((B, Z))
    return shapes


TRACES: list[Config] = []


@functools.partial(jax.jit, static_argnames="config")
def step_on_noise(state, x_BX, noise, config):
    """A train_step whose calls of rng.normal return the given noise, by shape."""
    TRACES.append(config)
    left = dict(zip(noise_shapes(config), noise, strict=True))

    def given(key, shape, *, axis_name=None):
        del key, axis_name
        return left.pop(shape)

    with mock.patch.object(rng, "normal", given):
        result = methods.get(config.method).train_step(state, x_BX, config=config)
    assert not left
    return result


def inputs(config, generator):
    x_BX = (2 * generator.normal(size=(B, X))).astype(np.float32)
    shapes = noise_shapes(config)
    return x_BX, [generator.normal(size=s).astype(np.float32) for s in shapes]


@functools.cache
def compiled_init(config):
    return jax.jit(functools.partial(methods.get(config.method).init, config=config))


@functools.cache
def initial(config, seed=0):
    """A state of step 0 whose biases, too, are random."""
    state = compiled_init(config)(jax.random.key(seed))
    generator = np.random.default_rng(seed)

    def shake(a):
        return (a + 0.1 * generator.normal(size=a.shape)).astype(np.float32)

    params = jax.tree.map(shake, jax.tree.map(np.asarray, state.params))
    return state.replace(params=params)


@functools.cache
def second_step(name):
    """A case's states before and after its second step, its inputs and metrics."""
    config = CASES[name]
    generator = np.random.default_rng(1)
    first = inputs(config, generator)
    old, _ = step_on_noise(initial(config), *first, config)
    x_BX, noise = inputs(config, generator)
    new, reported = step_on_noise(old, x_BX, noise, config)
    return types.SimpleNamespace(
        config=config, old=old, new=new, x_BX=x_BX, noise=noise, reported=reported
    )


@functools.cache
def reference(name):
    """The reference's losses and gradients of the case's second step."""
    run = second_step(name)
    losses = equations.LOSSES[run.config.method](
        run.config, run.old, run.x_BX, run.noise
    )

    @jax.jit
    def all_of(params):
        each = {net: jax.value_and_grad(loss) for net, loss in losses.items()}
        return {net: one(params[net], params) for net, one in each.items()}

    found = all_of(run.old.params)
    values = {net: float(value) for net, (value, _) in found.items()}
    grads = {net: grad for net, (_, grad) in found.items()}
    return values, grads


def leaves(tree):
    """(path, float64 array) of every leaf."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(p), np.asarray(a, np.float64)) for p, a in flat]


def assert_trees_close(actual, expected, **tolerance):
    pairs = zip(leaves(actual), leaves(expected), strict=True)
    for (path, a), (other, b) in pairs:
        assert path == other
        np.testing.assert_allclose(a, b, err_msg=path, **tolerance)


def moments(state, net):
    """Adam's state of a network: count, mu, nu."""
    return state.opt_state[net][0]


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_equations(name):
    run = second_step(name)
    _, expected = reference(name)
    assert expected.keys() == run.new.params.keys()
    beta1 = run.config.optimizer.beta1
    for net, grad in expected.items():
        actual = jax.tree.map(
            lambda new, old: (new - beta1 * old) / (1 - beta1),
            moments(run.new, net).mu,
            moments(run.old, net).mu,
        )
        scale = max(np.abs(a).max() for _, a in leaves(grad))
        assert scale > 1e-4
        worse = 10 if name == "gdpp" else 1  # eigenvectors multiply rounding
        assert_trees_close(actual, grad, rtol=2e-4, atol=worse * 2e-5 * scale)


@pytest.mark.parametrize("name", CASES)
def test_reported_losses_are_those_of_the_equations(name):
    run = second_step(name)
    values, _ = reference(name)
    reported = {k: float(v) for k, v in run.reported.items()}
    expected = values["generator"]
    if name in ("ali", "alice"):
        expected += values["reconstructor"]
    if name == "alice":  # the reconstruction is in the losses of both
        expected -= 0.3 * reported["data_reconstruction"]
    if name == "veegan_adversarial":
        # R's loss is the reconstruction, which G's has already, and its own term.
        expected += values["reconstructor"] - reported["reconstruction"]
    g_loss = "loss_gr" if "reconstructor" in values else "loss_g"
    assert reported["loss_d"] == pytest.approx(values["discriminator"], rel=1e-4)
    assert reported[g_loss] == pytest.approx(expected, rel=1e-4)


def adam_step(rate, t, p, mu, nu):
    p, mu, nu = (np.float64(a) for a in (p, mu, nu))
    root = np.sqrt(nu / (1 - 0.999**t))
    return p - rate * (mu / (1 - 0.5**t)) / (root + 1e-8)


@pytest.mark.parametrize("name", CASES)
def test_the_state_advances_by_adam_and_averages(name):
    run = second_step(name)
    config, old, new = run.config, run.old, run.new
    assert (old.step, new.step) == (1, 2)
    assert new.step.dtype == np.int32
    for state in (old, new):
        assert state.key == initial(config).key
    t = 2
    for net in new.params:
        rate = config.optimizer.learning_rate_d if net == "discriminator" else 0.02
        if config.optimizer.schedule == "cosine":  # one step of seven has been taken
            rate *= (1 + np.cos(np.pi * 1 / 7)) / 2
        adam, before = moments(new, net), moments(old, net)
        assert adam.count == t
        expected = jax.tree.map(
            functools.partial(adam_step, rate, t), old.params[net], adam.mu, adam.nu
        )
        assert_trees_close(new.params[net], expected, rtol=1e-4, atol=1e-6)
        expected = jax.tree.map(
            lambda nu, m1, m0: 0.999 * nu + 0.001 * ((m1 - 0.5 * m0) / 0.5) ** 2,
            before.nu,
            adam.mu,
            before.mu,
        )
        assert_trees_close(adam.nu, expected, rtol=1e-3, atol=1e-12)
    if config.optimizer.ema:
        expected = jax.tree.map(
            # (1 + 1) / (10 + 1) is less than .9: the average is still warming up.
            lambda e, p: 2 / 11 * e + 9 / 11 * p,
            old.ema,
            new.params["generator"],
        )
        assert_trees_close(new.ema, expected, rtol=1e-5, atol=1e-7)
    else:
        assert new.ema is None


@pytest.mark.parametrize("name", CASES)
def test_samples_use_the_average_and_the_running_moments(name):
    run = second_step(name)
    config, new = run.config, run.new
    params = new.params["generator"] if new.ema is None else new.ema
    old_stats, stats = (s.batch_stats["generator"] for s in (run.old, new))
    if config.networks.batch_norm:
        batch = []
        plain_networks.network(
            run.old.params["generator"], run.noise[0], config=config, moments=batch
        )
        for number, (mean, var) in enumerate(batch):
            norm = f"BatchNorm_{number}"
            for stat, value in (("mean", mean), ("var", var)):
                expected = 0.99 * old_stats[norm][stat] + 0.01 * value
                actual = stats[norm][stat]
                np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)
                assert np.abs(actual - old_stats[norm][stat]).min() > 0
    else:
        assert stats == {}
    generate = jax.jit(methods.get(config.method).generate, static_argnames="config")
    z_BZ = run.noise[0][:, :Z]
    padded = np.pad(z_BZ, ((0, 0), (0, config.networks.generator_noise)))
    expected = plain_networks.network(params, padded, config=config, stats=stats)
    np.testing.assert_allclose(
        generate(new, z_BZ, config=config),
        config.data.scale * expected,
        rtol=1e-4,
        atol=1e-5,
    )


def test_samples_from_a_key_are_samples_from_its_noise():
    run = second_step("gan")
    drawn = gan.sample(run.new, jax.random.key(3), 5, config=run.config)
    latent = rng.normal(jax.random.key(3), (5, Z + 1))
    expected = gan.generate(run.new, latent, config=run.config)
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize(
    "name", ["ali", "alice", "mdgan", "veegan", "veegan_plus", "veegan_plus_high_dim"]
)
def test_reconstruct_is_the_network(name):
    run = second_step(name)
    x_BX = run.x_BX
    before = [np.zeros((B, 2), np.float32)] if name in ("ali", "alice") else []
    scaled = x_BX / run.config.data.scale
    _, R, _ = plain_networks.networks_of(run.config)
    expected = R(run.new.params["reconstructor"], *before, scaled)
    actual = methods.get(run.config.method).reconstruct(
        run.new, x_BX, config=run.config
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_pure_and_traces_once(name):
    run = second_step(name)
    again, reported = step_on_noise(run.old, run.x_BX, run.noise, run.config)
    for (path, a), (_, b) in zip(
        leaves((again.params, again.opt_state, reported)),
        leaves((run.new.params, run.new.opt_state, run.reported)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b, err_msg=path)
    # Fresh states and later ones share the program of the first.
    step_on_noise(initial(run.config, seed=1), run.x_BX, run.noise, run.config)
    step_on_noise(run.new, run.x_BX, run.noise, run.config)
    assert TRACES.count(run.config) == 1


def test_simultaneous_gradients_are_those_of_each_loss_alone():
    """D's of the first loss, all others' of the second; each term has every network."""
    generator = np.random.default_rng(4)
    names = ("generator", "reconstructor", "discriminator")
    params = {
        name: {"kernel": jnp.asarray(generator.normal(size=(3, 2)), jnp.float32)}
        for name in names
    }

    def losses(params):
        g, r, d = (params[name]["kernel"] for name in names)
        loss_d = jnp.sum(jnp.sin(g * d) + r * d**2)
        loss_g = jnp.sum(jnp.cos(g * d) + g * r**3)
        return (loss_d, loss_g), {"sum": jnp.sum(g + r + d)}

    grads, values, aux = jax.jit(
        functools.partial(base.simultaneous_gradients, losses)
    )(params)
    alone = [jax.grad(lambda p, i=i: losses(p)[0][i])(params) for i in (0, 1)]
    assert grads.keys() == set(names)
    for name in names:
        own, other = alone if name == "discriminator" else alone[::-1]
        np.testing.assert_allclose(
            grads[name]["kernel"], own[name]["kernel"], rtol=1e-5, atol=1e-6
        )
        assert np.abs(own[name]["kernel"] - other[name]["kernel"]).max() > 0.1
    np.testing.assert_allclose(values, losses(params)[0], rtol=1e-6)
    np.testing.assert_allclose(aux["sum"], losses(params)[1]["sum"], rtol=1e-6)


def test_reconstructor_of_algorithm_1_gets_no_adversarial_gradient():
    """R's gradient does not depend on D, unless it is adversarial."""
    changed = {}
    for name in ("veegan", "veegan_adversarial"):
        run = second_step(name)
        params = dict(run.old.params)
        params["discriminator"] = jax.tree.map(jnp.zeros_like, params["discriminator"])
        blind = run.old.replace(params=params)
        new, _ = step_on_noise(blind, run.x_BX, run.noise, run.config)
        kernel = moments(new, "reconstructor").mu["Dense_0"]["kernel"]
        usual = moments(run.new, "reconstructor").mu["Dense_0"]["kernel"]
        changed[name] = float(np.abs(kernel - usual).max())
    assert changed["veegan"] == 0
    assert changed["veegan_adversarial"] > 1e-5


@pytest.mark.parametrize(
    "name", ["gan", "ali", "unrolled", "veegan", "veegan_plus", "topk"]
)
def test_every_step_use_and_seed_has_its_own_noise(name):
    config = CASES[name]

    def keys_of(state):
        keys = []

        def record(key, shape, *, axis_name=None):
            del axis_name
            keys.append(jax.random.key_data(key))
            return jnp.zeros(shape)

        with mock.patch.object(rng, "normal", record):
            x_BX = jnp.zeros((B, X))
            methods.get(config.method).train_step(state, x_BX, config=config)
        return keys

    compiled = jax.jit(keys_of)
    run = second_step(name)
    other = run.new.replace(key=jax.random.key(77))
    states = [run.old.replace(step=run.old.step - 1), run.old, run.new, other]
    seen = [tuple(k.tolist()) for state in states for k in compiled(state)]
    assert len(seen) == 4 * len(noise_shapes(config))
    assert len(set(seen)) == len(seen)
    # The key and the step decide, nothing else does.
    same = compiled(run.new.replace(params=run.old.params))
    assert [tuple(k.tolist()) for k in same] == [
        tuple(k.tolist()) for k in compiled(run.new)
    ]


def test_scan_and_vmap_over_seeds_equal_single_steps():
    # Without BatchNorm: the biases before it have no gradient but rounding, which
    # Adam turns into steps of full size.
    config = CASES["veegan"].replace(batch_norm=False)
    step = functools.partial(methods.get(config.method).train_step, config=config)
    x_TBX = np.random.default_rng(2).normal(size=(3, B, X)).astype(np.float32)
    keys_S = jax.vmap(jax.random.key)(np.arange(2))
    states = jax.vmap(compiled_init(config))(keys_S)
    scanned, _ = jax.jit(jax.vmap(lambda s: jax.lax.scan(step, s, x_TBX)))(states)
    jitted = jax.jit(step)
    for seed in range(2):
        state = equations.pick(states, seed)
        for x_BX in x_TBX:
            state, _ = jitted(state, x_BX)
        assert_trees_close(
            equations.pick(scanned, seed).params,
            state.params,
            rtol=1e-4,
            atol=1e-5,
        )
