"""One device, many devices and many seeds compute the same numbers.

SGD beside Adam shows a gradient that is wrong by a factor, which Adam would hide.

Dimension key: S seeds, T steps, B batch, X data dimensions.
"""

import functools

import jax
import numpy as np
import pytest
from support.parallel_runs import (
    B,
    T,
    assert_same,
    initial,
    leaves,
    result,
    runner,
)

from veegan_jax.runtime import parallel


def moved(before, after):
    """Largest change of a parameter, by network."""
    return {
        net: max(
            np.abs(a - b).max()
            for (_, a), (_, b) in zip(
                leaves(before.params[net]), leaves(after.params[net]), strict=True
            )
        )
        for net in before.params
    }


# A program takes seconds to compile, so each method has one number of devices.
SPLITS = (
    ("gan", 4),
    pytest.param("ali", 2, marks=pytest.mark.slow),
    pytest.param("unrolled", 8, marks=pytest.mark.slow),
    pytest.param("veegan", 2, marks=pytest.mark.slow),
    pytest.param("veegan_adversarial", 4, marks=pytest.mark.slow),
    pytest.param("wgan_gp", 4, marks=pytest.mark.slow),
    pytest.param("hinge", 2, marks=pytest.mark.slow),
    ("topk", 4),
    pytest.param("gdpp", 2, marks=pytest.mark.slow),
    pytest.param("bures", 2, marks=pytest.mark.slow),
    pytest.param("rpgan", 4, marks=pytest.mark.slow),
    pytest.param("mdgan", 2, marks=pytest.mark.slow),
    pytest.param("alice", 2, marks=pytest.mark.slow),
    pytest.param("meg", 2, marks=pytest.mark.slow),
    ("veegan_plus", 8),
)


@pytest.mark.parametrize(("method", "num_devices"), SPLITS)
def test_a_split_batch_takes_the_steps_of_a_whole_one(method, num_devices):
    assert_takes_the_steps_of_a_whole_one(method, "pmap", num_devices)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "num_devices"),
    [("gan", 4), ("veegan_plus", 8), ("topk", 4), ("wgan_gp", 4), ("bures", 2)],
)
def test_a_batch_split_by_jit_does_too(method, num_devices):
    """XLA splits the program, whichever the method."""
    assert_takes_the_steps_of_a_whole_one(method, "jit", num_devices)


def assert_takes_the_steps_of_a_whole_one(method, mode, num_devices):
    expected = result(method, "both", "none", 1)
    # The tolerance is a thousandth of the least that any array has moved; biases
    # before BatchNorm, which move by rounding alone, differ by 2e-6.
    assert min(moved(initial(method, "both"), expected[0]).values()) > 1e-2
    actual = result(method, "both", mode, num_devices)
    # BuresGAN's root of a matrix of rank 4, 16 by 16, multiplies rounding.
    worse = 10 if method == "bures" else 1
    assert_same(actual, expected, rtol=worse * 3e-5, atol=worse * 1e-5)
    assert actual[0].step.tolist() == [T, T]


