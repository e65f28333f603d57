"""IvOM of whole runs: what is measured, resumed and refused. Tiny networks."""

import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import tiny

from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.data import images
from veegan_jax.experiments import ivom as ivom_experiment
from veegan_jax.experiments import (
    ivom_glance,
    ivom_targets,
    sampling,
    stored,
)
from veegan_jax.presets import resolve
from veegan_jax.runtime import loop


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = resolve.resolve("veegan", "digits", "dense", **tiny.DENSE)
    workdir, state = tiny.trained(config, tmp_path_factory.mktemp("run") / "veegan")
    return workdir, config, state


def options(**changes):
    values = dict(images=10, starts=2, iterations=20, block=4)
    return ivom_experiment.Options(**(values | changes))


def test_errors_are_those_of_the_images_found(run, tmp_path):
    workdir, config, state = run
    record, found = ivom_experiment.measure(workdir, options(), tmp_path / "ivom")
    test = images.load("digits", "test").image
    chosen = test[:: len(test) // 10][:10].reshape(10, 64) / 255
    np.testing.assert_allclose(found["test"], chosen, atol=1e-6)
    assert found["nearest"].shape == (2, 10, 64)
    error_SN = np.mean((found["nearest"].clip(0, 1) - chosen) ** 2, axis=2)
    np.testing.assert_allclose(found["error"], error_SN, rtol=1e-4)
    for seed, error_N in zip(record["per_seed"], found["error"], strict=True):
        assert seed["ivom"] == pytest.approx(error_N.mean(), rel=1e-4)
        assert seed["ivom"] <= seed["ivom_5"] <= seed["random"]
        assert seed["ivom_from_r"] <= seed["r"]
        quantiles = np.percentile(error_N, ivom_experiment.QUANTILES)
        np.testing.assert_allclose(seed["quantiles"], quantiles, rtol=1e-4)
    values = [s["ivom"] for s in record["per_seed"]]
    assert record["mean"]["ivom"] == pytest.approx(np.mean(values), rel=1e-4)
    # No z on a lattice of 41^3 does better, and so the search did find the minima.
    axis = np.linspace(-4, 4, 41, dtype=np.float32)
    z = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    one = jax.tree.map(lambda leaf: leaf[0], state)
    x = np.asarray(ivom_glance.sampler(one, config)(jax.numpy.asarray(z)))
    for n in range(10):
        on_lattice = np.mean((x - chosen[n]) ** 2, axis=1).min()
        assert found["error"][0, n] <= 1.02 * on_lattice
    # The starts from R: the first error is that of G(R(x)).
    veegan = methods.get("veegan")
    code = veegan.reconstruct(one, 2 * chosen - 1, config=config)
    back = (np.asarray(veegan.generate(one, code, config=config)) + 1) / 2
    expected = np.mean((back - chosen) ** 2)
    assert record["per_seed"][0]["r"] == pytest.approx(expected, rel=1e-3)
    train = images.load("digits", "train").image.reshape(-1, 64) / 255
    expected = np.mean((chosen - train.mean(axis=0)) ** 2)
    assert record["baselines"]["mean_image"] == pytest.approx(expected, rel=1e-3)
    assert record["baselines"]["pca"] < record["baselines"]["mean_image"]


def test_a_glance_while_training_is_what_the_measurement_finds(run, tmp_path):
    workdir, config, state = run
    glance = ivom_glance.ITERATIONS
    chosen = options(starts=1, iterations=glance)
    record, _ = ivom_experiment.measure(workdir, chosen, tmp_path / "ivom")
    test = images.load("digits", "test").image
    some = test[ivom_glance.every_nth(len(test), 10)]
    error_S = ivom_glance.errors_of_seeds(state, config, some)
    expected = [seed["ivom"] for seed in record["per_seed"]]
    np.testing.assert_allclose(error_S, expected, rtol=1e-3)
    # A seed that draws NaN does not stop the other.
    kernel = state.params["generator"]
    spoiled = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), kernel)
    state = state.replace(params=state.params | {"generator": spoiled}, ema=None)
    found_S = ivom_glance.errors_of_seeds(state, config, some)
    assert np.isnan(found_S[0]) and found_S[1] == pytest.approx(expected[1], rel=1e-3)


