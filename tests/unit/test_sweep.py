"""The members of a sweep are the runs they stand for."""

import functools

import jax
import numpy as np
import pytest

from veegan_jax.common import errors
from veegan_jax.experiments import base, sweep
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.presets import resolve
from veegan_jax.runtime import loop, parallel, seed_shares

TINY = dict(
    steps=6,
    batch_size=8,
    generator_widths=(4,),
    reconstructor_widths=(4,),
    discriminator_widths=(4,),
)
CONFIG = resolve.resolve("veegan_plus", "ring", "quick", **TINY)
GRID = {"learning_rate": (0.01, 0.003), "gamma": (0.1, 0.5)}
OPTIONS = base.Options(seeds=2, samples=100, interval=3)


def train(config, grid, mode, num_devices, steps=4):
    """(members, losses) after some steps; every mode, any number of devices."""
    found = sweep.variants(config, grid)
    members = sweep.init_members(config, found, OPTIONS)
    step = functools.partial(sweep.member_step, config=config)
    devices = jax.devices()[:num_devices]
    return parallel.run_steps(step, steps, mode=mode, devices=devices)(members)


GRID_OF_RATES = GRID | {"gamma": (0.5,)}


@functools.cache
def runs_of_their_own():
    """(states, losses) of each variant of GRID_OF_RATES, trained without the others."""
    found = []
    for variant in sweep.variants(CONFIG, GRID_OF_RATES):
        config = CONFIG.replace(**variant)
        step = functools.partial(mixture_experiment.step_on_fresh_data, config=config)
        run = parallel.run_steps(step, 4, mode="none", devices=jax.devices()[:1])
        found.append(run(base.init_seeds(OPTIONS.seed_numbers(), config)))
    return found


