"""IvOM against SciPy, closed forms and loops, on generators whose minima are known.

One file, since its tests share these generators and their compiled searches.

Dimension key: N images, H height, W width, Z latent, K starts, R reports, F features.
"""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import sklearn.decomposition
import sklearn.neighbors
from jax.tree_util import Partial

from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.methods import base as method_base
from veegan_jax.metrics import baselines, ivom_checks
from veegan_jax.metrics import batched_lbfgs as lanes
from veegan_jax.metrics import ivom as metric
from veegan_jax.presets import resolve

Z, SHAPE = 4, (5, 3)  # values of an image on two axes: the error takes both
ANY = dict(latent_size=Z, value_range=None)


def curved(params, z_BZ):
    """tanh features of z, and z itself: smooth, with one minimum for most images."""
    in_ZF, out_FX, linear_ZX = params
    x_BX = jnp.tanh(z_BZ @ in_ZF) @ out_FX + z_BZ @ linear_ZX
    return x_BX.reshape(-1, *SHAPE)


def straight(linear_ZX, z_BZ):
    return (z_BZ @ linear_ZX).reshape(-1, *SHAPE)


def edge(limit, z_BZ):
    """Each value is z's sum; NaN from the limit on."""
    x_B = jnp.sum(z_BZ, axis=1)
    x_B = jnp.where(x_B < limit, x_B, jnp.nan)
    return jnp.broadcast_to(x_B[:, None, None], (len(z_BZ), *SHAPE))


def one_device(sample, x_NHW, seed=0, **options):
    options = {"devices": jax.devices()[:1]} | ANY | options
    return metric.ivom(sample, x_NHW, jax.random.key(seed), **options)


@pytest.fixture
def params(generator):
    shapes = (Z, 6), (6, 15), (Z, 15)
    return [np.float32(generator.normal(size=s) / 2) for s in shapes]


@pytest.fixture
def x_NHW(generator):
    return np.float32(generator.normal(size=(13, *SHAPE)))


def slow(params, z_Z, x_HW):
    """The error of `curved` in float64, and its gradient by hand."""
    in_ZF, out_FX, linear_ZX = np.float64(params[0]), params[1], params[2]
    feature_F = np.tanh(z_Z @ in_ZF)
    rest_X = feature_F @ out_FX + z_Z @ linear_ZX - x_HW.reshape(-1)
    grad_Z = in_ZF @ ((1 - feature_F**2) * (out_FX @ rest_X)) + linear_ZX @ rest_X
    return np.mean(rest_X**2), 2 * grad_Z / rest_X.size


def test_finds_the_minima_that_scipy_finds(params, x_NHW):
    result = one_device(Partial(curved, params), x_NHW)
    assert result.error_NK.shape == (13, 3) and result.z_NZ.shape == (13, Z)
    start_z_NKZ = metric.draw_starts(jax.random.key(0), np.arange(13), 3, Z)
    error = functools.partial(slow, params)
    for n, x_HW in enumerate(x_NHW):
        found_K = [
            scipy.optimize.minimize(
                error, z_Z, (x_HW,), "L-BFGS-B", True, options=dict(ftol=1e-13)
            ).fun
            for z_Z in np.float64(start_z_NKZ[n])
        ]
        np.testing.assert_allclose(result.error_NK[n], found_K, rtol=1e-4)
        assert result.error_N[n] == result.error_NK[n].min()
        # The error and z belong together.
        again, _ = error(np.float64(result.z_NZ[n]), x_HW)
        assert result.error_N[n] == pytest.approx(again, rel=1e-5)
    assert result.converged_N.all() and (result.iterations_N < 100).all()
    assert (result.evaluations_NK < 150).all()


def cubic(z_BZ):
    return jnp.broadcast_to((z_BZ**3 - 3 * z_BZ)[:, :, None], (len(z_BZ), *SHAPE))


