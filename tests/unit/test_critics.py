"""WGAN-GP and MEG, whose D moves several times a step, against a slow reference.

Dimension key: B batch, Z latent, E noise inputs of G, X data dimensions.
"""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import plain_networks

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.methods import meg, wgan_gp
from veegan_jax.networks.configs import MLP
from veegan_jax.presets import resolve
from veegan_jax.runtime import rng

B, Z, X, STEPS = 12, plain_networks.Z, 3, 3
OBJECTIVES = {
    "wgan_gp": wgan_gp.Objective(critic_steps=STEPS, slope_weight=2.0),
    "meg": meg.Objective(critic_steps=STEPS, score_weight=0.4, information_weight=0.6),
}


def config_of(method):
    return configs.Config(
        method,
        steps=5,
        batch_size=B,
        latent_size=Z,
        data=configs.Vectors(X),
        networks=MLP(
            generator_widths=(5, 4),
            generator_noise=1,
            discriminator_widths=(5, 4),
            activation="tanh",
            latent_gain=2.0,
        ),
        objective=OBJECTIVES[method],
        optimizer=configs.Optimizer(
            learning_rate=0.02, learning_rate_d=0.03, schedule="cosine", beta2=0.9
        ),
    )


G, _, D = plain_networks.networks_of(config_of("meg"))


def slopes(d, points):
    """The gradient of D at each of some points."""
    return [jax.grad(lambda x: D(d, x[None])[0, 0])(point) for point in points]


def wgan_gp_loss_of_d(d, x, fake, share):
    between = [u * a + (1 - u) * b for u, a, b in zip(share, x, fake, strict=True)]
    norms = [jnp.linalg.norm(slope) for slope in slopes(d, between)]
    penalty = sum((norm - 1) ** 2 for norm in norms) / len(norms)
    return jnp.mean(D(d, fake)) - jnp.mean(D(d, x)) + 2.0 * penalty


def wgan_gp_loss_of_g(trained, d, latent, other):
    del other
    return -jnp.mean(D(d, G(trained["generator"], latent)))


def meg_loss_of_d(d, x, fake, share):
    del share
    penalty = sum(jnp.sum(slope**2) for slope in slopes(d, x)) / len(x)
    return jnp.mean(D(d, fake)) - jnp.mean(D(d, x)) + 0.4 * penalty


def meg_loss_of_g(trained, d, latent, other):
    """Of G and of T, which judges pairs with z by itself."""
    fake = G(trained["generator"], latent)
    own = D(trained["statistics"], latent[:, :Z], fake)
    others = D(trained["statistics"], other, fake)
    information = jnp.mean(plain_networks.log_sigmoid(own)) + jnp.mean(
        plain_networks.log_one_minus_sigmoid(others)
    )
    return -jnp.mean(D(d, fake)) - 0.6 * information


LOSSES = {
    "wgan_gp": (wgan_gp_loss_of_d, wgan_gp_loss_of_g),
    "meg": (meg_loss_of_d, meg_loss_of_g),
}


def initial(method):
    init = jax.jit(methods.get(method).init, static_argnums=1)
    return init(jax.random.key(0), config_of(method))


