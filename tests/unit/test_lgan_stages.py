"""Stages and generators: resumed to the same bits, on many devices, by hand.

Dimension key: S seeds, E shared autoencoders, K classes, N images of a class, G
generated images of a class, X numbers of an image, d encoding.
"""

import dataclasses
import itertools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lgan_jax import (
    autoencoder,
    config,
    encodings,
    generation,
    generators,
    splits,
    stages,
    train_state,
)
from lgan_jax.generators import MOVES, OWN, SHARED
from lgan_jax.task import Task
from veegan_jax.common import errors, metrics_log
from veegan_jax.runtime import loop, parallel

S, E, K = 2, 2, 3
CONFIG = config.Config(
    data_size=12,
    latent_size=3,
    basis_size=2,
    shared_latent_size=4,
    shared_basis_size=3,
    shared_autoencoders=E,
    autoencoder_widths=(6,),
    shared_widths=(8,),
    autoencoder_steps=20,
    autoencoder_batch=8,
    latent_noise=0.3,
    sampler_widths=(4,),
    sampler_steps=20,
    sampler_batch=8,
    noise_size=3,
    num_moves=50,
)


@pytest.fixture(scope="module")
def task():
    """Two seeds, three classes of a dozen images of which a third is known."""
    generator = np.random.default_rng(20170522)
    label = np.repeat(np.arange(K, dtype=np.int32), 12)
    image = generator.integers(0, 256, (len(label), 12)).astype(np.uint8)
    known = tuple(splits.stratified(label, 1 / 3, seed) for seed in (4, 9))
    return Task(image, (4, 3, 1), known, (4, 9))


GENERATORS = (
    *("lgan", "plain_gan_shared", "gaussian_moves", "vae", "mixup+affine", "affine"),
    *("lgan_moves", f"decoded{SHARED}", f"decoded{MOVES}"),
)


@pytest.fixture(scope="module")
def models(task, tmp_path_factory):
    names = generators.stages(GENERATORS)
    return stages.train(task, CONFIG, names, tmp_path_factory.mktemp("whole"))


def states(task, folder, name, *needed, config=CONFIG, mode="none"):
    """The states of one stage, trained with those before it."""
    models = stages.train(task, config, (*needed, name), folder, mode=mode)
    return models.states[name]


def assert_equal(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_an_interrupted_stage_goes_on_to_the_same_bits(
    task, models, tmp_path, monkeypatch
):
    write, calls = metrics_log.MetricsLog.write, []

    def write_and_stop(log, step, *rest):
        write(log, step, *rest)
        calls.append(step)
        if len(calls) in (3, 13):  # once in each stage
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(metrics_log.MetricsLog, "write", write_and_stop)
    for _ in range(2):
        with pytest.raises(loop.Interrupted, match="give the same command"):
            states(task, tmp_path, "lgan_moves", "shared")
    resumed = states(task, tmp_path, "lgan_moves", "shared")
    assert calls == [*range(2, 21, 2), *range(2, 21, 2)]  # no step taken twice
    assert_equal(resumed, models.states["lgan_moves"])


def test_a_finished_stage_is_only_read(task, tmp_path, monkeypatch):
    trained = states(task, tmp_path, "vae")

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(parallel, "run_steps", never)
    assert_equal(states(task, tmp_path, "vae"), trained)


def assert_close(one, other, atol):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_batches_split_over_devices_train_the_same_models(task, models, tmp_path, mode):
    ours = states(task, tmp_path, "shared", mode=mode).params
    theirs = models.states["shared"].params
    assert_close(ours, theirs, 2e-4)
    bias = jax.tree.leaves(ours)[0]  # starts at 0
    assert np.abs(bias).max() > 5e-3


@pytest.mark.slow
def test_seeds_and_classes_are_trained_apart(task, models, tmp_path):
    """The second seed by itself gives what it gives in company."""
    alone = Task(task.image_MX, task.shape, task.splits[1:], task.seeds[1:])
    ours = states(alone, tmp_path, "autoencoder").params
    theirs = jax.tree.map(lambda a: a[1:], models.states["autoencoder"].params)
    assert_close(ours, theirs, 1e-5)
    first = jax.tree.leaves(theirs)[0][0]
    assert all(np.abs(first[0] - first[k]).max() > 1e-4 for k in (1, 2))


def test_a_diverging_stage_is_named_with_its_seed(task, tmp_path, monkeypatch):
    wild = dataclasses.replace(CONFIG, autoencoder_rate=1e38)
    with pytest.raises(loop.NonFinite, match=r"autoencoder 0 of seed 4 became"):
        states(task, tmp_path, "autoencoder", config=wild)


def test_a_member_that_diverged_is_never_taken_as_trained(task, tmp_path, monkeypatch):
    """The same command again names it again, though the stage's folder is complete."""
    step = autoencoder.train_step

    def first_member_diverges(state, x_BX, **options):
        state, metrics = step(state, x_BX, **options)
        first = jnp.all(state.data.index_N == task.rows_SKN[0, 0])
        return state, metrics | {"loss": jnp.where(first, jnp.nan, metrics["loss"])}

    monkeypatch.setattr(autoencoder, "train_step", first_member_diverges)
    for _ in range(2):
        with pytest.raises(loop.NonFinite, match=r"^autoencoder 0 of seed 4 became"):
            states(task, tmp_path, "autoencoder")


def test_moves_join_two_encodings_of_a_class(generator):
    y_KNd = generator.normal(size=(3, 4, 2)).astype(np.float32)
    count_K = np.array([4, 2, 3], np.int32)
    moves = encodings.moves(jax.random.key(2), y_KNd, count_K, 6000)
    found = np.asarray(moves.restore(moves.unit))
    possible = [
        y[i] - y[j]
        for y, count in zip(y_KNd, count_K, strict=True)
        for i, j in itertools.permutations(range(count), 2)
    ]
    which = np.abs(found[:, None] - np.array(possible)[None]).sum(-1)
    assert which.min(axis=1).max() < 1e-4
    times = np.bincount(which.argmin(axis=1), minlength=len(possible))
    expected = np.repeat([2000 / 12, 2000 / 2, 2000 / 6], [12, 2, 6])
    np.testing.assert_allclose(times, expected, rtol=0.25)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=0.1)


