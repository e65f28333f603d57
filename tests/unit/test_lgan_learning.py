"""L-GAN's models learn, in the right direction: one step by hand, and toys.

Dimension key: B batch, M images, N encodings, G generated, X pixels, k basis vectors,
d encoding.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

from lgan_jax import autoencoder, config, sample_quality, samplers, train_state, vae
from lgan_jax.encodings import standardize
from lgan_jax.train_state import Rows
from veegan_jax.runtime import rng

CONFIG = config.Config(
    data_size=6,
    latent_size=3,
    basis_size=2,
    autoencoder_widths=(5,),
    autoencoder_batch=16,
    latent_noise=0.3,
    sampler_widths=(8,),
    sampler_batch=16,
    noise_size=4,
    orthogonality=0.7,
    offset=True,
)


def mlp(params, x_BF):
    """Dense layers with leaky ReLUs between them, not by Flax."""
    for i in range(len(params)):
        layer = params[f"Dense_{i}"]
        x_BF = x_BF @ layer["kernel"] + layer["bias"][None]
        if i + 1 < len(params):
            x_BF = jnp.maximum(x_BF, 0.2 * x_BF)
    return x_BF


def lgan_fake(params, keys):
    noise = rng.normal(keys[1], (16, 4))
    a_Bk = rng.normal(keys[2], (16, 2))
    out_Bkd = mlp(params, noise).reshape(16, 3, 3)
    fake_Bd = out_Bkd[:, 2] + a_Bk[:, :1] * out_Bkd[:, 0] + a_Bk[:, 1:] * out_Bkd[:, 1]
    u, v = out_Bkd[:, 0], out_Bkd[:, 1]
    square_B = jnp.sum(u * v, 1) ** 2 / jnp.sum(u**2, 1) / jnp.sum(v**2, 1)
    return fake_Bd, 0.7 * jnp.mean(square_B)


def plain_fake(params, keys):
    return mlp(params, rng.normal(keys[1], (16, 4))), 0.0


@pytest.mark.parametrize(
    ("name", "fake", "num_keys"), [("lgan", lgan_fake, 3), ("plain_gan", plain_fake, 2)]
)
@pytest.mark.slow
def test_d_and_g_each_descend_their_own_loss(generator, name, fake, num_keys):
    module = samplers.get(name)
    y_Nd = jnp.asarray(generator.normal(size=(25, 3)), jnp.float32)
    encodings = standardize(y_Nd, jnp.int32(20))
    # Padding that is read would show.
    encodings = encodings.replace(unit=encodings.unit.at[20:].set(50.0))
    state = jax.jit(module.init, static_argnums=2)(jax.random.key(0), encodings, CONFIG)
    new, _ = jax.jit(step_on(module, CONFIG))(state)

    keys = jax.random.split(jax.random.fold_in(state.key, 0), num_keys)
    real_Bd = encodings.unit[rng.index(keys[0], 16, 20)]
    log_d = lambda logit: -jnp.log1p(jnp.exp(-logit))  # noqa: E731  log sigmoid

    def loss_d(params):
        fake_Bd, _ = fake(state.params["generator"], clones(keys))
        return -jnp.mean(log_d(mlp(params, real_Bd)) + log_d(-mlp(params, fake_Bd)))

    def loss_g(params):
        fake_Bd, penalty = fake(params, clones(keys))
        return penalty - jnp.mean(log_d(mlp(state.params["discriminator"], fake_Bd)))

    for network, loss in (("discriminator", loss_d), ("generator", loss_g)):
        grad = jax.jit(jax.grad(loss))(state.params[network])
        moment = new.opt_state[network][0].mu  # (1 - beta1) times the gradient
        assert_close(moment, jax.tree.map(lambda g: 0.5 * g, grad))
        assert_descends(state.params[network], new.params[network], grad)


def clones(keys):
    return jax.vmap(jax.random.clone)(keys)


def assert_close(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def assert_descends(old, new, grad):
    """The first step of Adam: its step size against the gradient's sign."""
    for a, b, g in zip(*map(jax.tree.leaves, (old, new, grad)), strict=True):
        sure = np.abs(g) > 1e-4
        np.testing.assert_allclose(
            (b - a)[sure], -1e-3 * np.sign(g)[sure], rtol=2e-3, atol=1e-7
        )


