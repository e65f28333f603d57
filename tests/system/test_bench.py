"""bench/training.py: FLOPs, rates and table; its peers compute the JAX steps.

Dimension key: B batch, X data dimensions.
"""

import functools
import itertools
import time

import jax
import numpy as np
import pytest
import summaries
import timing
import training as bench  # a script, not part of a package

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.data import mixtures
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.presets import mixtures as mixture_presets
from veegan_jax.presets import resolve


def tiny(method: str, **changes) -> Config:
    """Make a small version of the paper's networks."""
    sizes = dict(
        batch_size=16,
        latent_size=5,
        generator_widths=(12, 12),
        discriminator_widths=(9,),
    )
    if method == "unrolled":
        sizes["unrolled_steps"] = 2
    if method == "wgan_gp":
        sizes["critic_steps"] = 2
    return resolve.resolve(method, "ring", "paper", **sizes | changes)


def macs(*sizes: int) -> tuple[int, int]:
    """Count multiply-adds of an MLP per example, and those of its first layer."""
    layers = [a * b for a, b in itertools.pairwise(sizes)]
    return sum(layers), layers[0]


def test_flops_of_gan_and_veegan_equal_a_count_by_hand():
    """Per example: forward; a product for the kernel's and one for the input's
    gradient, the latter not in a first layer whose input needs none."""
    config = resolve.resolve("gan", "ring", "paper")
    g, first_g = macs(256, 128, 128, 2)
    d, first_d = macs(2, 128, 128, 1)
    forward, grad_d = g + 2 * d, 2 * (2 * d - first_d)
    grad_g = d + 2 * g - first_g  # through D to its input, then G's own
    expected = 2 * 512 * (forward + grad_d + grad_g)
    assert bench.flops_per_step(config) == expected

    config = resolve.resolve("veegan", "ring", "paper")
    g, first_g = macs(254 + 1, 128, 128, 2)
    r, _ = macs(2, 128, 128, 254)
    d, first_d = macs(254 + 2, 128, 1)
    forward, grad_d = g + 2 * r + 2 * d, 2 * (2 * d - first_d)
    grad_gr = d + 2 * r + 2 * g - first_g  # D's and R's input is x_g: no first saved
    expected = 2 * 500 * (forward + grad_d + grad_gr)
    assert bench.flops_per_step(config) == expected


def test_flops_count_every_unrolled_update():
    """The updates are calls of one function: each call counts."""
    one, two, three, five = (
        bench.flops_per_step(tiny("unrolled", unrolled_steps=n)) for n in (1, 2, 3, 5)
    )
    assert three - two == two - one > 0
    assert five - three == 2 * (two - one)


@pytest.mark.parametrize("method", bench.NAMES)
def test_flops_are_most_of_what_xla_counts(method):
    """XLA adds elementwise work, little of it at the paper's sizes."""
    config = resolve.resolve(method, "ring", "paper")
    init = functools.partial(methods.get(method).init, config=config)
    state = jax.eval_shape(init, jax.random.key(0))
    step = functools.partial(
        mixture_experiment.step_on_fresh_data, axis_name=None, config=config
    )
    theirs = jax.jit(step).lower(state).cost_analysis()["flops"]
    assert 0.9 < bench.flops_per_step(config) / theirs < 1


def test_cases_are_the_presets_and_the_small_veegans():
    found = bench.cases(bench.NAMES, bench.PRESETS)
    assert [(p, c.method) for p, c in found] == [
        *[("paper", name) for name in bench.NAMES],
        *[("quick", name) for name in bench.NAMES],
        ("batch256", "veegan"),
        ("batch64", "veegan"),
    ]
    small = found[-1][1]
    assert (small.batch_size, small.latent_size) == (64, 2)
    for part in ("generator", "reconstructor", "discriminator"):
        assert getattr(small.networks, f"{part}_widths") == (128, 128)


@pytest.mark.parametrize(
    ("names", "presets", "message"),
    [
        (["gam"], ["quick"], "--methods: unknown 'gam'; any of gan, ali"),
        (["gan"], ["tiny"], "--presets: unknown 'tiny'; any of paper, quick"),
        (["gan"], ["batch64"], "nothing to measure; batch256, batch64 are for veegan"),
    ],
)
def test_cases_refuse_what_they_do_not_know(names, presets, message):
    with pytest.raises(ValueError, match=message):
        bench.cases(names, presets)