@pytest.mark.parametrize("method", LOSSES)
def test_a_step_is_that_of_the_paper(method):
    state, config = initial(method), config_of(method)
    generator = np.random.default_rng(0)
    shapes = (B, X), (B, Z + 1), (B // STEPS, Z + 1), (B // STEPS, Z)
    x_BX, *noise = (generator.normal(size=s).astype(np.float32) for s in shapes)
    of_d, of_g, other = noise
    share_B = generator.uniform(size=B).astype(np.float32)
    given = {z.shape: z for z in noise}
    with (
        mock.patch.object(rng, "normal", lambda key, shape, axis_name: given[shape]),
        mock.patch.object(rng, "uniform", lambda key, rows, axis_name: share_B),
    ):
        step = jax.jit(methods.get(method).train_step, static_argnames="config")
        new, metrics = step(state, x_BX, config=config)

    loss_of_d, loss_of_g = LOSSES[method]
    trained = dict(state.params)
    d = trained.pop("discriminator")
    cosine = optax.cosine_decay_schedule(0.03, 5 * STEPS)
    adam = optax.adam(cosine, b1=0.5, b2=0.9)
    adam_state = adam.init(d)
    for i in range(STEPS):
        mine = slice(i, None, STEPS)  # dealt out like cards
        fake = G(trained["generator"], of_d[mine])
        loss, grad = jax.value_and_grad(loss_of_d)(d, x_BX[mine], fake, share_B[mine])
        updates, adam_state = adam.update(grad, adam_state)
        d = optax.apply_updates(d, updates)
    loss_g, grad = jax.value_and_grad(loss_of_g)(trained, d, of_g, other)
    first = optax.adam(0.02, b1=0.5, b2=0.9)
    updates, _ = first.update(grad, first.init(trained))
    expected = optax.apply_updates(trained, updates) | {"discriminator": d}

    assert set(new.params) == set(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        dict(new.params),
        expected,
    )
    assert metrics["loss_d"] == pytest.approx(float(loss), rel=1e-4)
    assert metrics["loss_g"] == pytest.approx(float(loss_g), rel=1e-4, abs=1e-5)
    assert new.step == 1


@pytest.mark.parametrize("method", LOSSES)
def test_every_step_use_and_seed_has_its_own_noise(method):
    config = config_of(method)

    def keys_of(state):
        keys = []

        def normal(key, shape, *, axis_name=None):
            del axis_name
            keys.append(jax.random.key_data(key))
            return jnp.zeros(shape)

        def uniform(key, rows, *, axis_name=None):
            return normal(key, (rows,), axis_name=axis_name)

        with (
            mock.patch.object(rng, "normal", normal),
            mock.patch.object(rng, "uniform", uniform),
        ):
            methods.get(method).train_step(state, jnp.zeros((B, X)), config=config)
        return keys

    state, compiled = initial(method), jax.jit(keys_of)
    states = [state, state.replace(step=1), state.replace(key=jax.random.key(77))]
    seen = [tuple(k.tolist()) for s in states for k in compiled(s)]
    assert len(set(seen)) == len(seen) == 3 * 3
    other = jax.tree.map(jnp.zeros_like, state.params)
    same = compiled(state.replace(params=other))  # the key and the step decide
    assert [tuple(k.tolist()) for k in same] == seen[:3]


@pytest.mark.parametrize("method", LOSSES)
def test_a_flat_critic_has_a_finite_gradient(method):
    state = initial(method)
    flat = jax.tree.map(jnp.zeros_like, state.params["discriminator"])
    state = state.replace(params=state.params | {"discriminator": flat})
    step = methods.get(method).train_step
    new, _ = step(state, jnp.ones((B, X)), config=config_of(method))
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(new.params))


@pytest.mark.parametrize("method", LOSSES)
def test_every_update_of_the_critic_sees_as_many_examples_as_other_methods(method):
    for dataset in ("ring", "stacked_mnist", "cifar10"):
        gan, ours = (resolve.resolve(m, dataset) for m in ("gan", method))
        assert ours.objective.critic_steps == 5  # as in both papers
        assert ours.batch_size == 5 * gan.batch_size


@pytest.mark.parametrize("method", LOSSES)
def test_what_does_not_fit_the_critic_steps_is_refused(method):
    with pytest.raises(errors.InputError, match="64 must be a multiple of --critic_s"):
        resolve.resolve(method, "ring", batch_size=64)
    message = f"every=2: {method} moves D --critic_steps=5 times a step"
    with pytest.raises(errors.InputError, match=message):
        resolve.resolve(method, "ring", discriminator_every=2)