def dense(params, name, x_BF):
    return x_BF @ params[name]["kernel"] + params[name]["bias"][None]


def nats(params, y_Bd, x_BX):
    """- log p(x | y) of Bernoulli pixels, summed over them."""
    p_BX = jax.nn.sigmoid(dense(params, "pixels", relu(dense(params, "up_0", y_Bd))))
    log_BX = x_BX * jnp.log(p_BX) + (1 - x_BX) * jnp.log(1 - p_BX)
    return -jnp.mean(jnp.sum(log_BX, axis=1))


def relu(x):
    return jnp.maximum(x, 0)


def autoencoder_loss(params, x_BX, noise_Bd):
    y_Bd = dense(params, "code", relu(dense(params, "down_0", x_BX)))
    spread_1d = jax.lax.stop_gradient(jnp.std(y_Bd, axis=0, keepdims=True))
    return nats(params, y_Bd + 0.3 * spread_1d * noise_Bd, x_BX)


def vae_loss(params, x_BX, noise_Bd):
    both_Bd = dense(params, "moments", relu(dense(params, "down_0", x_BX)))
    mean_Bd, std_Bd = both_Bd[:, :3], jnp.exp(both_Bd[:, 3:] / 2)
    kl_Bd = (mean_Bd**2 + std_Bd**2 - 1) / 2 - jnp.log(std_Bd)
    kl = jnp.mean(jnp.sum(kl_Bd, axis=1))
    return nats(params, mean_Bd + std_Bd * noise_Bd, x_BX) + kl


@pytest.mark.parametrize(
    ("name", "module", "own_loss"),
    [("autoencoder", autoencoder, autoencoder_loss), ("vae", vae, vae_loss)],
)
def test_autoencoders_descend_the_loss_of_their_equation(
    generator, name, module, own_loss
):
    image_MX = jnp.asarray(generator.integers(0, 256, (9, 6)), jnp.uint8)
    rows_N = jnp.array([3, 5, 8, 0, 0], jnp.int32)  # the last two are padding
    state = jax.jit(module.init, static_argnums=2)(
        jax.random.key(0), Rows(rows_N, jnp.int32(3)), CONFIG
    )
    new, metrics = jax.jit(step_on(module, CONFIG, image_MX))(state)

    key_rows, key_noise = jax.random.split(jax.random.fold_in(state.key, 0))
    row_B = np.array([3, 5, 8])[np.asarray(rng.index(key_rows, 16, 3))]
    x_BX = image_MX[row_B].astype(jnp.float32) / 255
    noise_Bd = rng.normal(key_noise, (16, 3))
    loss, grad = jax.jit(jax.value_and_grad(own_loss))(
        state.params[name], x_BX, noise_Bd
    )
    assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-5)
    assert_close(new.opt_state[name][0].mu, jax.tree.map(lambda g: 0.1 * g, grad))
    assert_descends(state.params[name], new.params[name], grad)


def step_on(module, config, image_MX=None):
    """A step that draws its own batch."""

    def step(state):
        if image_MX is None:
            batch = train_state.batch_of_encodings(state, config.sampler_batch)
        else:
            size = config.autoencoder_batch
            batch = train_state.batch_of_images(state, image_MX, size)
        return module.train_step(state, batch, config=config)

    return step


def trained(step, state, steps):
    """After so many steps, and the metrics of each."""
    many = lambda state: jax.lax.scan(lambda s, _: step(s), state, length=steps)  # noqa: E731
    return jax.jit(many)(state)