def test_a_stopped_measurement_goes_on(run, tmp_path, monkeypatch):
    workdir, *_ = run
    whole, _ = ivom_experiment.measure(workdir, options(), tmp_path / "whole")
    calls = []
    original = ivom_experiment._measure_block

    def counted(*arguments):
        calls.append(arguments[1])
        if len(calls) == 3:
            signal.raise_signal(signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(ivom_experiment, "_measure_block", counted)
    with pytest.raises(loop.Interrupted, match="stopped by SIGTERM, 10 of 40"):
        ivom_experiment.measure(workdir, options(), tmp_path / "part")
    damaged = tmp_path / "part" / "blocks" / "seed-0-prior-000004.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    part, _ = ivom_experiment.measure(workdir, options(), tmp_path / "part")
    assert part["per_seed"] == whole["per_seed"]
    # Two seeds, prior and R, three blocks each, of which two were kept.
    assert len(calls) == 12 + 1
    assert damaged.with_name(damaged.name + ".damaged").exists()
    with pytest.raises(
        errors.InputError, match=r"starts: 2 there, 3 now\nGive another"
    ):
        ivom_experiment.measure(workdir, options(starts=3), tmp_path / "part")
    # The blocks of one run are not taken for those of another.
    other, _ = tiny.trained(run[1], tmp_path / "other", seeds=1)
    with pytest.raises(errors.InputError, match=r"\n  weights_sha256: "):
        ivom_experiment.measure(other, options(seeds=1), tmp_path / "part")


def test_a_damaged_record_of_the_training_is_named_before_any_work(run, tmp_path):
    workdir, *_ = run
    (workdir / "results.json").write_text("{")
    try:
        with pytest.raises(
            errors.InputError,
            match=r"results\.json cannot be read .*: give the command",
        ):
            ivom_experiment.measure(workdir, options(), tmp_path / "ivom")
        assert not (tmp_path / "ivom").exists()
    finally:
        (workdir / "results.json").unlink()


def test_a_seed_that_diverged_is_left_out_and_named(run, tmp_path, monkeypatch):
    workdir, *_ = run
    restored = stored.restore(workdir)
    early = restored[3].replace(step=restored[3].step - np.array([0, 2]))
    monkeypatch.setattr(stored, "restore", lambda *_: (*restored[:3], early))
    record, _ = ivom_experiment.measure(workdir, options(), tmp_path / "ivom")
    good, bad = record["per_seed"]
    assert (good["seed"], bad["failed"]) == (0, "became non-finite after step 6")
    assert record["mean"]["ivom"] == good["ivom"] != bad["ivom"]
    assert record["std"]["ivom"] is None and "failed" not in record["mean"]


def test_blocks_and_seeds_do_not_change_an_image(run, tmp_path):
    workdir, *_ = run
    _, of_whole = ivom_experiment.measure(workdir, options(), tmp_path / "a")
    one, of_one = ivom_experiment.measure(
        workdir, options(block=7, seeds=1), tmp_path / "b"
    )
    assert len(one["per_seed"]) == 1
    np.testing.assert_allclose(of_one["error"][0], of_whole["error"][0], rtol=1e-3)


@pytest.mark.slow
def test_stacks_and_mixtures_can_be_measured(tmp_path):
    small = dict(steps=4, batch_size=8, latent_size=2)
    config = resolve.resolve("gan", "ring", "quick", **small)
    workdir, _ = tiny.trained(config, tmp_path / "ring", seeds=1)
    record, found = ivom_experiment.measure(workdir, options(), tmp_path / "r")
    radius = np.linalg.norm(found["test"], axis=1)
    np.testing.assert_allclose(radius, 1, atol=0.06)  # draws from the ring
    assert "ivom_from_r" not in record["mean"]
    assert record["baselines"]["mean_image"] == pytest.approx(0.5, abs=0.05)
    assert record["baselines"]["pca"] == pytest.approx(
        0, abs=1e-5
    )  # two of two dimensions

    widths = dict(generator_widths=(4, 3, 2), discriminator_widths=(2, 3))
    config = resolve.resolve("gan", "stacked_digits", "quick", **small | widths)
    workdir, _ = tiny.trained(config, tmp_path / "stacked", seeds=1)
    record, found = ivom_experiment.measure(workdir, options(), tmp_path / "s")
    assert found["test"].shape == (10, 8, 8, 3)
    assert record["data"].startswith("stacks of scikit-learn's")


def test_a_method_that_only_samples_is_refused(tmp_path, monkeypatch):
    mine = {name: getattr(methods.gan, name) for name in ("init", "sample")}
    monkeypatch.setitem(methods.METHODS, "mine", types.SimpleNamespace(**mine))
    config = resolve.resolve("mine", "digits", "dense", **tiny.DENSE)
    workdir, _ = tiny.trained(config, tmp_path / "run", seeds=1)
    with pytest.raises(errors.InputError, match=r"mine has no generate\(state, z, "):
        ivom_experiment.measure(workdir, options(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_method_that_generates_integers_is_refused(tmp_path, monkeypatch):
    def generate(state, z_BZ, *, config):
        return jnp.round(methods.gan.generate(state, z_BZ, config=config)).astype(int)

    mine = {name: getattr(methods.gan, name) for name in ("init", "sample")}
    mine = types.SimpleNamespace(**mine, generate=generate)
    monkeypatch.setitem(methods.METHODS, "mine", mine)
    config = resolve.resolve("mine", "digits", "dense", **tiny.DENSE)
    workdir, _ = tiny.trained(config, tmp_path / "run", seeds=1)
    with pytest.raises(errors.InputError, match=r"the generator makes int.*no cast to"):
        ivom_experiment.measure(workdir, options(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_wall_time_counts_blocks_and_baselines(run, tmp_path, monkeypatch, capsys):
    workdir, *_ = run
    now = [0.0]

    def wait(seconds, result):
        now[0] += seconds
        return result

    def block(block, state, config, targets, options):
        num = len(block.ids)
        zeros = {n: np.zeros(num) for n in ("error", "converged")}
        curve = np.zeros((num, len(options.report_at())))
        z = np.zeros((num, config.latent_size), np.float32)
        return wait(10, zeros | {"curve": curve, "z": z})

    def pca_errors(train_NX, targets_MX, components):
        return wait(1000, np.zeros(len(targets_MX)))

    clock = types.SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(ivom_experiment, "time", clock)
    monkeypatch.setattr(ivom_experiment, "_measure_block", block)
    monkeypatch.setattr(ivom_targets.baselines, "pca_errors", pca_errors)
    for _ in range(2):  # nothing is left to measure in the second command
        record, _ = ivom_experiment.measure(
            workdir, options(seeds=1), tmp_path / "ivom"
        )
        # Three blocks from the prior and three from R.
        assert record["wall_seconds"] == 6 * 10 + 1000
        assert "PCA of 1442 images of 64 values ..." in capsys.readouterr().err


def test_which_test_images_are_measured():
    np.testing.assert_array_equal(ivom_glance.every_nth(10_000, 1280)[:3], [0, 7, 14])
    assert ivom_glance.every_nth(10_000, 1280)[-1] == 8953
    np.testing.assert_array_equal(ivom_glance.every_nth(5, 5), range(5))
    with pytest.raises(errors.InputError, match="--images=6: there are 5 test images"):
        ivom_glance.every_nth(5, 6)


def test_training_images_are_scaled_in_blocks_to_the_same_bits(monkeypatch):
    config = resolve.resolve("gan", "digits", "dense")
    train = images.load("digits", "train").image
    assert len(train) > ivom_targets._BLOCK
    expected = np.asarray((sampling.as_input(jnp.asarray(train), config) + 1) / 2).clip(
        0, 1
    )
    sizes, as_input = [], sampling.as_input
    monkeypatch.setattr(
        ivom_targets.sampling,
        "as_input",
        lambda x, config: sizes.append(len(x)) or as_input(x, config),
    )
    found = ivom_targets.load(config, 100).train_NX
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32 and max(sizes) == ivom_targets._BLOCK
