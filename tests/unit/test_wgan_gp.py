"""WGAN-GP's step against the paper's Algorithm 1, written out slowly.

Dimension key: B batch, Z latent, E noise inputs of G, X data dimensions.
"""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import equations

from veegan_jax import config as configs
from veegan_jax.common import errors
from veegan_jax.methods import wgan_gp
from veegan_jax.networks.configs import MLP
from veegan_jax.presets import resolve
from veegan_jax.runtime import rng

B, Z, X, STEPS = 12, equations.Z, 3, 3
CONFIG = configs.Config(
    "wgan_gp",
    steps=5,
    batch_size=B,
    latent_size=Z,
    data=configs.Vectors(X),
    networks=MLP(
        generator_widths=(5, 4),
        generator_noise=1,
        discriminator_widths=(5, 4),
        activation="tanh",
    ),
    objective=wgan_gp.Objective(critic_steps=STEPS, slope_weight=2.0),
    optimizer=configs.Optimizer(
        learning_rate=0.02, learning_rate_d=0.03, schedule="cosine", beta2=0.9
    ),
)


def critic_loss(d, x, fake, share):
    def slope(point):
        return jax.grad(lambda x: D(d, x[None])[0, 0])(point)

    between = [u * a + (1 - u) * b for u, a, b in zip(share, x, fake, strict=True)]
    norms = [jnp.linalg.norm(slope(point)) for point in between]
    penalty = sum((norm - 1) ** 2 for norm in norms) / len(norms)
    return jnp.mean(D(d, fake)) - jnp.mean(D(d, x)) + 2.0 * penalty


G, _, D = equations.networks_of(CONFIG)


def test_a_step_is_algorithm_1():
    state = jax.jit(wgan_gp.init, static_argnums=1)(jax.random.key(0), CONFIG)
    generator = np.random.default_rng(0)
    x_BX = generator.normal(size=(B, X)).astype(np.float32)
    z_BZ, z_CZ = (
        generator.normal(size=(n, Z + 1)).astype(np.float32) for n in (B, B // STEPS)
    )
    share_B = generator.uniform(size=B).astype(np.float32)
    given = {z.shape: z for z in (z_BZ, z_CZ)}
    with (
        mock.patch.object(rng, "normal", lambda key, shape, axis_name: given[shape]),
        mock.patch.object(rng, "uniform", lambda key, rows, axis_name: share_B),
    ):
        new, metrics = wgan_gp.train_step(state, x_BX, config=CONFIG)

    params = state.params
    d = params["discriminator"]
    cosine = optax.cosine_decay_schedule(0.03, 5 * STEPS)
    adam = optax.adam(cosine, b1=0.5, b2=0.9)
    adam_state = adam.init(d)
    for i in range(STEPS):
        mine = slice(i, None, STEPS)  # dealt out like cards
        fake = G(params["generator"], z_BZ[mine])
        loss, grad = jax.value_and_grad(critic_loss)(d, x_BX[mine], fake, share_B[mine])
        updates, adam_state = adam.update(grad, adam_state)
        d = optax.apply_updates(d, updates)
    loss_g, grad_g = jax.value_and_grad(lambda g: -jnp.mean(D(d, G(g, z_CZ))))(
        params["generator"]
    )
    first = optax.adam(0.02, b1=0.5, b2=0.9)
    updates, _ = first.update(grad_g, first.init(params["generator"]))
    g = optax.apply_updates(params["generator"], updates)

    for net, expected in (("discriminator", d), ("generator", g)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            new.params[net],
            expected,
        )
    assert metrics["loss_d"] == pytest.approx(float(loss), rel=1e-4)
    assert metrics["loss_g"] == pytest.approx(float(loss_g), rel=1e-4, abs=1e-5)
    assert new.step == 1


def test_a_flat_critic_has_a_finite_gradient():
    state = jax.jit(wgan_gp.init, static_argnums=1)(jax.random.key(0), CONFIG)
    flat = jax.tree.map(jnp.zeros_like, state.params["discriminator"])
    state = state.replace(params=state.params | {"discriminator": flat})
    new, _ = wgan_gp.train_step(state, jnp.ones((B, X)), config=CONFIG)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(new.params))


def test_every_update_of_the_critic_sees_as_many_examples_as_other_methods():
    for dataset in ("ring", "stacked_mnist", "cifar10"):
        gan, wgan = (resolve.resolve(m, dataset) for m in ("gan", "wgan_gp"))
        assert wgan.batch_size == wgan.objective.critic_steps * gan.batch_size


def test_what_does_not_fit_the_critic_steps_is_refused():
    with pytest.raises(errors.InputError, match="64 must be a multiple of --critic_s"):
        resolve.resolve("wgan_gp", "ring", batch_size=64)
    with pytest.raises(errors.InputError, match="every=2: wgan_gp moves D --critic_st"):
        resolve.resolve("wgan_gp", "ring", discriminator_every=2)
