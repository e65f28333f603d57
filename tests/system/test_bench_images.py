"""bench/images.py: its PyTorch peer computes the JAX step; its record fills the table.

Dimension key: N digits, H height, W width.
"""

import json
import re

import flax_peers
import jax
import numpy as np
import pytest
import timing
from tables import common
from tables import speed as speed_tables

from veegan_jax.config import Config
from veegan_jax.experiments import base
from veegan_jax.presets import resolve

DIGITS_NHW = np.random.default_rng(0).integers(0, 256, (50, 8, 8), np.uint8)


def tiny(preset: str, **changes) -> Config:
    """Make a configuration for images of 8, 4 and 2 pixels, unless changed."""
    config = resolve.resolve(
        "gan",
        "stacked_digits",
        preset,
        batch_size=8,
        latent_size=5,
        generator_widths=(6, 5, 4),
        discriminator_widths=(3, 4),
        kernel_init="he",  # logits that depend on the weights
    )
    return config.replace(**changes)


@pytest.fixture(scope="module")
def states():
    """Keep initial JAX states: compiling is most of a test's time."""
    found = {}

    def get(config):
        if config not in found:
            state = base.init_seeds([0], config)
            found[config] = jax.tree.map(lambda a: a[0], state)
        return found[config]

    return get


@pytest.fixture
def peers():
    torch = pytest.importorskip("torch", reason="the optional extra [bench]")
    import torch_images

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two spin while they wait: for long on a busy machine
    yield torch_images
    torch.set_num_threads(threads)


def make(peers, config, state, **options):
    import torch

    torch.manual_seed(0)
    size = config.data.image_size
    digits_NHW = DIGITS_NHW[:, :size, :size]
    return peers.GAN(config, state, torch.device("cpu"), digits_NHW, **options)


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("quarter", {}),
        (
            "paper",
            {"image_size": 6, "num_stacks": 20, "generator_widths": (5, 4)},
        ),
    ],
)
def test_peer_computes_the_jax_step(preset, changes, states, peers):
    """`paper`: kernels of 5, no last convolution, D's turn every second step; here
    with an odd size inside: 6, 3, 2 pixels."""
    config = tiny(preset, **changes)
    state = states(config)
    for layout in peers.LAYOUTS:
        peer = make(peers, config, state, layout=layout)
        state = peers.warm_up(peer, state)
        assert peers.check(peer, state) <= 1e-5
        assert peer.steps_taken == state.step + 4


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"learning_rate": 1.1e-4}, "generator moved"),
        ({"learning_rate_d": 2.2e-4}, "discriminator moved"),
        ({"beta1": 0.9}, "moved"),
    ],
)
def test_check_sees_a_peer_that_differs(change, what, states, peers):
    config = tiny("quarter")
    state = states(config)
    peer = make(peers, config.replace(**change), state)
    peer.config = config  # what the JAX step follows
    state = peers.warm_up(peer, state)
    with pytest.raises(ValueError, match=what):
        peers.check(peer, state)


def test_check_sees_images_that_are_not_mirrored(states, peers, monkeypatch):
    def unmirrored(x_BCHW, z_BZ):
        return [np.asarray(a) for a in (x_BCHW.permute(0, 2, 3, 1), z_BZ)]

    config = tiny("quarter")
    monkeypatch.setattr(peers, "to_jax", unmirrored)
    peer = make(peers, config, states(config))
    state = peers.warm_up(peer, states(config))
    with pytest.raises(ValueError, match="loss_d is"):
        peers.check(peer, state)


@pytest.mark.filterwarnings("ignore:`torch.jit")  # torch.compile's own imports
def test_variants_say_why_there_is_no_compiled_one(states, peers, monkeypatch):
    import torch_image_variants

    def no_compiler(*args, **options):
        raise RuntimeError("no C++ compiler\nand a long story")

    monkeypatch.setattr(peers.torch, "compile", no_compiler)
    config = tiny("quarter")
    monkeypatch.setattr(torch_image_variants.distributed, "cpu_cores", lambda: 2)
    found = torch_image_variants.make(config, states(config), "cpu", DIGITS_NHW, 2)
    runners, error, note = found
    assert list(runners) == [
        *("contiguous, 2 threads", "contiguous, 1 thread"),
        *("channels_last, 2 threads", "channels_last, 1 thread"),
    ]
    assert error <= 1e-5
    assert note == "unavailable: RuntimeError: no C++ compiler"


def test_flax_computes_our_step(states):
    """No last convolution, and D's turn every second step; the script checks others."""
    config = tiny("paper", generator_widths=(5, 4, 3))
    state = states(config)
    assert flax_peers.check(config, state, DIGITS_NHW, warm_up=10) <= 1e-5
    run, steps = flax_peers.runner(config, state, 2, DIGITS_NHW)
    run()
    assert steps == 2


def test_rates_take_turns():
    calls = []
    runners = {name: (lambda name=name: calls.append(name), 3) for name in "ab"}
    rates = timing.rates(runners, repeats=2, min_seconds=0.0)
    assert calls == ["a", "b", "a", "b"]
    assert [len(rates[name]) for name in "ab"] == [2, 2]
    assert timing.fastest({"a": [1.0, 9.0, 2.0], "b": [3.0, 3.0, 3.0]}) == "b"
    ratio = timing.ratio([4.0, 8.0, 6.0], [2.0, 2.0, 1.0])
    assert ratio == {"ratio": 3.0, "ratio_range": [2.0, 6.0]}


def test_record_fills_the_table(scripts, tmp_path, monkeypatch, peers):
    path = tmp_path / "images.json"
    assert speed_tables.images(path) == common.EMPTY
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # threads sleep while they wait
    done = scripts.run(
        "bench/images.py",
        *("--tiny", "--methods=gan", "--presets=quarter", "--seeds=1", "--repeats=2"),
        *("--min_seconds=0", "--nocompile", f"--output={path}"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text())
    assert [row["seeds"] for row in record["rows"]] == [1]
    for row in record["rows"]:
        assert len(row["jax_steps_per_second"]) == 2
        by_variant = row["torch_steps_per_second_by_variant"]
        assert {name.partition(",")[0] for name in by_variant} == set(peers.LAYOUTS)
        assert set(row["against"]) == {"flax", "a step a call"}
        assert row["torch_median"] == max(map(np.median, by_variant.values()))
        np.testing.assert_allclose(
            row["ratio"], row["jax_images_per_second"] / row["torch_images_per_second"]
        )
        assert row["relative_error"] <= 1e-5
    assert [row["what"] for row in record["evaluation"]] == ["draw", "score"]
    (convolutions,) = record["convolutions"]
    assert (
        convolutions["ours_steps_per_second"]
        == (record["rows"][0]["jax_steps_per_second"])
    )

    table = speed_tables.images(path)
    assert re.search(r"\| GAN \| quarter, batch 8 \| 1 +\| ", table)
    assert "| over flax's | over a step a call |" in table
    assert "torch.compile, GAN: not tried." in table
    assert "samples drawn, quarter |" in table and "samples scored " in table
    assert "times the steps/s that XLA's own convolutions give" in table
    assert record["versions"]["jax"] in table and record["torch"] in table


def test_bad_flags_fail_before_any_work(scripts, tmp_path):
    done = scripts.run("bench/images.py", "--methods=gam", cwd=tmp_path)
    assert done.returncode != 0
    assert "--methods: unknown 'gam'; any of gan, ali" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
