"""Any checkpoint that a run kept can be scored, not only the newest."""

import jax
import numpy as np
import pytest
from support import tiny

from veegan_jax.common import errors
from veegan_jax.experiments import base, ivom, stacked_mnist, stored
from veegan_jax.presets import resolve
from veegan_jax.runtime import checkpoint

CONFIG = resolve.resolve("gan", "stacked_digits", "quarter", **tiny.STACKS)
STEPS = (3, 8)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of one seed with two checkpoints, of different weights."""
    folder = tmp_path_factory.mktemp("run")
    stored.claim(folder, CONFIG, base.Options(seeds=1))
    kept = checkpoint.Checkpoints(folder / "checkpoints")
    for step in STEPS:
        state = base.init_seeds([step], CONFIG)
        kept.save(step, state.replace(step=state.step + step))
        kept.close()
        kept = checkpoint.Checkpoints(folder / "checkpoints")
    return folder


def weights(state):
    return np.asarray(jax.tree.leaves(state.params)[0])


@pytest.mark.parametrize("step", [*STEPS, 0])
def test_the_checkpoint_of_a_step_is_read(workdir, step):
    wanted = step or STEPS[-1]
    _, _, done, state = stored.restore(workdir, step)
    assert done == wanted == state.step[0]
    expected = base.init_seeds([wanted], CONFIG)
    np.testing.assert_array_equal(weights(state), weights(expected))


def test_a_step_without_a_checkpoint_is_refused(workdir):
    with pytest.raises(errors.InputError, match=r"--step=5: no such .*; it has 3, 8"):
        stored.restore(workdir, 5)


def test_samples_and_ivom_are_those_of_the_step(workdir, tmp_path):
    drawn = [stacked_mnist.load_samples(workdir, 10, step) for step in STEPS]
    assert (drawn[0] != drawn[1]).any()
    np.testing.assert_array_equal(drawn[1], stacked_mnist.load_samples(workdir, 10))
    found = []
    for step in STEPS:
        options = ivom.Options(images=2, starts=1, iterations=2, step=step)
        record, _ = ivom.measure(workdir, options, tmp_path / str(step))
        found.append(record["mean"]["ivom"])
    assert found[0] != found[1]
