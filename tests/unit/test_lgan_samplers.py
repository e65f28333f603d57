"""The latent samplers and their rivals, against closed forms, SciPy and plain loops.

Dimension key: B batch, N encodings, k basis vectors, d encoding.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from lgan_jax import autoencoder, config, samplers, train_state, vae
from lgan_jax.encodings import standardize
from lgan_jax.samplers import adversarial, affine, gaussian, lgan
from veegan_jax.common import errors
from veegan_jax.runtime import parallel, rng

CONFIG = config.Config(
    latent_size=3, basis_size=2, sampler_widths=(8,), sampler_batch=8, noise_size=4
)


@pytest.fixture
def encodings(generator):
    """Twenty skewed encodings and five rows of padding."""
    y_Nd = generator.exponential(size=(25, 3)) @ generator.normal(size=(3, 3)) + 5
    return standardize(jnp.asarray(y_Nd, jnp.float32), jnp.int32(20)), y_Nd


def test_encodings_are_centred_and_scaled_without_their_padding(encodings):
    ours, y_Nd = encodings
    real = y_Nd[:20]
    expected = (real - real.mean(axis=0)) / real.std(axis=0)
    np.testing.assert_allclose(ours.unit[:20], expected, atol=1e-5)
    assert (np.asarray(ours.unit[20:]) == 0).all()
    np.testing.assert_allclose(ours.restore(ours.unit[:20]), real, rtol=1e-5)
    np.testing.assert_array_equal(ours.weight(), [1] * 20 + [0] * 5)


def test_a_dimension_that_does_not_vary_keeps_its_unit():
    ours = standardize(jnp.full((4, 3), 7.0), jnp.int32(4))
    np.testing.assert_array_equal(ours.scale, np.ones(3))
    np.testing.assert_array_equal(ours.restore(jnp.zeros((1, 3))), [[7, 7, 7]])


def test_orthogonality_is_the_mean_squared_cosine_of_pairs(generator):
    basis_Bkd = generator.normal(size=(5, 4, 6)).astype(np.float32)
    squares = [
        (u @ v / np.linalg.norm(u) / np.linalg.norm(v)) ** 2
        for basis in basis_Bkd
        for i, u in enumerate(basis)
        for v in basis[i + 1 :]
    ]
    found = lgan.orthogonality(jnp.asarray(basis_Bkd))
    assert float(found) == pytest.approx(np.mean(squares), rel=1e-5)
    orthogonal, _ = np.linalg.qr(generator.normal(size=(6, 6)))
    scaled = orthogonal[None, :4] * np.array([[[1.0], [9.0], [0.1], [3.0]]])
    assert float(lgan.orthogonality(jnp.asarray(scaled, jnp.float32))) < 1e-10
    assert float(lgan.orthogonality(jnp.ones((2, 1, 3)))) == 0  # nothing to compare


@pytest.mark.parametrize(
    ("name", "distribution"),
    [
        ("normal", stats.norm()),
        ("uniform", stats.uniform(-(3**0.5), 2 * 3**0.5)),
        ("laplace", stats.laplace(scale=0.5**0.5)),
    ],
)
def test_coefficients_follow_their_distribution(name, distribution):
    assert distribution.var() == pytest.approx(1)
    changed = dataclasses.replace(CONFIG, coefficients=name)
    a_Bk = lgan.draw_coefficients(jax.random.key(3), 5000, changed)
    assert stats.kstest(np.asarray(a_Bk).ravel(), distribution.cdf).pvalue > 1e-3


@pytest.mark.parametrize("offset", [False, True])
def test_lgan_combines_the_basis_that_g_emits(encodings, offset):
    changed = dataclasses.replace(CONFIG, offset=offset)
    state = jax.jit(lgan.init, static_argnums=2)(
        jax.random.key(0), encodings[0], changed
    )
    noise_BE = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    params = state.params["generator"]
    basis_Bkd, offset_Bd = lgan.emit(params, jnp.asarray(noise_BE), changed)
    assert basis_Bkd.shape == (7, 2, 3)
    assert bool((offset_Bd != 0).all()) == offset
    a_Bk = np.random.default_rng(2).normal(size=(7, 2)).astype(np.float32)
    found = lgan.combine(basis_Bkd, offset_Bd, jnp.asarray(a_Bk))
    for b in range(7):
        by_hand = offset_Bd[b] + sum(a_Bk[b, i] * basis_Bkd[b, i] for i in range(2))
        np.testing.assert_allclose(found[b], by_hand, rtol=1e-5, atol=1e-6)


def test_a_threshold_accepts_what_fools_d_best_in_the_order_drawn(encodings):
    state = jax.jit(lgan.init, static_argnums=2)(
        jax.random.key(0), encodings[0], CONFIG
    )
    key, num = jax.random.key(5), 50

    def sample(**changes):
        changed = dataclasses.replace(CONFIG, **changes)
        return np.asarray(
            lgan.sample(state, jax.random.clone(key), num, config=changed)
        )

    accepted = sample(acceptance="threshold", accepted=0.25)
    every = dataclasses.replace(CONFIG, acceptance="all")
    drawn = lgan.sample(state, jax.random.clone(key), 4 * num, config=every)
    drawn = np.asarray(drawn)
    unit = (drawn - np.asarray(state.data.center)) / state.data.scale[None]
    score = adversarial.discriminator(CONFIG).apply(
        {"params": state.params["discriminator"]}, unit
    )[:, 0]
    best = np.sort(np.argsort(-np.asarray(score))[:num])
    np.testing.assert_allclose(accepted, drawn[best], rtol=1e-5, atol=1e-6)
    rejected = sample(acceptance="rejection", accepted=0.25)
    assert rejected.shape == accepted.shape
    assert np.abs(rejected - accepted).max() > 0


def test_rejection_corrects_the_share_of_what_d_prefers():
    """Two kinds of candidates: what is three times as likely is kept so often."""
    score_C = jnp.repeat(jnp.log(jnp.array([3.0, 1.0])), 20_000)
    kept = [
        np.asarray(lgan.accept(key, score_C, 400, "rejection"))
        for key in jax.random.split(jax.random.key(0), 20)
    ]
    share = np.mean([np.mean(k < 20_000) for k in kept])
    assert share == pytest.approx(0.75, abs=0.015)
    assert all((np.diff(k) > 0).all() for k in kept)  # in order, none twice


@pytest.mark.parametrize("name", ["lgan", "plain_gan"])
@pytest.mark.slow
def test_two_devices_equal_one(encodings, name):
    module = samplers.get(name)
    keys = jax.random.split(jax.random.key(1), 2)
    init = functools.partial(module.init, encodings=encodings[0], config=CONFIG)
    states = jax.vmap(lambda key: init(key))(keys)

    def step(state, axis_name):
        size = 8 // parallel.size(axis_name)
        y_Bd = train_state.batch_of_encodings(state, size, axis_name)
        return module.train_step(state, y_Bd, config=CONFIG, axis_name=axis_name)

    results = {}
    for mode, num in (("none", 1), ("pmap", 2)):
        run = parallel.run_steps(step, 3, mode=mode, devices=jax.devices()[:num])
        results[mode] = run(states)
    for one, two in zip(
        jax.tree.leaves(results["none"][0].params),
        jax.tree.leaves(results["pmap"][0].params),
        strict=True,
    ):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_lgan_losses_are_those_of_the_equations(encodings):
    """One step's losses from its own noise, by NumPy."""
    state = jax.jit(lgan.init, static_argnums=2)(
        jax.random.key(0), encodings[0], CONFIG
    )
    y_Bd = train_state.batch_of_encodings(state, 8)
    step = functools.partial(lgan.train_step, config=CONFIG)
    _, metrics = jax.jit(step)(state, y_Bd)
    keys = jax.random.split(jax.random.fold_in(state.key, 0), 3)
    index = np.asarray(rng.index(keys[0], 8, 20))
    noise = rng.normal(keys[1], (8, 4))
    a = np.asarray(rng.normal(keys[2], (8, 2)))
    basis, _ = lgan.emit(state.params["generator"], noise, CONFIG)
    fake = np.einsum("bk,bkd->bd", a, np.asarray(basis))
    judge = functools.partial(
        adversarial.discriminator(CONFIG).apply,
        {"params": state.params["discriminator"]},
    )
    softplus = lambda x: np.log1p(np.exp(np.asarray(x, np.float64)))  # noqa: E731
    real_logit = judge(encodings[0].unit[index])
    fake_logit = judge(jnp.asarray(fake))
    loss_d = softplus(-real_logit).mean() + softplus(fake_logit).mean()
    cosine = float(lgan.orthogonality(basis))
    loss_g = softplus(-fake_logit).mean() + CONFIG.orthogonality * cosine
    assert float(metrics["loss_d"]) == pytest.approx(loss_d, rel=1e-5)
    assert float(metrics["loss_g"]) == pytest.approx(loss_g, rel=1e-5)


