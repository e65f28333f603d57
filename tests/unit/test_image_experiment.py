"""Experiments on single images, on the bundled digits: from flags to figures.

The networks are tiny; the tests check that the record tells what was drawn.
"""

import functools
import json
import types
import weakref

import jax
import numpy as np
import PIL.Image
import pytest
from support import tiny

from veegan_jax import config as config_groups
from veegan_jax import methods
from veegan_jax.common import errors, memory
from veegan_jax.data import images, pixels
from veegan_jax.experiments import base, diverged, ivom_glance, sampling, stored
from veegan_jax.experiments import images as image_experiment
from veegan_jax.methods import gan
from veegan_jax.metrics import diversity
from veegan_jax.networks import configs as network_configs
from veegan_jax.presets import images as image_presets
from veegan_jax.presets import resolve
from veegan_jax.runtime import rng


def options(**changes):
    values = dict(seeds=2, samples=600, interval=4, save_every=0.0)
    return image_experiment.Options(**(values | changes))


@pytest.mark.slow
def test_a_run_records_what_it_draws_and_resumes_to_the_same_bits(tmp_path):
    config = resolve.resolve("veegan", "digits", "dense", **tiny.DENSE)
    source = image_experiment.load("digits")
    whole = image_experiment.run(config, options(), tmp_path / "whole", source)

    tiny.as_if_killed(tmp_path / "whole", 4, tmp_path / "part")
    part = image_experiment.run(config, options(), tmp_path / "part", source)
    assert part["per_seed"] == whole["per_seed"]

    record = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert record["data"] == images.load("digits", "train").source
    assert [s["seed"] for s in record["per_seed"]] == [0, 1]
    # The variety again from the checkpoint, pair by pair.
    *_, state = stored.restore(tmp_path / "whole")
    x_SNX = sampling.draw(state, config=config, num_samples=600)
    assert x_SNX.shape == (2, 600, 64) and x_SNX.dtype == np.uint8
    test = images.load("digits", "test").image.reshape(-1, 64)

    def difference(x):
        pairs = zip(x[1:].astype(float), x[:-1].astype(float), strict=True)
        return np.mean([np.mean((a - b) ** 2) for a, b in pairs])

    for seed, x_NX in zip(record["per_seed"], x_SNX, strict=True):
        expected = difference(x_NX) / difference(test)
        assert seed["variety"] == pytest.approx(expected, rel=1e-4)
    with np.load(tmp_path / "whole" / "samples.npz", allow_pickle=False) as kept:
        np.testing.assert_array_equal(
            kept["image"], x_SNX[:, :64].reshape(2, 64, 8, 8, 1)
        )
    shorter = sampling.draw(state, config=config, num_samples=70)
    np.testing.assert_array_equal(shorter, x_SNX[:, :70])
    names = ("grids/step-0000004.png", "samples.png", "curves.png")
    for name in (*names, "interpolations.png", "reconstructions.png"):
        with PIL.Image.open(tmp_path / "whole" / name) as image:
            assert min(image.size) > 80


@pytest.mark.parametrize("preset", ("quick", "dense"))
def test_the_step_trains_on_images_of_its_own_step(preset, monkeypatch):
    """Two steps see the batches that plain indexing gives, as images or as vectors."""
    changes = tiny.DENSE if preset == "dense" else tiny.IMAGES
    config = resolve.resolve("gan", "digits", preset, **changes)
    data = images.load("digits", "train").image
    seen = []

    class Spy:
        @staticmethod
        def train_step(state, x, *, config, axis_name):
            seen.append(np.asarray(x))
            return state.replace(step=state.step + 1), {}

    state = jax.tree.map(lambda leaf: leaf[0], base.init_seeds([5], config))
    monkeypatch.setattr(image_experiment.methods, "get", lambda name: Spy)
    for _ in range(2):
        state, _ = image_experiment.step_on_images(
            jax.numpy.asarray(data), state, None, config=config
        )
    for step, x in enumerate(seen):
        key = jax.random.fold_in(jax.random.fold_in(state.key, base.DATA), step)
        index = np.asarray(rng.index(key, 8, len(data)))
        expected = data[index] / 127.5 - 1
        shape = (8, 64) if preset == "dense" else (8, 8, 8, 1)
        np.testing.assert_allclose(x, expected.reshape(shape), atol=1e-6)
    assert (seen[0] != seen[1]).any()