def test_rate_counts_whole_calls_and_all_their_steps():
    rate = timing.rate((lambda: time.sleep(0.02), 10), min_seconds=0.05)
    assert 250 < rate <= 500  # 10 steps in 20 ms, or longer if the machine is busy
    calls = []
    timing.rate((lambda: calls.append(1), 1), min_seconds=0.0)
    assert len(calls) == 1


def test_jax_runner_continues_and_counts_every_seed():
    (run, steps), compile_seconds = bench.jax_runner(tiny("gan"), seeds=2, num_steps=4)
    assert steps == 8
    assert compile_seconds > 0
    assert timing.seconds(run) < compile_seconds


def test_measure_and_summarize_without_torch():
    config = tiny("gan")
    rows = bench.measure(
        "tiny",
        config,
        repeats=2,
        min_seconds=0.0,
        torch_device=None,
        precision="bfloat16",
        seeds=(2,),
        work_per_call=0,
    )
    (row,) = rows
    assert (row["seeds"], row["precision"]) == (2, "bfloat16")
    assert len(row["jax_steps_per_second"]) == 2
    assert row["torch_steps_per_second_by_variant"] == {}
    assert set(row["against"]) == {"flax", "a step a call"}
    assert row["peak_memory_so_far_mib"]["process"] > 50
    assert "relative_error" not in row
    assert len(summaries.summarize(rows, peak=1e9).splitlines()) == 3
    median = np.mean(row["jax_steps_per_second"])
    flops = bench.flops_per_step(config)
    np.testing.assert_allclose(row["jax_of_peak"], median * flops / 1e9)


def test_summarize_takes_the_fastest_variant():
    row = {
        "method": "gan",
        "preset": "quick",
        "batch_size": 64,
        "seeds": 1,
        "flops_per_step": 10**6,
        "compile_seconds": 1.0,
        "jax_steps_per_second": [100.0, 300.0, 200.0],
        "torch_steps_per_second_by_variant": {
            "eager, 1 thread": [50.0, 50, 100],
            "eager, 2 threads": [20.0, 90, 9],
            "compiled, 1 thread": [60.0, 70.0],  # it left after two turns
        },
    }
    text = summaries.summarize([row], peak=1e9)
    assert (row["torch_variant"], row["ratio"]) == ("eager, 1 thread", 4.0)
    assert row["ratio_range"] == [2.0, 6.0]
    assert "50 (eager, 1 thread)" in text and "4.00 (2.00 to 6.00)" in text
    np.testing.assert_allclose(row["jax_of_peak"], 0.2)
    np.testing.assert_allclose(row["torch_of_peak"], 0.05)


def test_matmul_rate_is_positive(monkeypatch):
    monkeypatch.setattr(bench, "MATMUL_SIZE", 32)
    rates = bench.matmul_rate(None)
    assert list(rates) == ["jax"] and rates["jax"] > 0


def test_missing_torch_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr(timing.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[bench\]', or give --no"):
        timing.set_up_torch()


@pytest.fixture
def torch_training():
    torch = pytest.importorskip("torch", reason="the optional extra [bench]")
    torch.manual_seed(0)
    import torch_training

    return torch_training


EVERYTHING = dict(
    fourier_size=3,
    generator_noise=1,
    schedule="cosine",
    steps=60,
    ema=0.9,
)
OBJECTIVES = {
    "veegan": dict(reconstruction_weight=0.6),
    "rpgan": dict(gamma=0.5, gamma_end=0.1),
    "veegan_plus": dict(
        reconstruction_weight=0.6, penalty=True, gamma=0.5, gamma_end=0.1
    ),
}


@pytest.mark.parametrize(
    ("method", "everything"), [("ali", False), *((name, True) for name in bench.NAMES)]
)
def test_peers_compute_the_jax_step(method, everything, torch_training):
    """At all choices that are not the paper's; at its maxout and BatchNorm in ALI.

    The benchmark checks whatever it times.
    """
    changes = EVERYTHING | OBJECTIVES.get(method, {}) if everything else {}
    config = tiny(method, kernel_init="he", **changes)
    if everything:
        config = config.replace(scale=1.7)
    import check_peers

    limit = 5e-5 if method == "wgan_gp" else 1e-5  # of its fifth update of D
    assert check_peers.check(config, "cpu") <= limit


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"learning_rate": 2e-3}, "generator moved"),
        ({"learning_rate_d": 2e-3}, "discriminator moved"),
        ({"beta1": 0.9}, "moved"),
        ({"ema": 0.5}, "average moved"),
        ({"schedule": "cosine"}, "moved"),
        ({"reconstruction_weight": 0.9}, "loss_gr is"),
        ({"reconstructor_std": 0.5}, "loss_d is"),
        ({"latent_size": 4}, "the peer does not"),
    ],
)
def test_check_sees_a_peer_that_differs(change, what, torch_training, monkeypatch):
    """A peer with one wrong hyper-parameter, each as small as could be overlooked."""
    config = tiny("veegan", ema=0.9, steps=60)

    class Wrong(torch_training.VEEGAN):
        def __init__(self, config, state, device):
            changed = config.replace(**change)
            super().__init__(changed, state, device)

    monkeypatch.setitem(torch_training.PEERS, "veegan", Wrong)
    import check_peers
    import given_noise

    with pytest.raises(given_noise.Mismatch, match=what):
        check_peers.check(config, "cpu")


