"""A seed that diverges is left behind, found again, and its arrays are kept."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.experiments import base, stored
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.methods import gan
from veegan_jax.networks.configs import MLP
from veegan_jax.runtime import loop, nan_replay

CONFIG = Config(
    "falls",
    "ring",
    steps=40,
    batch_size=8,
    networks=MLP(generator_widths=(4,), discriminator_widths=(4,)),
)
OPTIONS = base.Options(seeds=3, samples=50, interval=10, debug_nans=True)
FALL = 26  # the step that fails is the one after so many


def falls(which):
    """GAN, but the seeds in `which`, told by their keys, take the log of -1."""

    def train_step(state, x_BX, *, config, axis_name=None):
        new, metrics = gan.train_step(state, x_BX, config=config, axis_name=axis_name)
        word = jax.random.key_data(state.key)[0]
        hit = jnp.any(jnp.asarray(words) == word)
        sign = jnp.where(hit & (state.step == FALL), -1.0, 1.0)
        bent = jnp.log(sign)  # this line
        params = jax.tree.map(lambda a: a + bent, new.params)
        return new.replace(params=params), metrics

    seeds = range(OPTIONS.seeds)
    state = base.init_seeds(seeds, CONFIG.replace(method="gan"))
    words = [np.asarray(jax.random.key_data(state.key))[s, 0] for s in which] or [0]
    return types.SimpleNamespace(
        init=gan.init, train_step=train_step, sample=gan.sample
    )


@pytest.fixture
def register(monkeypatch):
    def add(which):
        monkeypatch.setitem(methods.METHODS, "falls", falls(which))

    return add


@pytest.mark.slow
def test_the_step_its_line_and_its_arrays_are_kept(tmp_path, caplog, register):
    """By one device, though eight trained; the next test has one for both."""
    register([1])
    options = dataclasses.replace(OPTIONS, parallel="pmap")
    record = mixture_experiment.run(CONFIG, options, tmp_path)
    failed = [seed.get("failed") for seed in record["per_seed"]]
    assert failed[0] is None and failed[2] is None  # the others went on
    assert "in steps 21 to 30" in failed[1] and "that of step 20" in failed[1]
    folder = tmp_path / "nonfinite" / "seed-1" / f"step-{FALL + 1}"
    assert f"first at step {FALL + 1}" in caplog.text
    assert str(folder) in caplog.text
    report = (folder / "report.txt").read_text()
    assert "invalid value (nan) encountered in log (test_nan_replay.py:" in report
    assert "jnp.log(sign)" in report
    assert f"step {FALL}: " in report  # the metrics before
    with np.load(folder / "before.npz", allow_pickle=False) as before:
        assert before["step"] == FALL
        assert all(np.isfinite(before[n]).all() for n in before.files)
    with np.load(folder / "after.npz", allow_pickle=False) as after:
        names = [n for n in after.files if not np.isfinite(after[n]).all()]
    assert "params/generator/Dense_0/kernel" in names
    # The state before is the one that an undisturbed run has there.
    register([])
    short = CONFIG.replace(steps=FALL)
    plain = dataclasses.replace(OPTIONS, interval=FALL)
    mixture_experiment.run(short, plain, tmp_path / "plain")
    *_, state = stored.restore(tmp_path / "plain")
    healthy = nan_replay.arrays(jax.tree.map(lambda a: a[1], state))
    with np.load(folder / "before.npz", allow_pickle=False) as before:
        assert before.files == list(healthy)
        for name in before.files:
            np.testing.assert_allclose(
                before[name], healthy[name], rtol=1e-4, atol=1e-6
            )


@pytest.mark.slow
def test_a_run_that_has_ended_is_explained_as_well(tmp_path, register):
    register([0, 1])
    loud = dataclasses.replace(OPTIONS, seeds=2)
    silent = dataclasses.replace(loud, debug_nans=False)
    with pytest.raises(loop.NonFinite, match=r"seed 1 .* in steps 21 to 30"):
        mixture_experiment.run(CONFIG, silent, tmp_path)
    assert not (tmp_path / "nonfinite").exists()
    with pytest.raises(loop.NonFinite):
        mixture_experiment.run(CONFIG, loud, tmp_path)
    for seed in range(2):
        folder = tmp_path / "nonfinite" / f"seed-{seed}" / f"step-{FALL + 1}"
        assert (folder / "report.txt").exists()


def test_what_does_not_come_again_is_said(tmp_path):
    @jax.jit
    def step(state, batch):
        del batch
        return {"step": state["step"] + 1, "x": state["x"] * 2}, {"loss": state["x"]}

    class Bag(dict):
        step = property(lambda self: self["step"])

    jax.tree_util.register_pytree_with_keys(
        Bag,
        lambda b: (
            [(jax.tree_util.DictKey(k), b[k]) for k in sorted(b)],
            tuple(sorted(b)),
        ),
        lambda keys, values: Bag(zip(keys, values, strict=True)),
    )
    start = Bag(step=jnp.int32(3), x=jnp.float32(1))
    found = nan_replay.replay(
        lambda s, b: (Bag(step(s, b)[0]), step(s, b)[1]), start, 4, tmp_path
    )
    assert "not again in steps 4 to 7" in found
    assert "loss 8" in found
    assert not list(tmp_path.iterdir())


def test_overflow_is_found_as_well(tmp_path, register):
    """Infinity without NaN: the products of large weights."""
    register([])
    state = base.init_seeds([0], CONFIG)
    state = jax.tree.map(lambda a: a[0], state)
    large = jax.tree.map(lambda a: a + 3e38, state.params["generator"])
    state = state.replace(params=state.params | {"generator": large})

    def step(state, batch):
        del batch
        return mixture_experiment.step_on_fresh_data(state, None, config=CONFIG)

    found = nan_replay.replay(step, state, 5, tmp_path)
    assert "first at step 1" in found
    assert (tmp_path / "step-1" / "report.txt").exists()
