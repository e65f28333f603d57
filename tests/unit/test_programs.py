"""programs.jit: as fast as jax.jit when it is called again, and bounded."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from veegan_jax.runtime import programs


def compiled(name):
    """Count the programs of this name that JAX holds."""
    gc.collect()
    return sum(
        program.hlo_modules()[0].name == name
        for program in jax.devices()[0].client.live_executables()
    )


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.setattr(programs, "KEPT", 2)
    traced = []

    @programs.jit("factor", "shift")
    def scaled_for_a_test(x, *, factor, shift=0):
        traced.append(factor)
        return factor * x + shift

    return scaled_for_a_test, traced


def test_programs_of_older_values_are_freed(scale):
    function, traced = scale
    x = np.arange(3.0, dtype=np.float32)
    for factor in (1, 2, 3, 4, 5):
        np.testing.assert_array_equal(
            function(x, factor=factor, shift=1), factor * x + 1
        )
    assert traced == [1, 2, 3, 4, 5]
    assert compiled("jit_scaled_for_a_test") == 2


def test_programs_of_the_last_values_are_kept(scale):
    function, traced = scale
    for factor in (1, 2, 1, 2):
        assert float(function(jnp.ones(()), factor=factor)) == factor
    assert traced == [1, 2]
    function(jnp.ones(2), factor=1)  # another shape: compiled beside the first
    function(jnp.ones(()), factor=1)
    assert traced == [1, 2, 1]
