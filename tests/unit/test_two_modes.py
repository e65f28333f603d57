"""Figure 1 computed: against SciPy, closed forms and the paper's claim."""

import pathlib

import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from scipy import integrate, stats
from support import programs

_PATH = pathlib.Path(__file__).parents[2] / "scripts" / "two_modes.py"


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("two_modes")


def test_optimal_code_maps_data_to_standard_normal(script):
    random = np.random.default_rng(0)
    x_N = random.choice([-2.0, 2.0], 20_000) + 0.2 * random.standard_normal(20_000)
    assert stats.kstest(script.optimal_code(x_N), "norm").pvalue > 0.01
    # A map that is right on one mode only must fail the same test.
    assert stats.kstest((x_N + 2) / 0.2, "norm").pvalue < 1e-9


def test_optimal_code_is_increasing_and_odd_far_into_the_tails(script):
    x_N = np.linspace(-4, 4, 401)
    code_N = script.optimal_code(x_N)
    assert np.all(np.isfinite(code_N)) and np.all(np.diff(code_N) >= 0)
    np.testing.assert_allclose(code_N, -code_N[::-1], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 1.0), (-0.3, 1.4)])
def test_measure_equals_closed_forms(script, mean, std):
    code_N = mean + std * script.optimal_code(script.data_nodes()[0])
    metrics = script.measure(script.NODE_N + mean, code_N)
    variance = std**2 + script.STD**2
    kl = 0.5 * (np.log(variance) + (1 + mean**2) / variance - 1)
    assert metrics["reconstruction"] == pytest.approx(mean**2 / 2, abs=1e-6)
    assert metrics["data_to_noise"] == pytest.approx(kl, abs=2e-5)
    w1 = integrate.quad(
        lambda z: abs(mean + (std - 1) * z) * stats.norm.pdf(z), -9, 9, limit=200
    )[0]
    assert metrics["w1"] == pytest.approx(w1, abs=0.01)


@pytest.mark.slow
def test_only_training_both_makes_both_terms_small(script, monkeypatch):
    monkeypatch.setattr(script, "FIT_STEPS", 1000)
    config = script.make_config(2000)
    outputs = {
        case: jax.device_get(script.outputs(state, config))
        for case, state in script.make_cases(1, config).items()
    }
    a, b, c = (script.measure(o["again"], o["code"]) for o in outputs.values())

    def squared_error(z):  # of b at its best: the left mode is the lower half of N(0,1)
        return (z - stats.norm.ppf(stats.norm.cdf(z) / 2)) ** 2 * stats.norm.pdf(z) / 2

    assert a["reconstruction"] < 0.001 and a["data_to_noise"] > 0.3
    assert a["data_to_noise"] < np.log(2) + 0.01
    assert b["data_to_noise"] < 0.005
    best_b = integrate.quad(squared_error, -8, 8)[0]
    assert b["reconstruction"] == pytest.approx(best_b, abs=0.02)
    assert c["reconstruction"] < b["reconstruction"] / 5
    assert c["data_to_noise"] < a["data_to_noise"] / 5
    assert c["sum"] < min(a["sum"], b["sum"]) / 5
    share = np.sum(script.WEIGHT_N * (outputs["c"]["generated"] > 0))
    assert 0.4 < share < 0.6  # of the samples on the right: neither mode is forgotten


@pytest.mark.parametrize("bad", [{"steps": 0}, {"steps": -3}, {"seed": -1}], ids=str)
def test_bad_flag_is_named(script, tmp_path, bad):
    ((name, value),) = bad.items()
    with (
        pytest.raises(ValueError, match=f"--{name}={value}"),
        flagsaver.flagsaver(workdir=str(tmp_path / "run"), **bad),
    ):
        script.main()
    assert not (tmp_path / "run").exists()


def test_work_directory_that_cannot_be_written_is_named(script, tmp_path):
    (tmp_path / "file").touch()
    with (
        flagsaver.flagsaver(workdir=str(tmp_path / "file" / "run")),
        pytest.raises(ValueError, match=r"--workdir=.*cannot be used"),
    ):
        script.main()
