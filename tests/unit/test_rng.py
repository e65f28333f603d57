"""Noise: threefry by hand, SciPy's distributions, and the same rows on any devices.

Dimension key: B rows, Z columns.
"""

import functools

import jax
import numpy as np
import pytest
from scipy import special, stats

from veegan_jax.runtime import rng

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry(key, count):
    """Threefry-2x32-20 (Salmon et al. 2011) on Python integers."""
    mask = 2**32 - 1
    schedule = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    x, y = (c + k & mask for c, k in zip(count, key, strict=True))
    for group in range(5):
        for r in ROTATIONS[group % 2]:
            x = x + y & mask
            y = (y << r | y >> 32 - r) & mask ^ x
        x = x + schedule[(group + 1) % 3] & mask
        y = y + schedule[(group + 2) % 3] + group + 1 & mask
    return x, y


def words_of(seed):
    return tuple(int(w) for w in jax.random.key_data(jax.random.key(seed)))


def on_devices(draw, num, mapper):
    """draw(axis_name) of every device, under vmap or pmap, one after the other."""
    shards = mapper(lambda _: draw("batch"), axis_name="batch")(np.arange(num))
    return np.concatenate(np.asarray(shards))


def test_threefry_by_hand_gives_the_published_answers():
    # Known answers of Random123, 20 rounds.
    assert threefry((0, 0), (0, 0)) == (0x6B200159, 0x99BA4EFE)
    ones = (2**32 - 1, 2**32 - 1)
    assert threefry(ones, ones) == (0x1CB996FC, 0xBB002BE7)
    pi = threefry((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3))
    assert pi == (0xC4923A9C, 0x483DF7A0)


@pytest.mark.parametrize(("rows", "columns"), [(5, 4), (4, 3), (3, 1)])
def test_normal_is_the_inverse_cdf_of_threefry(rows, columns):
    half = (columns + 1) // 2
    expected = np.zeros((rows, 2 * half))
    for i in range(rows):
        for j in range(half):
            words = threefry(words_of(3), (0, i * half + j))
            for word, column in zip(words, (j, j + half), strict=True):
                uniform = (word >> 9) / 2**23  # 23 bits, in [0, 1)
                expected[i, column] = np.sqrt(2) * special.erfinv(2 * uniform - 1)
    drawn = rng.normal(jax.random.key(3), (rows, columns))
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn, expected[:, :columns], rtol=1e-4, atol=1e-6)


def test_index_is_threefry_modulo_the_choices():
    expected = [threefry(words_of(8), (0, i))[0] % 25 for i in range(40)]
    assert rng.index(jax.random.key(8), 40, 25).tolist() == expected


def test_normal_is_standard_normal():
    z_BZ = np.asarray(rng.normal(jax.random.key(1), (20_000, 7)), np.float64)
    count = z_BZ.size
    assert stats.kstest(z_BZ.ravel(), "norm").pvalue > 1e-3
    # Moments 1 to 4 of N(0, 1), each within four standard errors.
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        error = abs(np.mean(z_BZ**power) - moment)
        assert error < 4 * np.sqrt(variance / count), power
    # Columns (the two words of a block are j and j + 4) and successive rows are
    # uncorrelated; so are their squares.
    for values in (z_BZ, z_BZ**2):
        table = np.corrcoef(np.hstack([values[:-1], values[1:]]).T)
        assert np.abs(table - np.eye(14)).max() < 4.5 / np.sqrt(len(values))
    # The tails are there: P(|z| > 4) = 6.3e-5 of 140,000.
    assert stats.binomtest(int((abs(z_BZ) > 4).sum()), count, 6.33e-5).pvalue > 1e-3


@pytest.mark.parametrize("num_choices", [8, 25])
def test_index_is_uniform(num_choices):
    drawn = np.asarray(rng.index(jax.random.key(2), 100_000, num_choices))
    assert drawn.dtype == np.int32
    counts = np.bincount(drawn, minlength=num_choices)
    assert len(counts) == num_choices
    assert stats.chisquare(counts).pvalue > 1e-3
    # Successive draws are independent.
    pairs = np.bincount(
        drawn[:-1:2] * num_choices + drawn[1::2], minlength=num_choices**2
    )
    assert stats.chisquare(pairs).pvalue > 1e-3


def test_keys_and_the_two_uses_give_unrelated_noise():
    one = np.asarray(rng.normal(jax.random.key(1), (4000, 2)))
    other = np.asarray(rng.normal(jax.random.key(2), (4000, 2)))
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(8000)


@pytest.mark.parametrize("mapper", [jax.vmap, jax.pmap])
@pytest.mark.parametrize("num_devices", [2, 4, 8])
def test_devices_draw_the_rows_of_one_global_array(num_devices, mapper):
    rows = 16 // num_devices

    def draw(axis_name, rows):
        return (
            rng.normal(jax.random.key(5), (rows, 3), axis_name=axis_name),
            rng.index(jax.random.key(6), rows, 10, axis_name=axis_name)[:, None],
        )

    def both(axis_name, rows=rows):
        z, i = draw(axis_name, rows)
        return jax.numpy.concatenate([z, i.astype(z.dtype)], axis=1)

    whole = jax.jit(functools.partial(both, None, 16))()
    np.testing.assert_array_equal(on_devices(both, num_devices, mapper), whole)


def test_a_row_does_not_depend_on_how_many_rows_there_are():
    few = rng.normal(jax.random.key(7), (3, 5))
    many = rng.normal(jax.random.key(7), (11, 5))
    np.testing.assert_array_equal(few, many[:3])
    np.testing.assert_array_equal(
        rng.index(jax.random.key(7), 3, 9), rng.index(jax.random.key(7), 11, 9)[:3]
    )


def test_no_columns():
    assert rng.normal(jax.random.key(0), (6, 0)).shape == (6, 0)