@pytest.mark.parametrize("dataset", mixture_presets.DATASETS)
def test_peers_draw_the_mixtures(dataset, torch_training):
    mixture = mixtures.get(dataset)
    config = resolve.resolve("gan", dataset, "quick", batch_size=1000)
    x_BX = torch_training.make(config, "cpu").data().numpy()
    assert x_BX.shape == (1000, mixture.size)
    square_BK = ((x_BX[:, None] - mixture.means_KX) ** 2).sum(axis=2)
    modes = np.bincount(square_BK.argmin(axis=1), minlength=mixture.num_modes)
    assert modes.min() > 1000 / mixture.num_modes / 3
    variance = square_BK.min(axis=1).mean() / mixture.live_size
    np.testing.assert_allclose(variance, mixture.sigma**2, rtol=0.15)


def without_cpp(monkeypatch, torch_training):
    """Trace the whole graph as torch.compile does, but need no C++ compiler."""
    torch = torch_training.torch
    eager = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", eager)


@pytest.mark.filterwarnings("ignore:`torch.jit")  # torch.compile's own imports
def test_measure_with_torch(torch_training, monkeypatch):
    without_cpp(monkeypatch, torch_training)
    rows = bench.measure(
        "tiny",
        tiny("veegan_plus"),
        repeats=1,
        min_seconds=0.0,
        torch_device="cpu",
        seeds=(1,),
        work_per_call=0,
    )
    (row,) = rows
    assert row["relative_error"] <= 1e-5
    assert row["torch_compile"].startswith("compiled and checked in ")
    variants = row["torch_steps_per_second_by_variant"]
    assert {name.partition(",")[0] for name in variants} == {"eager", "compiled"}
    text = summaries.summarize(rows, peak=1e9)
    assert rows[0]["ratio"] > 0
    assert f"({rows[0]['torch_variant']})" in text


@pytest.mark.filterwarnings("ignore:`torch.jit")  # torch.compile's own imports
def test_a_missing_compiler_is_told_and_a_wrong_peer_is_not_timed(
    torch_training, monkeypatch
):
    import given_noise
    import torch_variants

    def no_compiler(self, mode):
        raise RuntimeError("no C++ compiler\nand a long story")

    monkeypatch.setattr(torch_training.OnePass, "compile", no_compiler)
    runners, error, note = torch_variants.make(tiny("gan"), "cpu", compiled=True)
    assert note == "unavailable: RuntimeError: no C++ compiler"
    assert runners and not any("compiled" in name for name in runners)
    assert error <= 1e-5

    def wrong(self, mode):
        self.run_gradients = lambda x_BX, *noise: self.gradients(x_BX + 0.01, *noise)

    monkeypatch.setattr(torch_training.OnePass, "compile", wrong)
    with pytest.raises(given_noise.Mismatch, match="loss_d is"):
        torch_variants.make(tiny("gan"), "cpu", compiled=True)


def test_the_unrolled_peer_is_not_compiled(torch_training):
    import torch_variants

    _, _, note = torch_variants.make(tiny("unrolled"), "cpu", compiled=True)
    assert note == torch_variants.NOT_UNROLLED
