"""bench/flax_peers.py computes our step on the mixtures; bench/compare.py ends right.

Dimension key: B batch, X data dimensions, K modes.
"""

import json

import flax_peers
import jax
import numpy as np
import pytest

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.data import mixtures
from veegan_jax.presets import resolve


def tiny(method: str, **changes) -> Config:
    """Make a small version of the paper's networks."""
    sizes = dict(batch_size=16, latent_size=5, generator_widths=(12, 12))
    sizes |= dict(discriminator_widths=(9,))
    return resolve.resolve(method, "ring", "paper", **sizes | changes)


@pytest.mark.parametrize("method", ["gan", "veegan"])
def test_flax_computes_our_step(method):
    changes = dict(schedule="cosine", steps=60, ema=0.9)
    config = tiny(method, generator_noise=int(method == "veegan"), **changes)
    state = methods.get(method).init(jax.random.key(0), config)
    assert flax_peers.check(config, state) <= 1e-5
    run, steps = flax_peers.runner(config, state, 3)
    run()
    assert steps == 3


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"learning_rate_d": 2e-3}, "discriminator moved"),
        ({"ema": 0.5}, "average moved"),
        ({"reconstruction_weight": 0.9}, "loss_gr is"),
    ],
)
def test_check_sees_a_flax_peer_that_differs(change, what, monkeypatch):
    config = tiny("veegan", ema=0.9, steps=60)
    state = methods.get("veegan").init(jax.random.key(0), config)
    made, updated = flax_peers.make, flax_peers.update_of
    changed = config.replace(**change)
    monkeypatch.setattr(flax_peers, "make", lambda _, ours: made(changed, ours))
    monkeypatch.setattr(flax_peers, "update_of", lambda _: updated(changed))
    with pytest.raises(flax_peers.given_noise.Mismatch, match=what):
        flax_peers.check(config, state)


def test_flax_draws_the_mixtures():
    config = resolve.resolve("gan", "high_dim", "quick", batch_size=1000)
    mixture = mixtures.get("high_dim")
    x_BX = flax_peers.batches(config, None)()
    assert x_BX.shape == (1000, mixture.size) and x_BX.dtype == np.float32
    square_BK = ((x_BX[:, None] - mixture.means_KX) ** 2).sum(axis=2)
    variance = square_BK.min(axis=1).mean() / mixture.live_size
    np.testing.assert_allclose(variance, mixture.sigma**2, rtol=0.05)


def test_compare_ends_with_status_1_if_a_row_fell(scripts, tmp_path):
    row = {"method": "gan", "jax_steps_per_second": [9.0, 10.0]}
    record = {"command": "python scripts/bench/training.py", "rows": [row]}
    (tmp_path / "old.json").write_text(json.dumps(record))
    row["jax_steps_per_second"] = [5.0, 6.0]
    (tmp_path / "new.json").write_text(json.dumps(record))
    done = scripts.run("bench/compare.py", "old.json", "new.json", cwd=tmp_path)
    assert done.returncode == 1 and not done.stderr
    assert "fell: gan: jax_steps_per_second" in done.stdout
    done = scripts.run("bench/compare.py", "new.json", "old.json", cwd=tmp_path)
    assert done.returncode == 0 and "0 of 1 rows fell" in done.stdout
    done = scripts.run("bench/compare.py", "old.json", cwd=tmp_path)
    assert "give two records: compare.py OLD.json NEW.json" in done.stderr
