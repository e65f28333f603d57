"""Short runs of a tiny GAN on any number of devices, and how to compare them.

SGD beside Adam shows a gradient that is wrong by a factor, which Adam would hide.

Dimension key: S seeds, T steps, B batch, X data dimensions.
"""

import functools
from unittest import mock

import jax
import numpy as np
import optax

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import optimizers
from veegan_jax.config import Config
from veegan_jax.methods import (
    ali,
    alice,
    bures,
    gdpp,
    hinge,
    mdgan,
    meg,
    rpgan,
    topk,
    unrolled,
    veegan,
    veegan_plus,
    wgan_gp,
)
from veegan_jax.networks.configs import MLP
from veegan_jax.runtime import parallel

B, X, T = 16, 2, 3
DATA_TBX = np.random.default_rng(3).normal(size=(10, B, X)).astype(np.float32)
OBJECTIVES = {
    "gan": configs.Objective(),
    "ali": ali.Objective(reconstructor_noise=1),
    "unrolled": unrolled.Objective(unrolled_steps=2),
    "veegan": veegan.Objective(reconstruction_weight=0.5, reconstructor_std=0.5),
    "veegan_adversarial": veegan.Objective(
        reconstruction_weight=0.5,
        reconstructor_std=0.5,
        adversarial_reconstructor=True,
    ),
    "wgan_gp": wgan_gp.Objective(critic_steps=2, slope_weight=0.3),
    "hinge": hinge.Objective(logit_gain=2.0),
    "topk": topk.Objective(top_share=0.3, top_decay_end=0.1),
    "gdpp": gdpp.Objective(),
    "bures": bures.Objective(),
    "rpgan": rpgan.Objective(gamma=0.5, gamma_end=0.1),
    "mdgan": mdgan.Objective(),
    "alice": alice.Objective(reconstructor_noise=1),
    "meg": meg.Objective(critic_steps=2),
    "veegan_plus": veegan_plus.Objective(
        reconstruction_weight=0.5,
        adversarial_reconstructor=True,
        gamma=0.5,
        gamma_end=0.1,
    ),
}


def sgd_and_adam(rate, *, beta1, beta2, **_):
    """The sum of both updates: one in proportion to the gradient, and Adam's.

    Biases before BatchNorm have no gradient but rounding, which Adam turns into steps
    of full size: this one's epsilon is far above rounding.
    """
    sgd, adam = optax.sgd(0.3), optax.adam(rate, beta1, beta2, eps=1e-2)

    def init(params):
        return sgd.init(params), adam.init(params)

    def update(grad, state, params=None):
        by_sgd, sgd_state = sgd.update(grad, state[0], params)
        by_adam, adam_state = adam.update(grad, state[1], params)
        total = jax.tree.map(lambda a, b: a + b, by_sgd, by_adam)
        return total, (sgd_state, adam_state)

    return optax.GradientTransformation(init, update)


OPTIMISERS = {"adam": optimizers.adam, "both": sgd_and_adam}


def make_config(method, optimizer):
    return Config(
        method,
        steps=10,
        batch_size=B,
        latent_size=2,
        data=configs.Vectors(X),
        networks=MLP(
            generator_widths=(4,),
            generator_noise=1,
            reconstructor_widths=(4,),
            discriminator_widths=(4,),
            activation="tanh",
            batch_norm=optimizer == "both",
            spectral_norm=method == "hinge",
        ),
        objective=OBJECTIVES[method],
        optimizer=configs.Optimizer(learning_rate=0.01, learning_rate_d=0.01, ema=0.9),
    )


@functools.cache
def runner(method, optimizer, mode, num_devices):
    """A compiled function of T steps, and the list of its traces."""
    config = make_config(method, optimizer)
    train_step = methods.get(method).train_step
    rows = B // num_devices if mode == "pmap" else B
    traces = []

    def step(state, axis_name):
        traces.append(axis_name)
        first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows
        x_BX = jax.lax.dynamic_index_in_dim(
            jax.numpy.asarray(DATA_TBX), state.step, keepdims=False
        )
        x_BX = jax.lax.dynamic_slice_in_dim(x_BX, first, rows)
        with mock.patch.object(optimizers, "adam", OPTIMISERS[optimizer]):
            return train_step(state, x_BX, config=config, axis_name=axis_name)

    devices = jax.devices()[:num_devices]
    return parallel.run_steps(step, T, mode=mode, devices=devices), traces


@functools.cache
def initial(method, optimizer, seeds=2):
    config = make_config(method, optimizer)
    init = functools.partial(methods.get(method).init, config=config)
    keys_S = jax.vmap(jax.random.key)(np.arange(seeds))
    with mock.patch.object(optimizers, "adam", OPTIMISERS[optimizer]):
        return jax.jit(jax.vmap(init))(keys_S)


@functools.cache
def result(method, optimizer, mode, num_devices, seeds=2):
    """(state, metrics) after T steps from the initial state."""
    run, _ = runner(method, optimizer, mode, num_devices)
    return run(initial(method, optimizer, seeds))


def leaves(tree):
    """(path, array) of every leaf; keys as their words."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    for path, leaf in flat:
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        yield jax.tree_util.keystr(path), np.asarray(leaf)


def assert_same(actual, expected, **tolerance):
    for (path, a), (other, b) in zip(leaves(actual), leaves(expected), strict=True):
        assert path == other
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, err_msg=path, **tolerance)