def decoded(models, e, y_Nd):
    state = jax.tree.map(lambda a: a[1, e], models.states["shared"])
    x_NX = autoencoder.decode(state, jnp.asarray(y_Nd), config=CONFIG.shared())
    return np.asarray(train_state.to_uint8(x_NX)).astype(int)


def nearest_difference(image_X, possible_NX):
    return np.abs(possible_NX - image_X.astype(int)).max(axis=1).min()


@pytest.mark.slow
def test_shared_autoencoders_take_turns_to_decode_real_encodings(models):
    x_KGX = generation.generate(models, f"decoded{SHARED}", 1, 7)
    for k, e in itertools.product(range(K), range(E)):
        possible = decoded(models, e, models.shared_encodings[1, e, k])
        for image in x_KGX[k, e::E]:
            assert nearest_difference(image, possible) <= 1


@pytest.mark.slow
def test_moves_start_at_an_image_of_the_class(models):
    """By brute force: every start of the class and every move inside any class."""
    x_KGX = generation.generate(models, f"decoded{MOVES}", 1, 4)
    for k, e in itertools.product(range(K), range(E)):
        y_KNd = np.asarray(models.shared_encodings[1, e])
        moves = [
            y[i] - y[j] for y in y_KNd for i, j in itertools.permutations(range(4), 2)
        ]
        ends = [y + CONFIG.move_scale * move for y in y_KNd[k] for move in moves]
        possible = decoded(models, e, np.array(ends))
        for image in x_KGX[k, e::E]:
            assert nearest_difference(image, possible) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERATORS[:6])
def test_a_generator_makes_images_of_every_class(models, name):
    x_KGX = generation.generate(models, name, 0, 5)
    assert x_KGX.shape == (K, 5, 12)
    assert x_KGX.dtype == np.uint8
    np.testing.assert_array_equal(generation.generate(models, name, 0, 5), x_KGX)
    assert (generation.generate(models, name, 1, 5) != x_KGX).any()
    assert (generation.generate(models, name, 0, 5, draw=1) != x_KGX).any()
    assert len({image.tobytes() for image in x_KGX[0]}) > 1


def test_generators_are_named_by_sampler_and_space():
    latent = ("lgan", "plain_gan", "gaussian", "mixup", "decoded")
    expected = {n + space for n in latent for space in (OWN, SHARED, MOVES)}
    assert set(generators.names()) == expected | {"vae", "affine"}
    assert generators.split_name("plain_gan_moves") == ("plain_gan", MOVES)
    assert generators.split_name("plain_gan") == ("plain_gan", OWN)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (["affine"], []),
        (["vae+affine"], ["vae"]),
        (["mixup", "lgan"], ["autoencoder", "mixup", "lgan"]),
        (
            ["lgan_moves", "gaussian_shared", "lgan_moves+affine"],
            ["shared", "lgan_moves", "gaussian_shared"],
        ),
    ],
)
def test_stages_come_before_what_needs_them(chosen, expected):
    assert generators.stages(chosen) == tuple(expected)
    measured = generators.stages(chosen, sample_quality=True)
    assert measured == tuple(dict.fromkeys([*expected, "autoencoder"]))


@pytest.mark.parametrize("name", ["gan", "affine+affine", "lgan_move", ""])
def test_an_unknown_generator_is_refused_with_those_there_are(name):
    with pytest.raises(
        errors.InputError, match=r"unknown generator .*lgan_moves.*affine"
    ):
        generators.check(name)
