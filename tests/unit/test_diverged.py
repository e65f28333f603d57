"""Runs whose seeds diverge: the command goes on with the others and ends with 1."""

import pathlib

import numpy as np
import pytest
from support import tiny

from veegan_jax.experiments import base, stored
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import resolve
from veegan_jax.runtime import loop


def test_a_run_that_diverges_stops_no_other(capsys):
    names = ("gan", "ali", "veegan")
    runs = [(pathlib.Path(name), resolve.resolve(name, "ring")) for name in names]

    def train(config, options, workdir):
        if config.method == "gan":
            raise loop.NonFinite("seed 0 became non-finite")
        return {"per_seed": [{"seed": 0}, {"seed": 1, "failed": "became so"}]}

    with pytest.raises(loop.NonFinite) as raised:
        base.run_all(
            runs,
            base.Options(seeds=2),
            train=train,
            dry_run=lambda *_: "",
            table=lambda records: f"table of {[*records]}",
        )
    assert str(raised.value).splitlines() == [
        "gan: seed 0 became non-finite",
        "ali: seed 1 became so",
        "veegan: seed 1 became so",
    ]
    printed = capsys.readouterr().out
    assert "table of ['ali']" in printed and "table of ['ali', 'veegan']" in printed


def test_without_a_whole_seed_there_is_no_mean():
    """And NumPy warns of nothing: warnings are errors here."""
    metrics = {"modes": np.array([1.0, 4.0])}
    options = base.Options(seeds=2)
    both = base.by_seed(metrics, ["modes"], options, {0: "a", 1: "b"})
    assert both["mean"] == both["std"] == {"modes": None}
    one = base.by_seed(metrics, ["modes"], options, {0: "a"})
    assert (one["mean"], one["std"]) == ({"modes": 4.0}, {"modes": None})


def test_samples_of_a_diverged_seed_are_not_scored(tmp_path, monkeypatch):
    config = resolve.resolve("gan", "stacked_digits", **tiny.STACKS)
    state = base.init_seeds([7], config)
    found = config, range(7, 8), 8, state.replace(step=state.step + 4)
    monkeypatch.setattr(stored, "restore", lambda *_: found)
    with pytest.raises(loop.NonFinite, match="seed 7 became non-finite after step 4"):
        stacked_mnist_experiment.load_samples(tmp_path, 10)