@pytest.mark.parametrize(
    ("mode", "num_devices"),
    [("none", 3), pytest.param("pmap", 2, marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_every_member_is_a_run_of_its_own(mode, num_devices):
    members, losses = train(CONFIG, GRID_OF_RATES, mode, num_devices)
    assert members.step.tolist() == [4] * 4
    found = sweep.variants(CONFIG, GRID_OF_RATES)
    assert found[1] == {"learning_rate": 0.003, "gamma": 0.5}
    for v, (states, own) in enumerate(runs_of_their_own()):
        pairs = zip(
            jax.tree.leaves(states.params),
            jax.tree.leaves(members.state.params),
            strict=True,
        )
        for expected, actual in pairs:
            np.testing.assert_allclose(
                actual[2 * v : 2 * v + 2], expected, rtol=2e-3, atol=2e-5
            )
        np.testing.assert_allclose(
            losses["loss_d"][2 * v : 2 * v + 2], own["loss_d"], rtol=1e-4
        )
    # The variants do differ.
    kernel = np.asarray(members.state.params["generator"]["Dense_0"]["kernel"])
    assert len(np.unique(kernel.reshape(4, -1).round(6), axis=0)) == 4


def test_five_members_on_four_devices_use_four():
    groups = seed_shares.groups(jax.devices()[:4], 5)
    assert [len(devices) for devices, _ in groups] == [1, 3]
    used = [device for devices, _ in groups for device in devices]
    assert used == jax.devices()[:4]
    index = np.concatenate([index for _, index in groups])
    assert index.tolist() == [0, 1, 2, 3, 4]
    # One program suffices, and no member is left out.
    for seeds in range(1, 20):
        for num in range(1, 9):
            groups = seed_shares.groups(jax.devices()[:num], seeds)
            parts = [np.split(i, len(d)) for d, i in groups]
            assert {n for part in parts for p in part for n in p} == set(range(seeds))
            used = sum(len(devices) for devices, _ in groups)
            assert used == min(seeds, num)
            assert max(len(p) for part in parts for p in part) == -(-seeds // num)


@pytest.mark.slow
def test_a_sweep_is_recorded_and_goes_on(tmp_path):
    record = sweep.run(CONFIG, GRID, OPTIONS, tmp_path / "whole")
    assert [row["values"] for row in record["variants"]] == sweep.variants(CONFIG, GRID)
    for row in record["variants"]:
        assert [seed["seed"] for seed in row["per_seed"]] == [0, 1]
        modes = [seed["modes"] for seed in row["per_seed"]]
        assert row["mean"]["modes"] == pytest.approx(np.mean(modes))
    assert "| 0.003 " in sweep.table(record)
    again = sweep.run(CONFIG, GRID, OPTIONS, tmp_path / "whole")
    assert again["variants"] == record["variants"]
    other = GRID | {"gamma": (0.1, 0.4)}
    with pytest.raises(
        errors.InputError, match=r"vary\.gamma: .* there, .* 0\.4\] now"
    ):
        sweep.run(CONFIG, other, OPTIONS, tmp_path / "whole")


@pytest.mark.parametrize(
    ("method", "grid", "message"),
    [
        ("gan", {"steps": (1.0, 2.0)}, "--vary=steps: must be one of learning_rate"),
        ("gan", {"beta1": (0.5, 0.5)}, "--vary=beta1: give different values"),
        ("gan", {"gamma": (0.1, 0.2)}, "--gamma: gan on ring has no such setting"),
        ("veegan_plus", {"gamma_end": (0.0, 0.1)}, "--gamma_end=0.0 must be above 0"),
        (
            "veegan_plus",
            {"gamma_end": (0.1, 9.0)},
            "--gamma_end=9.0 must be above 0 and at",
        ),
        (
            "gan",
            {"reconstruction_weight": (0.1, 1.0)},
            "gan on ring has no such setting",
        ),
        ("ali", {"penalty_scale": (0.1, 1.0)}, "ali on ring has no such setting"),
    ],
)
def test_what_cannot_vary_is_refused(tmp_path, method, grid, message):
    config = resolve.resolve(method, "ring", "quick", **TINY)
    with pytest.raises(errors.InputError, match=message):
        sweep.run(config, grid, OPTIONS, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_the_steps_do_not_read_is_refused():
    """The method has a gamma, but not without a penalty."""
    config = resolve.resolve("veegan_plus", "ring", penalty=False, **TINY)
    with pytest.raises(errors.InputError, match="gamma: veegan_plus does not read it"):
        sweep.check(config, {"gamma": (0.1, 0.2)}, OPTIONS)


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("gan", "learning_rate_d"),
        ("ali", "beta1"),
        ("unrolled", "beta2"),
        ("veegan", "reconstructor_std"),
        ("veegan", "reconstruction_weight"),
        ("veegan_plus", "penalty_scale"),
        ("veegan_plus", "gamma_end"),
    ],
)
def test_every_field_can_vary(method, field):
    config = resolve.resolve(method, "ring", "quick", **TINY)
    assert sweep.ignored(config, {field: 0.01, "learning_rate": 0.1}) == []


@pytest.mark.slow
@pytest.mark.parametrize("rates", [(0.01, 1e30), (1e29, 1e30)])
def test_a_variant_that_diverges_is_told(tmp_path, rates):
    """Alone it leaves the others whole; NumPy warns of nothing."""
    config = CONFIG.replace(method="veegan_plus")
    run = functools.partial(
        sweep.run, config, {"learning_rate": rates}, OPTIONS, tmp_path / "run"
    )
    if rates[0] > 1:
        with pytest.raises(loop.NonFinite, match=r"rate=1e\+30, seed 1 became"):
            run()
        return
    record = run()
    good, bad = record["variants"]
    assert good["mean"]["modes"] is not None and bad["mean"]["modes"] is None
    lines = sweep.failures(tmp_path, record)
    assert [line.partition(" became")[0] for line in lines] == [
        f"{tmp_path}: learning_rate=1e+30: seed {seed}" for seed in (0, 1)
    ]
    *_, good, bad = (r for r in sweep.table(record).splitlines() if r.startswith("|"))
    assert "| 1e+30 (2 of 2 diverged) |" in bad
    assert "diverged" not in good
