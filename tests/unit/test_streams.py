"""Streams: the same batches for a seed, from wherever, resumed at any of them.

Dimension key: S seeds, T steps, B batch.
"""

import itertools
import logging
import pathlib
import time

import jax
import numpy as np
import pytest
from absl import flags
from support.image_streams import (
    B,
    N,
    children,
    feed,
    initial,
    numbers,
    read,
    take,
    write,
)

from veegan_jax.common import errors
from veegan_jax.data import photos, prefetching, streams

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def parsed():
    """Workers need it: google/grain issue 1355."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """The same images, decoded as needed and in memory."""
    folder = tmp_path_factory.mktemp("streams") / "data"
    write(folder)
    return {"files": read(folder), "memory": read(folder, photos.MEMORY)}


def test_every_epoch_is_another_permutation_of_all_examples(lists):
    epochs = np.reshape(take(lists["memory"], 50), (-1, N))  # 20 epochs
    np.testing.assert_array_equal(
        np.sort(epochs, axis=1), np.tile(np.arange(N), (20, 1))
    )
    assert len(np.unique(epochs, axis=0)) == 20
    # No place prefers an example: 20 draws of 10, each about twice.
    assert max(np.bincount(column).max() for column in epochs.T) < 10


def test_another_version_of_grain_would_resume_at_the_same_example(lists):
    expected = [[4, 6, 9, 7], [5, 3, 1, 8], [2, 0, 8, 1], [3, 7, 9, 0], [5, 4, 2, 6]]
    assert take(lists["memory"], 5) == expected


def test_seeds_differ_and_are_no_shifted_epochs(lists):
    epochs = {
        tuple(row)
        for seed in range(4)
        for row in np.reshape(take(lists["memory"], 10, seed=seed), (-1, N))
    }
    assert len(epochs) == 16


@pytest.mark.parametrize("kind", ["memory", "files"])
@pytest.mark.parametrize("start", [0, 1, 7])
def test_a_stream_goes_on_where_it_was_left(lists, kind, start):
    whole = take(lists["memory"], 12)
    rest = take(lists[kind], 12 - start, start_step=start)
    assert rest == whole[start:]


def test_batches_are_the_callers_own(lists):
    for kind in lists:
        with streams.Stream(lists[kind], B, 3) as stream:
            first = next(stream)
            expected = first.copy()
            first += 1
        assert numbers(expected) == take(lists[kind], 1)[0]


def test_what_cannot_be_streamed_is_refused(lists):
    with pytest.raises(errors.InputError, match="--batch_size=11 must be 1 to 10"):
        streams.Stream(lists["files"], 11, 0)
    with pytest.raises(errors.InputError, match="--num_workers=-1"):
        streams.Stream(lists["files"], 1, 0, num_workers=-1)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_files_that_vanish_are_replaced_warned_of_and_counted(
    tmp_path, caplog, workers
):
    caplog.set_level(logging.WARNING)
    write(tmp_path / "data")
    examples = read(tmp_path / "data")
    whole = take(examples, 10)
    for name in ("03.png", "09.png"):
        (tmp_path / "data" / name).unlink()
    with streams.Stream(examples, B, 3, num_workers=workers) as stream:
        found = [numbers(batch) for batch in itertools.islice(stream, 10)]
        assert stream.replaced == {"03.png": 4, "09.png": 4}
    expected = [[{3: 4, 9: 0}.get(k, k) for k in batch] for batch in whole]
    assert found == expected
    assert caplog.text.count("03.png can no longer be read: the next image takes") == 1
    assert caplog.text.count("can no longer be read") == 2


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_folder_that_vanishes_ends_the_stream(tmp_path, workers):
    write(tmp_path / "data")
    examples = read(tmp_path / "data")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with (
        streams.Stream(examples, B, 3, num_workers=workers) as stream,
        pytest.raises(errors.InputError, match="is it still there"),
    ):
        next(stream)
    assert not children()


def test_lengths_cut_steps_into_groups():
    assert prefetching.lengths(7, 3) == [3, 3, 1]
    assert prefetching.lengths(6, 3) == [3, 3]
    assert prefetching.lengths(2, 3) == [2]
    assert prefetching.lengths(0, 3) == []


def test_groups_join_batches():
    batches = (np.full((B, 2), k) for k in itertools.count())
    found = list(prefetching.groups(batches, [2, 3]))
    assert [g.shape for g in found] == [(2, B, 2), (3, B, 2)]
    assert [g[:, 0, 0].tolist() for g in found] == [[0, 1], [2, 3, 4]]


def test_two_items_wait_and_no_more():
    made = []
    items = (made.append(k) or k for k in itertools.count())
    prefetch = prefetching.Prefetch(items, ahead=2)
    assert next(prefetch) == 0
    end = time.monotonic() + 10
    while len(made) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.3)
    assert made == [0, 1, 2]
    assert [next(prefetch), next(prefetch)] == [1, 2]
    assert prefetch.waited > 0
    prefetch.close()
    assert not prefetch._thread.is_alive()
    with pytest.raises(StopIteration):
        next(prefetch)


def test_errors_come_where_items_are_used():
    def items():
        yield 1
        raise KeyError("lost")

    prefetch = prefetching.Prefetch(items())
    assert next(prefetch) == 1
    for _ in range(2):
        with pytest.raises(KeyError, match="lost"):
            next(prefetch)
    prefetch.close()
    assert list(prefetching.Prefetch(iter("abc"))) == ["a", "b", "c"]


def expected_means(examples, number, start=0, batch=B):
    with streams.Stream(examples, batch, 3, start_step=start) as stream:
        return [np.mean(numbers(b)) for b in itertools.islice(stream, number)]


@pytest.mark.parametrize(
    ("mode", "devices", "seeds", "batch"),
    [("none", 1, 2, B), ("none", 8, 5, B), ("jit", 4, 2, 8), ("pmap", 4, 2, 8)],
)
def test_all_seeds_train_on_the_stream(lists, mode, devices, seeds, batch):
    options = dict(mode=mode, devices=jax.devices()[:devices], batch_size=batch)
    means = expected_means(lists["files"], 8, batch=batch)
    with feed(lists["files"], steps=8, batches=4, **options) as trainer:
        state, done = initial(seeds), 0
        for interval in (5, 3):
            state, metrics = trainer.run_steps(0, interval)(state)
            expected = means[done : done + interval]
            assert metrics["mean"].shape == (seeds, interval)
            np.testing.assert_allclose(
                metrics["mean"], np.tile(expected, (seeds, 1)), rtol=1e-6
            )
            done += interval
        total = np.dot(means, np.arange(1, 9))
        np.testing.assert_allclose(state.total, np.full(seeds, total), rtol=1e-6)
        assert state.step.tolist() == [8] * seeds
        assert 0 < trainer.waited < trainer.seconds
        assert trainer.replaced == {}


def test_a_resumed_run_trains_on_the_rest(lists):
    means = expected_means(lists["memory"], 9)
    with feed(lists["memory"], steps=9) as trainer:
        state = initial(1)
        state = state.replace(step=state.step + 4)
        run = trainer.run_steps(4, 3)
        _, first = run(state)
        state, metrics = trainer.run_steps(4, 2)(state)
    found = np.concatenate([first["mean"], metrics["mean"]], axis=1)
    np.testing.assert_allclose(found, [means[4:]], rtol=1e-6)


@pytest.mark.parametrize(
    ("mode", "devices"), [("none", 1), ("none", 2), ("jit", 2), ("pmap", 2)]
)
@pytest.mark.parametrize("bad", [1, 4])
def test_a_seed_that_diverges_keeps_the_state_before_the_interval(
    lists, mode, devices, bad
):
    """Wherever in its groups of 2, 2 and 1 steps; the others go on."""
    means = expected_means(lists["memory"], 10)
    totals = np.cumsum(np.multiply(means, np.arange(1, 11)))
    limit = (totals[4 + bad] + totals[5 + bad]) / 2
    options = dict(mode=mode, devices=jax.devices()[:devices])
    with feed(lists["memory"], steps=10, **options) as trainer:
        run = trainer.run_steps(0, 5)
        before, _ = run(initial(3, limit))
        state, metrics = run(before)
    assert state.step.tolist() == [10, 10, 5]
    np.testing.assert_allclose(state.total, totals[[9, 9, 4]], rtol=1e-6)
    assert np.isfinite(metrics["total"][:2]).all()
    assert np.argmin(np.isfinite(metrics["total"][2])) == bad
    keys = jax.random.key_data(state.key)
    np.testing.assert_array_equal(keys, jax.random.key_data(before.key))


def test_a_feed_that_never_ran_can_be_closed(lists):
    with feed(lists["files"], steps=4) as trainer:
        assert (trainer.waited, trainer.replaced) == (0.0, {})