def test_a_method_that_only_samples_has_all_but_interpolations(tmp_path, monkeypatch):
    mine = {name: getattr(gan, name) for name in ("init", "train_step", "sample")}
    monkeypatch.setitem(methods.METHODS, "mine", types.SimpleNamespace(**mine))
    config = resolve.resolve("mine", "digits", "dense", **tiny.DENSE)
    source = image_experiment.load("digits")
    image_experiment.run(config, options(seeds=1), tmp_path, source)
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {"samples.png", "curves.png"}


def test_reports_measure_the_ivom_of_some_test_images(tmp_path):
    config = resolve.resolve("gan", "digits", "dense", **tiny.DENSE)
    source = image_experiment.load("digits")
    image_experiment.train(config, options(ivom_images=3), tmp_path, source)
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    found = [line["ivom_25"] for line in lines]
    assert np.shape(found) == (2, 2)  # reports, seeds
    *_, state = stored.restore(tmp_path)
    number = len(source.test) // 3
    test = source.test[[0, number, 2 * number]]
    expected = ivom_glance.errors_of_seeds(state, config, test)
    np.testing.assert_allclose(found[-1], expected, rtol=1e-5)


def test_ivom_of_what_cannot_be_searched_is_refused(tmp_path, monkeypatch):
    config = resolve.resolve("gan", "digits", "dense", **tiny.DENSE)
    source = image_experiment.load("digits")
    many = options(ivom_images=len(source.test) + 1)
    with pytest.raises(errors.InputError, match=r"--ivom_images=\d+: there are"):
        image_experiment.train(config, many, tmp_path, source)
    only = types.SimpleNamespace(
        init=gan.init, train_step=gan.train_step, sample=gan.sample
    )
    monkeypatch.setitem(methods.METHODS, "only", only)
    config = resolve.resolve("only", "digits", "dense", **tiny.DENSE)
    with pytest.raises(errors.InputError, match="--ivom_images=3: only has no gen"):
        image_experiment.check_config(config, options(ivom_images=3))


def test_interpolation_keeps_to_the_prior(generator):
    ends = generator.normal(size=(2, 5, 7)).astype(np.float32)
    line = np.asarray(sampling.between(*map(jax.numpy.asarray, ends), 9))
    assert line.shape == (5, 9, 7)
    np.testing.assert_allclose(line[:, 0], ends[0], atol=1e-5)
    np.testing.assert_allclose(line[:, -1], ends[1], atol=1e-5)
    # The middle of an arc lies on the bisector, and is as long as its ends are.
    unit = ends / np.linalg.norm(ends, axis=-1, keepdims=True)
    middle = np.asarray(sampling.between(*map(jax.numpy.asarray, unit), 3))[:, 1]
    np.testing.assert_allclose(np.linalg.norm(middle, axis=1), 1, atol=1e-5)
    bisector = unit.sum(axis=0)
    bisector /= np.linalg.norm(bisector, axis=1, keepdims=True)
    np.testing.assert_allclose(middle, bisector, atol=1e-5)