def test_the_best_of_the_starts_is_taken():
    # G's local maximum, 2 at z = -1, is a false minimum for images of 2 or more.
    x_NHW = np.float32([[[5]], [[3]], [[1]]]) * np.ones(SHAPE, np.float32)
    start_z_NKZ = np.float32([[-1.4, 3, -0.5], [3, -1.4, -0.5], [-1.4, -0.9, -0.5]])
    result = one_device(
        cubic, x_NHW, latent_size=1, start_z_NKZ=start_z_NKZ[:, :, None]
    )
    expected_NK = [[9, 0, 9], [0, 1, 1], [0, 0, 0]]
    np.testing.assert_allclose(result.error_NK, expected_NK, rtol=1e-5, atol=1e-5)
    root_N = [max(np.roots([1, 0, -3, -t]).real) for t in (5, 3)]
    np.testing.assert_allclose(result.z_NZ[:2, 0], root_N, rtol=1e-3)
    np.testing.assert_allclose(result.error_N, 0, atol=1e-5)
    np.testing.assert_allclose(result.curve_NR[:, -1], 0, atol=1e-5)


def test_linear_generators_have_their_closed_form(params, x_NHW):
    result = one_device(Partial(straight, params[2]), x_NHW, starts=1)
    x_NX = np.float64(x_NHW).reshape(13, -1)
    z_ZN, residual_N, *_ = np.linalg.lstsq(params[2].T, x_NX.T)
    np.testing.assert_allclose(result.error_N, residual_N / 15, rtol=1e-5)
    np.testing.assert_allclose(result.z_NZ, z_ZN.T, atol=2e-3)
    assert result.converged_N.all()
    # Its own images are reached, from any distance.
    z_NZ = 30 * np.float32(x_NHW[:, 0, :1] + np.eye(Z, dtype=np.float32)[0])
    own = np.asarray(straight(params[2], z_NZ))
    result = one_device(Partial(straight, params[2]), own, starts=1)
    assert result.error_N.max() < 1e-9 * np.mean(own**2)


def test_steps_grow_until_the_slope_falls():
    # (z - 100)^2 from 0: steps of 1, 2, 4 and 8 leave over 0.9 of the slope.
    result = one_device(
        functools.partial(jnp.tile, reps=(1, 2)),
        np.full((1, 2), 100, np.float32),
        latent_size=1,
        start_z_NKZ=np.zeros((1, 1, 1)),
        report_at=(0, 1, 3),
    )
    np.testing.assert_allclose(result.curve_NR[0], [100**2, 84**2, 0], atol=1e-6)
    assert result.evaluations_NK[0, 0] <= 9