def test_the_gaussian_has_the_moments_of_the_encodings(encodings):
    ours, y_Nd = encodings
    state = jax.jit(gaussian.init, static_argnums=2)(jax.random.key(0), ours, CONFIG)
    y = np.asarray(gaussian.sample(state, jax.random.key(1), 40_000, config=CONFIG))
    np.testing.assert_allclose(y.mean(0), y_Nd[:20].mean(0), atol=0.05)
    covariance = np.cov(y_Nd[:20].T, bias=True)
    np.testing.assert_allclose(
        np.cov(y.T), covariance, atol=0.05 * np.abs(covariance).max()
    )


def test_mixup_lies_between_two_encodings_and_decoded_on_one(encodings):
    ours, y_Nd = encodings
    real = y_Nd[:20]

    def draw(name):
        module = samplers.get(name)
        state = jax.jit(module.init, static_argnums=2)(jax.random.key(0), ours, CONFIG)
        y = module.sample(state, jax.random.key(4), 30, config=CONFIG)
        return np.asarray(y, np.float64)

    segment = real[:, None] - real[None]
    length = np.maximum((segment**2).sum(-1), 1e-12)
    for y in draw("mixup"):
        along = ((y - real[None]) * segment).sum(-1) / length
        nearest = real[None] + np.clip(along, 0, 1)[..., None] * segment
        assert np.abs(y - nearest).max(axis=-1).min() < 1e-4
    for y in draw("decoded"):
        assert np.abs(y - real).max(axis=-1).min() < 1e-4


