"""The autoencoder against PCA, which is the best linear one."""

import functools

import jax
import numpy as np
from sklearn import decomposition

from veegan_jax import config as configs
from veegan_jax.config import Config
from veegan_jax.methods import autoencoder
from veegan_jax.networks.configs import MLP


def test_a_linear_one_is_as_near_as_pca_but_for_the_centre():
    generator = np.random.default_rng(0)
    x_NX = generator.normal(size=(64, 5)) * [3, 2, 1, 0.5, 0.2]
    x_NX = (x_NX - x_NX.mean(axis=0)).astype(np.float32)
    config = Config(
        "autoencoder",
        steps=3000,
        batch_size=64,
        latent_size=2,
        data=configs.Vectors(5, scale=2.0),
        networks=MLP(generator_widths=(), reconstructor_widths=()),
        optimizer=configs.Optimizer(learning_rate=0.01, schedule="cosine"),
    )
    step = functools.partial(autoencoder.train_step, config=config)

    def scan(state, _):
        return step(state, x_NX)

    state = autoencoder.init(jax.random.key(1), config)
    state, metrics = jax.jit(lambda s: jax.lax.scan(scan, s, length=3000))(state)
    code_NZ = autoencoder.reconstruct(state, x_NX, config=config)
    found_NX = autoencoder.generate(state, code_NZ, config=config)
    pca = decomposition.PCA(2).fit(x_NX)
    nearest_NX = pca.inverse_transform(pca.transform(x_NX))
    expected = np.mean((nearest_NX - x_NX) ** 2)
    np.testing.assert_allclose(np.mean((found_NX - x_NX) ** 2), expected, rtol=1e-3)
    # The loss is of x / scale.
    np.testing.assert_allclose(metrics["error"][-1], expected / 4, rtol=1e-3)
    assert int(state.step) == 3000 and "discriminator" not in state.params