@pytest.mark.parametrize("module", [autoencoder, vae])
def test_images_of_two_kinds_are_learnt(module):
    """Stripes and their negatives: one number tells them apart, log 2 or nothing."""
    changed = dataclasses.replace(
        CONFIG, latent_noise=0.0, autoencoder_steps=600, autoencoder_rate=0.01
    )
    stripe_X = np.array([0, 255] * 3, np.uint8)
    image_MX = jnp.asarray(np.stack([stripe_X, 255 - stripe_X]))
    rows_N = jnp.arange(2, dtype=jnp.int32)
    state = jax.jit(module.init, static_argnums=2)(
        jax.random.key(0), Rows(rows_N, jnp.int32(2)), changed
    )
    state, metrics = trained(step_on(module, changed, image_MX), state, 600)
    first, last = metrics["loss"][0], metrics["loss"][-50:].mean()
    assert last < 0.5 * first
    # Chance knows nothing of which of the two it is: 6 log 2 for each image. The VAE
    # tells them apart, which costs log 2 of KL at least.
    assert last < 0.5 * 6 * np.log(2)


@pytest.mark.parametrize("name", ["lgan", "plain_gan"])
@pytest.mark.slow
def test_samplers_learn_how_encodings_lie(generator, name):
    """Two dimensions of a correlation of .98, which scaling does not take away."""
    changed = dataclasses.replace(
        CONFIG, latent_size=2, sampler_widths=(32,), offset=False, orthogonality=0.0
    )
    along = generator.normal(size=(500, 1))
    y_Nd = along @ [[3.0, 1.0]] + generator.normal(size=(500, 2)) * [0.6, 0.2] + 5
    encodings = standardize(jnp.asarray(y_Nd, jnp.float32), jnp.int32(500))
    module = samplers.get(name)
    state = jax.jit(module.init, static_argnums=2)(
        jax.random.key(0), encodings, changed
    )

    def distance_to_data(state):
        y_Gd = module.sample(state, jax.random.key(1), 4000, config=changed)
        unit_Gd = (y_Gd - encodings.center[None]) / encodings.scale[None]
        moment_dd = unit_Gd.T @ unit_Gd / len(unit_Gd)
        real_dd = encodings.unit.T @ encodings.unit / 500
        return jnp.abs(moment_dd - real_dd).max() + jnp.abs(unit_Gd.mean(0)).max()

    after, _ = trained(step_on(module, changed), state, 2000)
    assert distance_to_data(after) < 0.3 * distance_to_data(state)


def test_figures_of_a_class_by_hand(generator):
    """Different numbers of known, held-out and generated images; codes of their own."""
    made_GX, known_NX, held_HX = (
        generator.random((num, 4)).astype(np.float32) * size
        for num, size in ((9, 1.5), (7, 1.0), (12, 1.0))
    )
    y_Nd = generator.random((7, 2)).astype(np.float32)
    y_Gd = 0.9 + 0.1 * generator.random((9, 2)).astype(np.float32)  # in one corner
    found = sample_quality.class_metrics(made_GX, known_NX, held_HX, y_Gd, y_Nd)

    def usual(x_NX):
        return np.median([min(np.linalg.norm(x - k) for k in known_NX) for x in x_NX])

    assert found["nearest"] == pytest.approx(usual(made_GX) / usual(held_HX), rel=1e-4)

    width = np.median(distance.pdist(known_NX)) / 2
    similar_GG = np.exp(-(distance.cdist(made_GX, made_GX) ** 2) / (2 * width**2))
    p_G = np.linalg.eigvalsh(similar_GG / 9)
    assert found["vendi"] == pytest.approx(np.exp(-sum(p_G * np.log(p_G))), rel=1e-4)

    hits = 0
    for y_d in y_Nd:
        neighbours = sorted(np.linalg.norm(y_d - other) for other in y_Nd)  # itself: 0
        hits += min(np.linalg.norm(y_d - y) for y in y_Gd[:7]) <= neighbours[5]
    assert found["coverage"] == pytest.approx(100 * hits / 7)
    assert 0 < hits < 7