def test_variety_of_one_image_and_of_the_test_images(generator):
    test = generator.integers(0, 256, (50, 4, 4, 1), np.uint8)
    assert diversity.variety(np.repeat(test[:1], 9, axis=0), test) == 0
    assert diversity.variety(test, test) == 1
    assert diversity.variety(test // 2, test) == pytest.approx(0.25, rel=0.05)


def test_variety_has_the_bits_of_a_mean_over_all_values(generator, monkeypatch):
    x = generator.integers(0, 256, (77, 5, 3, 3), np.uint8)
    values = x.astype(np.float32)
    for block in (128, 1000, 10**6):
        monkeypatch.setattr(diversity, "_BLOCK", block)
        expected = float(np.mean((values[1:] - values[:-1]) ** 2))
        assert diversity._difference(x) == expected


def test_the_samples_of_one_seed_at_a_time_are_in_memory():
    config = resolve.resolve("gan", "digits", "dense", **tiny.DENSE)
    state = base.init_seeds([0, 1, 2], config)
    seen = []

    def shape(x_NX):
        assert all(earlier() is None for earlier in seen)
        alive = [a for a in jax.live_arrays() if a.shape == (7, 64)]
        assert len(alive) <= 1
        seen.append(weakref.ref(x_NX))
        return x_NX.shape

    found, _ = sampling.of_each_seed(shape, state, config=config, num_samples=7)
    assert found == 3 * [(7, 64)]


def test_the_memory_need_not_hold_all_seeds_samples(monkeypatch):
    config = resolve.resolve("gan", "cifar10", "quick")
    monkeypatch.setattr(memory, "total", lambda: 20 * 10**9)
    for seeds in (1, 100):
        base.check(config, options(seeds=seeds, samples=10**6), drawn=500)
    with pytest.raises(errors.InputError, match="--samples=10000000 would take 31 GB"):
        base.check(config, options(samples=10**7), drawn=500)


def test_a_seed_that_draws_nan_is_named():
    """Pixels would hide it: NaN becomes black."""
    config = resolve.resolve("gan", "digits", "dense", **tiny.DENSE)
    state = base.init_seeds([0, 1], config)
    bad = jax.tree.map(lambda leaf: leaf.at[1].set(np.nan), state.params["generator"])
    state = state.replace(params=state.params | {"generator": bad}, ema=None)
    x_SNX, failures = sampling.draw_and_check(state, config=config, num_samples=7)
    assert x_SNX.shape == (2, 7, 64) and not x_SNX[1].any()
    assert failures == {1: "drew 7 of 7 samples with NaN or infinity"}


def test_reconstructions_are_of_the_methods_own_reconstructor():
    config = resolve.resolve("veegan", "digits", "dense", **tiny.DENSE)
    state = jax.tree.map(lambda leaf: leaf[0], base.init_seeds([0], config))
    x = images.load("digits", "test").image[:6]
    veegan = methods.get("veegan")
    z = veegan.reconstruct(state, x.reshape(6, 64) / 127.5 - 1.0, config=config)
    expected = np.asarray(veegan.generate(state, z, config=config))
    actual = sampling.reconstruct(state, x, config=config)
    np.testing.assert_array_equal(actual, pixels.to_uint8(expected))
    assert expected.std() > 0.01


@pytest.mark.parametrize("dataset", image_presets.SHAPES)
def test_presets_are_complete_and_the_same_for_all_but_their_own(dataset):
    for preset in image_presets.PRESETS:
        configs = {m: resolve.resolve(m, dataset, preset) for m in methods.METHODS}
        if preset == "paper" and dataset.startswith("cifar"):
            assert isinstance(configs.pop("ali").networks, network_configs.ALI)
        for field in ("steps", "latent_size", "generator_widths"):
            values = {config_groups.get(c, field) for c in configs.values()}
            assert len(values) == 1, (preset, field)
        # D judges as many examples, or packs, in each update.
        judged = {c.batch_size // c.objective.batch_parts[1] for c in configs.values()}
        assert len(judged) == 1, preset
        height, width, channels = image_presets.SHAPES[dataset]
        for config in configs.values():
            assert sampling.shape(config) == (height, width, channels)
            vectors = height * width * channels
            expected = (vectors,) if preset == "dense" else (height, width, channels)
            assert config.example_shape() == expected


@pytest.mark.parametrize("dataset", ("digits", "stacked_digits"))
def test_what_follows_from_the_latent_size_follows_it(dataset):
    resolved = functools.partial(resolve.resolve, dataset=dataset, latent_size=5)
    assert resolved("ali").objective.reconstructor_noise == 5
    assert resolved("veegan_mean").objective.reconstruction_weight == 1 / 5
    other = resolved("ali", reconstructor_noise=2)
    assert other.objective.reconstructor_noise == 2


def test_a_diverged_seed_is_named():
    record = {"per_seed": [{"seed": 3}, {"seed": 4, "failed": "became non-finite"}]}
    lines = diverged.lines("runs/x", record)
    assert lines == ["runs/x: seed 4 became non-finite"]
    with pytest.raises(errors.InputError, match="unknown dataset 'svhn'"):
        resolve.resolve("gan", "svhn", "quick")