def test_effective_dimension_counts_directions(generator):
    y_Nd = generator.normal(size=(20_000, 5)).astype(np.float32)
    ones = jnp.ones(20_000)
    dimension = autoencoder.effective_dimension
    assert float(dimension(jnp.asarray(y_Nd), ones)) == pytest.approx(5, abs=0.01)
    flat = y_Nd * np.array([[1, 1, 0, 0, 0]], np.float32) + 3
    assert float(dimension(jnp.asarray(flat), ones)) == pytest.approx(2, abs=0.01)
    half = (np.arange(20_000) < 10_000).astype(np.float32)
    flat[10_000:] = y_Nd[10_000:]  # padding does not count
    assert float(dimension(jnp.asarray(flat), half)) == pytest.approx(2, abs=0.01)


def test_kl_to_the_prior_is_the_integral():
    mean, log_variance = np.array([[0.7]]), np.array([[-0.4]])
    q = stats.norm(0.7, np.exp(-0.2))
    y = np.linspace(-8, 8, 20_001)
    integral = np.trapezoid(q.pdf(y) * (q.logpdf(y) - stats.norm.logpdf(y)), y)
    assert float(vae.kl_to_standard(mean, log_variance)[0]) == pytest.approx(integral)


def test_affine_is_scipys(generator):
    x_NHW = np.zeros((6, 12, 12), np.float32)
    x_NHW[:, 3:9, 3:9] = generator.random((6, 6, 6))
    x_NHWC = jnp.asarray(x_NHW)[..., None]
    no = dict.fromkeys(("degrees", "scale", "shear", "shift"), 0)
    still = affine.sample(jax.random.key(0), x_NHWC, **no)
    np.testing.assert_allclose(still[..., 0], x_NHW, atol=1e-6)
    key = jax.random.key(8)
    moved = affine.sample(jax.random.clone(key), x_NHWC)
    draw_N5 = np.asarray(jax.random.uniform(key, (6, 5), minval=-1.0, maxval=1.0))
    for n, (turn, grow, lean, *move) in enumerate(draw_N5):
        angle = np.deg2rad(12) * turn
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array([[cos, -sin], [sin, cos]]) @ [[1, 0.15 * lean], [0, 1]]
        matrix = matrix / (1 + 0.1 * grow)
        center = np.array([5.5, 5.5])
        offset = center + 1.5 / 28 * 12 * np.array(move) - matrix @ center
        expected = ndimage.affine_transform(x_NHW[n], matrix, offset, order=1)
        np.testing.assert_allclose(moved[n, ..., 0], expected, atol=1e-4)


def test_pixels_are_rounded_and_kept_in_range():
    found = train_state.to_uint8(jnp.array([-0.1, 0.0, 0.499 / 255, 0.5, 1.0, 1.2]))
    np.testing.assert_array_equal(found, [0, 0, 0, 128, 255, 255])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"basis_size": 4}, "--basis_size=4 vectors cannot be orthogonal"),
        ({"coefficients": "cauchy"}, "--coefficients='cauchy' must be one of normal"),
        ({"acceptance": "some"}, "--acceptance='some' must be one of all"),
        ({"accepted": 0.0}, "--accepted=0.0 must be in (0, 1]"),
        ({"latent_size": 0}, "--latent_size=0 must be at least 1"),
        ({"sampler_rate": -1.0}, "--sampler_rate=-1.0 must be above 0"),
        ({"sampler_beta1": 1.0}, "--sampler_beta1=1.0 must be in "),
        ({"latent_noise": float("nan")}, "--latent_noise=nan must be at least 0"),
        ({"fraction": 2.0}, "--fraction=2.0 must be in (0, 1]"),
        ({"shared_latent_size": 1}, "--shared_basis_size=24 vectors cannot be ortho"),
    ],
)
def test_a_configuration_out_of_range_is_refused(changes, message):
    with pytest.raises(errors.InputError, match=message.split("(")[0]):
        dataclasses.replace(CONFIG, **changes)