@pytest.mark.parametrize("mode", ["pmap", "jit"])
def test_a_split_batch_takes_adams_own_steps(mode):
    expected = result("gan", "adam", "none", 1)
    actual = result("gan", "adam", mode, 8)
    assert_same(actual, expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize(("method", "num_devices"), SPLITS)
def test_all_devices_of_pmap_hold_the_same_state(method, num_devices):
    for path, leaf in jax.tree_util.tree_leaves_with_path(
        result(method, "both", "pmap", num_devices)
    ):
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        first, *others = [np.asarray(s.data) for s in leaf.addressable_shards]
        assert len(others) == num_devices - 1
        for other in others:
            np.testing.assert_array_equal(first, other, err_msg=str(path))


@pytest.mark.parametrize(
    ("mode", "num_devices"), [("none", 1), ("pmap", 4), ("jit", 4)]
)
def test_two_calls_continue_as_one_and_trace_no_more(mode, num_devices):
    run, traces = runner("gan", "both", mode, num_devices)
    state, _ = result("gan", "both", mode, num_devices)
    count = len(traces)
    state, _ = run(state)
    again, _ = run(run(initial("gan", "both"))[0])
    assert len(traces) == count
    assert state.step.tolist() == [2 * T, 2 * T]
    assert_same(again, state, rtol=0, atol=0)


@pytest.mark.parametrize("num_devices", [2, 4])
def test_seeds_spread_over_devices_keep_their_numbers(num_devices):
    # 5 seeds are shares of 3 + 2 and of 2 + 2 + 1, padded. Programs of other batch
    # sizes may round otherwise: equal to a tolerance, not bit for bit.
    expected = result("gan", "both", "none", 1, 5)
    actual = result("gan", "both", "none", num_devices, 5)
    assert jax.tree.leaves(actual)[0].shape[0] == 5
    assert_same(actual, expected, rtol=3e-5, atol=1e-5)
    final = np.asarray(expected[0].params["generator"]["Dense_0"]["kernel"])
    assert len(np.unique(final, axis=0)) == 5


def test_a_seed_does_not_depend_on_the_others():
    few = result("gan", "both", "none", 1, 2)
    many = result("gan", "both", "none", 1, 5)
    for (path, a), (_, b) in zip(leaves(few), leaves(many), strict=True):
        np.testing.assert_allclose(a, b[:2], rtol=3e-5, atol=1e-5, err_msg=path)


@pytest.mark.parametrize(
    ("mode", "num_devices", "seeds"),
    [("none", 1, 2), ("none", 2, 5), ("pmap", 4, 2), ("jit", 4, 2)],
)
@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_a_diverging_seed_is_rolled_back_alone(mode, num_devices, seeds, value):
    """NaN is there from the start; 1e30 overflows on the way."""
    run, _ = runner("gan", "both", mode, num_devices)
    healthy, _ = result("gan", "both", mode, num_devices, seeds)
    state = initial("gan", "both", seeds)
    poison = np.ones((seeds, 1, 1), np.float32)
    poison[1] = value
    params = dict(state.params)
    d = dict(params["discriminator"])
    d["Dense_1"] = d["Dense_1"] | {"kernel": d["Dense_1"]["kernel"] * poison}
    poisoned = state.replace(params=params | {"discriminator": d})
    new, losses = run(poisoned)
    assert new.step.tolist() == [0 if s == 1 else T for s in range(seeds)]
    assert losses["loss_d"].shape == (seeds, T)
    assert not np.isfinite(losses["loss_d"][1]).all()
    others = [s for s in range(seeds) if s != 1]
    for (path, a), (_, before), (_, alone) in zip(
        leaves(new), leaves(poisoned), leaves(healthy), strict=True
    ):
        np.testing.assert_array_equal(a[1], before[1], err_msg=path)
        np.testing.assert_array_equal(a[others], alone[others], err_msg=path)


@pytest.mark.parametrize(
    ("mode", "batch_size", "num_devices", "message"),
    [
        ("tpu", 8, 1, "--parallel='tpu' must be one of none, jit, pmap"),
        ("pmap", 10, 4, "--batch_size=10 does not divide over 4 devices; give a mult"),
        ("jit", 9, 2, "give a multiple of 2, or --parallel=none"),
    ],
)
def test_what_cannot_run_is_refused(mode, batch_size, num_devices, message):
    with pytest.raises(ValueError, match=message):
        parallel.check(mode, batch_size, num_devices)


@pytest.mark.parametrize(
    ("mode", "batch_size", "num_devices"),
    [("none", 9, 4), ("pmap", 8, 4), ("jit", 6, 2)],
)
def test_what_can_run_is_not(mode, batch_size, num_devices):
    assert parallel.check(mode, batch_size, num_devices) is None


def test_mean_averages_over_the_axis_and_only_there():
    values = np.arange(8, dtype=np.float32)
    averaged = jax.pmap(lambda a: parallel.mean({"a": a}, "batch"), "batch")(values)
    np.testing.assert_allclose(averaged["a"], np.full(8, 3.5))
    tree = {"a": values}
    assert parallel.mean(tree, None) is tree


@pytest.mark.parametrize("num_devices", [1, 4])
def test_joined_rows_come_apart_again_and_stay_on_their_devices(num_devices):
    """On one device in their order; on more, as pmap would have them there."""
    parts = [np.arange(48.0).reshape(B, 3), -np.arange(48.0).reshape(B, 3)]
    both = np.concatenate(parts)
    np.testing.assert_array_equal(parallel.concat_examples(*parts), both)
    for part, apart in zip(parts, parallel.split_examples(both), strict=True):
        np.testing.assert_array_equal(apart, part)
    mesh = jax.sharding.Mesh(jax.devices()[:num_devices], (parallel.BATCH_AXIS,))
    place = functools.partial(jax.sharding.NamedSharding, mesh)
    rows, whole = (place(jax.sharding.PartitionSpec(*a)) for a in (("batch",), ()))

    def run(*parts):
        joined = parallel.concat_examples(*parts)
        return joined, parallel.split_examples(2 * joined)

    with jax.set_mesh(mesh):
        compiled_run = jax.jit(run).lower(*jax.device_put(parts, rows)).compile()
        joined, doubled = compiled_run(*jax.device_put(parts, rows))
    for word in ("all-gather", "all-to-all", "collective-permute", "all-reduce"):
        assert word not in compiled_run.as_text()
    for part, apart in zip(parts, doubled, strict=True):
        np.testing.assert_array_equal(jax.device_put(apart, whole), 2 * part)
    blocks = [part.reshape(num_devices, -1, 3) for part in parts]
    np.testing.assert_array_equal(joined, np.concatenate(blocks, 1).reshape(-1, 3))