def test_errors_and_gradients_are_those_of_float64(params, x_NHW, generator):
    z_NZ = np.float32(generator.normal(size=(13, Z)))
    evaluate = jax.jit(jax.value_and_grad(lanes.error, argnums=1))
    for z_Z, x_HW in zip(z_NZ, x_NHW, strict=True):
        found, grad_Z = evaluate(Partial(curved, params), z_Z, x_HW)
        error = functools.partial(slow, params, x_HW=x_HW)
        assert found == pytest.approx(error(z_Z)[0], rel=1e-5)
        numeric_Z = [
            (error(z_Z + h)[0] - error(z_Z - h)[0]) / 2e-4 for h in 1e-4 * np.eye(Z)
        ]
        np.testing.assert_allclose(grad_Z, numeric_Z, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(error(z_Z)[1], numeric_Z, rtol=1e-5, atol=1e-7)


def assert_same(result, expected):
    for name in ("error_N", "error_NK", "curve_NR"):
        np.testing.assert_allclose(
            getattr(result, name), getattr(expected, name), rtol=1e-5, err_msg=name
        )
    np.testing.assert_allclose(result.z_NZ, expected.z_NZ, atol=2e-3)
    np.testing.assert_array_equal(result.converged_N, expected.converged_N)


@pytest.mark.slow
def test_devices_memory_order_and_number_change_nothing(params, x_NHW):
    sample = Partial(curved, params)
    expected = one_device(sample, x_NHW)
    assert_same(one_device(sample, x_NHW, devices=jax.devices()[:2]), expected)
    # Three lanes, then one: calls of a few images, then of one on each device.
    assert_same(one_device(sample, x_NHW, memory_mib=0.01), expected)
    few = dict(memory_mib=0.001, devices=jax.devices()[:8])
    assert_same(one_device(sample, x_NHW, **few), expected)
    order = np.random.default_rng(0).permutation(13)[:11]
    some = one_device(sample, x_NHW[order], ids_N=order)
    assert_same(some, jax.tree.map(lambda a: a[order], expected))
    named = one_device(sample, x_NHW, ids_N=np.arange(13) + 1)
    assert (named.curve_NR[:, 0] != expected.curve_NR[:, 0]).all()
    other = one_device(sample, x_NHW, seed=1)
    assert (other.curve_NR[:, 0] != expected.curve_NR[:, 0]).all()
    given = metric.draw_starts(jax.random.key(0), np.arange(13), 3, Z)
    assert_same(one_device(sample, x_NHW, start_z_NKZ=given), expected)
    one = one_device(sample, x_NHW, start_z_NKZ=given[:, 1:2])
    np.testing.assert_allclose(one.error_N, expected.error_NK[:, 1], rtol=1e-5)


def test_lanes_follow_the_memory(params, x_NHW):
    count = functools.partial(
        metric._num_lanes, Partial(curved, params), x_NHW[0], np.zeros(Z, np.float32)
    )
    numbers = [count(2**10 * k) for k in (0, 1, 5, 10, 20, 1000)]
    assert numbers[:2] == [1, 1] and numbers[-1] == 8
    assert 1 < numbers[2] <= numbers[3] / 2 + 1 < numbers[4] <= 8
    # At least what the forward and the backward pass hand on.
    assert metric._bytes(jax.make_jaxpr(lambda a: jnp.sin(a) + 1)(x_NHW).jaxpr) == (
        2 * x_NHW.nbytes
    )
    inner = jax.make_jaxpr(lambda a: jax.jit(jnp.sin)(a) + 1)(x_NHW).jaxpr
    assert metric._bytes(inner) == 3 * x_NHW.nbytes


def test_starts_are_normal_and_a_function_of_their_names():
    key = jax.random.key(3)
    z_NKZ = metric.draw_starts(key, np.arange(700), 3, 8)
    some = metric.draw_starts(key, [650, 3], 2, 8)
    np.testing.assert_array_equal(some, z_NKZ[[650, 3], :2])
    assert len(np.unique(z_NKZ)) > 0.99 * z_NKZ.size
    assert abs(z_NKZ.mean()) < 0.03 and abs(z_NKZ.std() - 1) < 0.03


def test_curve_is_that_of_runs_cut_short(params, x_NHW):
    sample = Partial(curved, params)
    whole = one_device(sample, x_NHW, report_at=(0, 3, 9, 200))
    assert (np.diff(whole.curve_NR, axis=1) <= 0).all()
    assert (whole.curve_NR[:, 0] > whole.curve_NR[:, 1]).all()
    np.testing.assert_array_equal(whole.curve_NR[:, -1], whole.error_N)
    for column, num in ((1, 3), (2, 9)):
        cut = one_device(sample, x_NHW, iterations=num, report_at=(0, 1, 2, num))
        np.testing.assert_allclose(cut.error_N, whole.curve_NR[:, column], rtol=1e-6)
        np.testing.assert_array_equal(cut.curve_NR[:, -1], cut.error_N)
        assert (cut.iterations_N <= num).all()
    short = one_device(sample, x_NHW, iterations=3, report_at=(0, 1, 2, 3))
    assert not short.converged_N.any() and (short.iterations_N == 3).all()
    assert (short.evaluations_NK >= 4).all()
    # A looser rule stops earlier, and never below.
    loose = one_device(sample, x_NHW, report_at=(0, 3, 9, 200), rtol=1e-2)
    assert loose.iterations_N.mean() < 0.7 * whole.iterations_N.mean()
    assert (loose.error_NK >= whole.error_NK * (1 - 1e-6)).all()
    assert loose.converged_N.all()


def test_what_is_not_a_number_never_wins():
    start_z_NKZ = np.zeros((3, 2, Z), np.float32)
    start_z_NKZ[0, 0] = 1  # the sum is 4: beyond the edge
    start_z_NKZ[1] = 1
    x_NHW = np.ones((3, *SHAPE), np.float32)
    x_NHW[2] = 0.25
    result = one_device(Partial(edge, 0.5), x_NHW, start_z_NKZ=start_z_NKZ)
    # The nearest there is to the first image is just before the edge.
    np.testing.assert_allclose(result.error_NK[0], [np.inf, 0.25], rtol=1e-3)
    assert result.error_N[0] == result.error_NK[0, 1] >= 0.25
    assert 0.49 < result.z_NZ[0].sum() < 0.5
    assert (result.error_NK[1] == np.inf).all() and result.error_N[1] == np.inf
    assert (result.curve_NR[1] == np.inf).all()
    assert result.error_N[2] < 1e-9
    # Neither burns what others could use; only the last is at a minimum.
    assert result.evaluations_NK[0, 0] == 1 and result.evaluations_NK[1].max() == 1
    assert result.evaluations_NK[0, 1] < 500
    np.testing.assert_array_equal(result.converged_N, [False, False, True])


@pytest.fixture
def compiled(caplog):
    """Counts the programs compiled while a function runs."""

    def count(run):
        caplog.clear()
        with caplog.at_level(logging.WARNING), jax.log_compiles():
            run()
        return sum("Compiling" in r.message for r in caplog.records)

    return count


def test_one_program_for_all_weights_numbers_and_limits(generator, compiled):
    traced = []

    def sample(weight, z_BZ):
        traced.append(1)
        return curved(weight, z_BZ)

    def run(num, seed, **options):
        weight = [
            np.float32(generator.normal(size=w)) for w in ((Z, 6), (6, 15), (Z, 15))
        ]
        x_NHW = np.float32(generator.normal(size=(num, *SHAPE)))
        options = {"iterations": 9, "report_at": (0, 2, 5)} | options
        one_device(Partial(sample, weight), x_NHW, seed, **options)

    assert compiled(lambda: run(5, 0)) > 0
    before = len(traced)

    def others():
        run(5, 1)
        run(300, 2)  # more than one call holds
        run(1, 3, iterations=7, report_at=(1, 6, 7), rtol=1e-3)
        x_NHW = np.zeros((4, *SHAPE), np.float32)
        key = jax.random.key(0)
        weight = [np.ones(w, np.float32) for w in ((Z, 6), (6, 15), (Z, 15))]
        options = ANY | {"devices": jax.devices()[:1]}
        metric.best_of_random(Partial(sample, weight), x_NHW, key, **options)

    assert compiled(others) == 0
    assert len(traced) == before


@pytest.mark.slow
def test_plain_functions_and_the_model_states_of_this_package_are_generators():
    config = resolve.resolve(
        "gan",
        "stacked_digits",
        "quick",
        latent_size=Z,
        generator_widths=(4, 3),
        kernel_init="he",
    )
    init = jax.jit(functools.partial(methods.get("gan").init, config=config))
    state = init(jax.random.key(5))
    generate = functools.partial(method_base.generate, config=config)
    z_NZ = np.float32(np.random.default_rng(0).normal(size=(5, Z)))
    x_NHWC = np.asarray(generate(state, z_NZ))
    assert x_NHWC.std() > 0.1 and -1 <= x_NHWC.min() < -0.3
    key = jax.random.key(0)
    options = dict(latent_size=Z, iterations=60, report_at=(0, 60))
    options |= dict(value_range=(-1, 1), devices=jax.devices()[:1])
    result = metric.ivom(Partial(generate, state), x_NHWC, key, **options)
    # Its own images are found again, or nearly: it has kinks and false minima.
    assert np.median(result.error_N) < 1e-3 * result.curve_NR[:, 0].mean()
    again = np.asarray(generate(state, result.z_NZ))
    slow = np.mean((np.float64(again) - x_NHWC) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(result.error_N, slow, rtol=1e-3, atol=1e-9)
    # In [0, 1] an error is a quarter.
    half = metric.best_of_random(
        lambda z: (generate(state, z) + 1) / 2,
        (x_NHWC + 1) / 2,
        key,
        Z,
        devices=jax.devices()[:1],
    )
    np.testing.assert_allclose(4 * half, result.curve_NR[:, 0], rtol=1e-4)


def test_best_of_random_is_the_best_of_the_starts(params, x_NHW):
    key = jax.random.key(0)
    options = ANY | {"devices": jax.devices()[:1]}
    found_N = metric.best_of_random(Partial(curved, params), x_NHW, key, **options)
    z_NKZ = metric.draw_starts(key, np.arange(13), 3, Z)
    for found, z_KZ, x_HW in zip(found_N, z_NKZ, x_NHW, strict=True):
        x_KHW = np.float64(curved(params, z_KZ))
        expected = min(np.mean((x - x_HW) ** 2) for x in x_KHW)
        assert found == pytest.approx(expected, rel=1e-4)


def test_the_nearest_training_image_is_scikit_learns(generator, monkeypatch):
    monkeypatch.setattr(baselines, "_ROWS", 7)
    train, test = generator.normal(size=(30, 4, 2)), generator.normal(size=(9, 4, 2))
    search = sklearn.neighbors.NearestNeighbors(n_neighbors=1).fit(train.reshape(30, 8))
    distance, _ = search.kneighbors(test.reshape(9, 8))
    found = baselines.nearest_errors(train, test)
    np.testing.assert_allclose(found, distance[:, 0] ** 2 / 8, rtol=1e-10)
    assert baselines.nearest_errors(train, train[:3]).max() < 1e-12


def test_recall_counts_what_is_nearer_at_a_likely_z(generator):
    z_MZ = np.zeros((4, 64))
    z_MZ[1] = 1.2  # squared 92; 99.9 % of the prior's are below 104.7
    z_MZ[2] = 1.3  # squared 108
    error_M = np.array([0.1, 0.1, 0.1, np.nan])
    assert baselines.recall(error_M, np.full(4, 0.2), z_MZ) == (0.5, 0.75)
    assert baselines.recall(error_M, np.full(4, 0.1), z_MZ) == (0, 0)  # not nearer
    prior = generator.normal(size=(20_000, 16))
    inside, _ = baselines.recall(np.zeros(20_000), np.ones(20_000), prior)
    assert inside == pytest.approx(0.999, abs=0.001)


def test_baselines_are_those_of_scikit_learn(generator):
    mixing = generator.normal(size=(15, 15)) * np.linspace(0.1, 2, 15)
    train, test = (
        (generator.normal(size=(num, 15)) @ mixing.T + 3).reshape(num, *SHAPE)
        for num in (60, 9)
    )
    mean_X = train.reshape(60, -1).mean(axis=0)
    expected = [np.mean((x.reshape(-1) - mean_X) ** 2) for x in test]
    np.testing.assert_allclose(
        baselines.mean_image_errors(train, test), expected, rtol=1e-12
    )
    np.testing.assert_allclose(
        baselines.pca_errors(train, test, 0), expected, rtol=1e-12
    )
    for components in (1, 4, 14):
        model = sklearn.decomposition.PCA(components, svd_solver="full")
        flat_NX = test.reshape(9, -1)
        model.fit(train.reshape(60, -1))
        back_NX = model.inverse_transform(model.transform(flat_NX))
        expected = np.mean((back_NX - flat_NX) ** 2, axis=1)
        found = baselines.pca_errors(train, test, components)
        np.testing.assert_allclose(found, expected, rtol=1e-8)
    np.testing.assert_allclose(baselines.pca_errors(train, test, 15), 0, atol=1e-20)
    with pytest.raises(errors.InputError, match="60 images of 15 values have 0 to 15"):
        baselines.pca_errors(train, test, 16)
    with pytest.raises(errors.InputError, match="9 images of 15 values have 0 to 8"):
        baselines.pca_errors(test, train, 9)
    with pytest.raises(errors.InputError, match="must differ in number only"):
        baselines.mean_image_errors(train, test[:, :2])


GOOD = np.full((4, *SHAPE), 0.5, np.float32)


def spoilt(value, images=1):
    x_NHW = GOOD.copy()
    x_NHW[:images, 0, 0] = value
    return x_NHW


BAD = {
    "no images": (dict(x=GOOD[:0]), r"shape \(0, 5, 3\)"),
    "no values": (dict(x=np.float32(0.5)), r"shape \(\)"),
    "integers": (dict(x=np.uint8(GOOD)), "images are uint8"),
    "NaN": (dict(x=spoilt(np.nan, 2)), "2 of 4 images hold NaN"),
    "0 to 255": (dict(x=255 * GOOD), r"4 of 4 .* 127.5; they look like 0..255"),
    "-1 to 1": (dict(x=spoilt(-1, 3)), r"3 of 4 .* -1 to 0.5; they look like -1..1"),
    "too bright": (dict(x=spoilt(-3)), r"1 of 4 .*\(0, 1\), found -3 to 0.5; rescale"),
    "shape": (
        dict(x=GOOD[:, :4]),
        r"makes \(2, 5, 3\) of z \[2, 4\].*need \[2, 4, 3\]",
    ),
    "order": (dict(x=GOOD.swapaxes(1, 2)), r"images of shape \[3, 5\]"),
    "latent": (dict(latent_size=3), r"does not take z of shape \[2, 3\]"),
    "two results": (dict(sample=lambda z: (z, z)), r"makes \(\(2, 4\), \(2, 4\)\)"),
    "no starts": (dict(starts=0), "starts=0 must be at least 1"),
    "no iterations": (dict(iterations=0), "iterations=0 must be at least 1"),
    "no z": (dict(latent_size=0), "latent_size=0 must be at least 1"),
    "falling": (dict(report_at=(5, 2)), r"\(5, 2\) must rise"),
    "twice": (dict(report_at=(5, 5)), "must rise"),
    "never": (dict(report_at=()), "must rise"),
    "negative": (dict(report_at=(-1, 5)), "must rise, from 0"),
    "beyond": (dict(report_at=(5, 201)), r"\(5, 201\) exceeds iterations=200"),
    "few ids": (dict(ids_N=[1, 2]), r"shape \(2,\)"),
    "real ids": (dict(ids_N=[1.0, 2, 3, 4]), "float64"),
    "negative ids": (dict(ids_N=[-1, 2, 3, 4]), "0 to 2"),
    "starts for others": (dict(start_z_NKZ=np.zeros((3, 1, Z))), r"\(3, 1, 4\); 4 im"),
    "no starts given": (dict(start_z_NKZ=np.zeros((4, 0, Z))), r"\[4, number of"),
    "flat starts": (dict(start_z_NKZ=np.zeros((4, Z))), r"shape \(4, 4\)"),
    "wide starts": (dict(start_z_NKZ=np.zeros((4, 1, 5))), r"starts, 4\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_before_any_work(name, params):
    changes, words = BAD[name]
    options = dict(latent_size=Z, x=GOOD, sample=Partial(curved, params)) | changes
    x, sample = options.pop("x"), options.pop("sample")
    with pytest.raises(errors.InputError, match=words):
        metric.ivom(sample, x, jax.random.key(0), **options)


def test_good_input_is_not_refused(params):
    sample = Partial(curved, params)
    ivom_checks.check(sample, GOOD, latent_size=Z, report_at=(0, 200))
    ivom_checks.check(sample, spoilt(-1), latent_size=Z, value_range=(-1, 1))
    ivom_checks.check(sample, spoilt(1.000001), latent_size=Z, value_range=(0, 1))
    ivom_checks.check(sample, 255 * GOOD, latent_size=Z, value_range=None)
