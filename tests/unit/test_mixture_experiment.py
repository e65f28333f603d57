"""Whole runs: killed, stopped, diverging, refused; figures and records."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support import tiny

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors, metrics_log, records
from veegan_jax.experiments import base
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.methods import gan
from veegan_jax.presets import resolve
from veegan_jax.runtime import checkpoint, loop

SMALL = resolve.resolve(
    "gan",
    "ring",
    "quick",
    steps=60,
    batch_size=8,
    generator_widths=(8,),
    discriminator_widths=(8,),
)
OPTIONS = base.Options(seeds=2, samples=50, interval=20, save_every=0.0)


class Killed(Exception):
    """Stands for the moment at which a process disappears."""


def parameters(workdir: pathlib.Path, config=SMALL, seeds=2):
    like = base.init_seeds(range(seeds), config)
    checkpoints = checkpoint.Checkpoints(workdir / "checkpoints")
    step, state = checkpoints.restore(like)
    checkpoints.close()
    return step, jax.tree.map(np.asarray, state.replace(key=0))


def run(config, options, workdir):
    """The record and the samples [S, N, 2] of a run."""
    record = mixture_experiment.run(config, options, workdir)
    with np.load(workdir / "samples.npz", allow_pickle=False) as arrays:
        return record, arrays["plane"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole") / "run"
    record, x_SNX = run(SMALL, OPTIONS, workdir)
    return workdir, record, x_SNX


@pytest.fixture
def undrawn(whole, monkeypatch):
    """`whole` has its figures; the runs compared with it need none."""
    monkeypatch.setattr(mixture_experiment, "draw_figures", lambda *_: None)


def test_record_holds_what_repeats_it(whole):
    workdir, record, x_SNX = whole
    stored = json.loads((workdir / "results.json").read_text())
    assert stored == json.loads(json.dumps(record))
    assert configs.from_json(stored["config"], configs.Objective) == SMALL
    assert [s["seed"] for s in stored["per_seed"]] == [0, 1]
    quality = [s["high_quality"] for s in stored["per_seed"]]
    assert stored["mean"]["high_quality"] == pytest.approx(np.mean(quality), rel=1e-4)
    assert stored["oracle"]["high_quality"] == pytest.approx(98.89, abs=3)
    assert stored["mean"]["sliced_wasserstein"] > stored["oracle"]["sliced_wasserstein"]
    for key in ("command", "device", "versions", "wall_seconds"):
        assert stored[key]
    assert x_SNX.shape == (2, 50, 2)
    for name in ("samples.png", "curves.png"):
        assert (workdir / name).read_bytes().startswith(b"\x89PNG")
    lines = metrics_log.read(workdir)
    assert [line["step"] for line in lines] == [20, 40, 60]
    assert len(lines[0]["modes"]) == 2


def test_finished_run_is_not_repeated(whole):
    workdir, record, x_SNX = whole
    again, x_again = run(SMALL, OPTIONS, workdir)
    np.testing.assert_array_equal(x_SNX, x_again)
    trained = sum(line["seconds"] for line in metrics_log.read(workdir))
    assert again["wall_seconds"] > trained  # and the scoring, of this command
    assert record["wall_seconds"] > trained


def test_a_finished_run_without_its_log_is_recorded_again(whole, tmp_path, caplog):
    workdir, record, _ = whole
    run_again = tmp_path / "run"
    shutil.copytree(workdir, run_again)
    for name in ("metrics.jsonl", "curves.png"):
        (run_again / name).unlink()
    again, _ = run(SMALL, OPTIONS, run_again)
    assert again["wall_seconds"] is None
    assert again["per_seed"] == record["per_seed"]
    assert (run_again / "samples.png").exists()
    assert not (run_again / "curves.png").exists()
    warnings = [r.getMessage() for r in caplog.records if "lacks lines" in r.msg]
    assert (
        len(warnings) == 1 and "metrics.jsonl lacks lines up to step 60" in warnings[0]
    )


@pytest.mark.usefixtures("undrawn")
def test_killed_run_resumes_to_the_same_bits(whole, tmp_path, monkeypatch):
    reports = []
    write = metrics_log.MetricsLog.write

    def dies_in_the_second(self, *arguments):
        reports.append(arguments)
        if len(reports) == 2:
            raise Killed
        write(self, *arguments)

    monkeypatch.setattr(metrics_log.MetricsLog, "write", dies_in_the_second)
    with pytest.raises(Killed):
        mixture_experiment.run(SMALL, OPTIONS, tmp_path)
    step, _ = parameters(tmp_path)
    assert step == 20
    monkeypatch.undo()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "sec')  # a line cut short
    _, x_SNX = run(SMALL, OPTIONS, tmp_path)
    np.testing.assert_array_equal(x_SNX, whole[2])
    jax.tree.map(
        np.testing.assert_array_equal, parameters(tmp_path)[1], parameters(whole[0])[1]
    )
    assert [r["step"] for r in metrics_log.read(tmp_path)] == [20, 40, 60]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("undrawn")
def test_signal_saves_and_stops(whole, tmp_path, monkeypatch, number):
    def report_and_signal(self, step, seconds, metrics):
        os.kill(os.getpid(), number)

    options = dataclasses.replace(OPTIONS, save_every=1e9)
    with monkeypatch.context() as patched:
        patched.setattr(metrics_log.MetricsLog, "write", report_and_signal)
        with pytest.raises(loop.Interrupted, match=f"{number.name} at step 20 of 60"):
            mixture_experiment.run(SMALL, options, tmp_path)
    assert parameters(tmp_path)[0] == 20
    _, x_SNX = run(SMALL, options, tmp_path)
    np.testing.assert_array_equal(x_SNX, whole[2])


@pytest.mark.usefixtures("undrawn")
def test_a_thread_trains_without_signals(whole, tmp_path):
    """As in a web server, or in a notebook's executor."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        _, x_SNX = executor.submit(run, SMALL, OPTIONS, tmp_path).result()
    np.testing.assert_array_equal(x_SNX, whole[2])


def test_a_handler_that_cannot_be_put_back_stays(monkeypatch):
    """A program that embeds Python may handle SIGINT itself; Python sees None."""
    before = signal.getsignal(signal.SIGTERM)
    # A shell's background job begins with SIGINT ignored.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    foreign = {signal.SIGINT: None, signal.SIGTERM: before}
    monkeypatch.setattr(signal, "getsignal", foreign.get)
    with loop.StopFlag() as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not stop.requested
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested == "SIGTERM"
    signal.signal(signal.SIGTERM, before)
    signal.signal(signal.SIGINT, ours)


class Diverging:
    """GAN whose loss becomes NaN at step 30, for the seeds named."""

    init = staticmethod(gan.init)
    sample = staticmethod(gan.sample)

    def __init__(self, seeds):
        keys = [self.init(jax.random.key(s), SMALL).key for s in seeds]
        self._keys = jnp.stack([jax.random.key_data(k) for k in keys])

    def train_step(self, state, x_BX, *, config, axis_name=None):
        new, metrics = gan.train_step(state, x_BX, config=config, axis_name=axis_name)
        mine = jax.random.key_data(state.key)[None]
        bad = (state.step == 30) & jnp.any(jnp.all(self._keys == mine, axis=1))
        metrics["loss_d"] = jnp.where(bad, jnp.nan, metrics["loss_d"])
        return new, metrics


@pytest.mark.usefixtures("undrawn")
def test_one_diverging_seed_does_not_disturb_the_other(whole, tmp_path, monkeypatch):
    monkeypatch.setitem(methods.METHODS, "diverging", Diverging([1]))
    config = SMALL.replace(method="diverging")
    record, x_SNX = run(config, OPTIONS, tmp_path)
    good, bad = record["per_seed"]
    assert "failed" not in good
    assert "steps 21 to 40, first at step 31" in bad["failed"]
    np.testing.assert_array_equal(x_SNX[0], whole[2][0])
    assert record["mean"]["high_quality"] == good["high_quality"]
    again, _ = run(config, OPTIONS, tmp_path)  # a resumed run knows
    assert "non-finite" in again["per_seed"][1]["failed"]


def test_all_seeds_diverging_stops_with_the_last_good_state(tmp_path, monkeypatch):
    monkeypatch.setitem(methods.METHODS, "diverging", Diverging([0, 1]))
    config = SMALL.replace(method="diverging")
    with pytest.raises(loop.NonFinite, match=r"seed 0 .* seed 1 .*steps 21 to 40"):
        mixture_experiment.run(config, OPTIONS, tmp_path)
    _, state = parameters(tmp_path, config)
    np.testing.assert_array_equal(state.step, [20, 20])
    jax.tree.map(lambda a: np.testing.assert_(np.isfinite(a).all()), state.params)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_gif_shows_every_interval_of_a_resumed_run(whole, tmp_path, caplog):
    with pytest.raises(errors.InputError, match=r"--gif: the run in .* has ended, "):
        mixture_experiment.run(SMALL, OPTIONS, whole[0], gif=True)
    tiny.as_if_killed(whole[0], 40, tmp_path / "late")
    mixture_experiment.run(SMALL, OPTIONS, tmp_path / "late", gif=True)
    assert "shows 1 of 3 evaluations, from step 60 on" in caplog.text
    caplog.clear()
    workdir = tmp_path / "whole"
    mixture_experiment.run(SMALL, OPTIONS, workdir, gif=True)
    (workdir / "training.gif").unlink()
    tiny.as_if_killed(workdir, 40, tmp_path / "again")
    (tmp_path / "again" / "frames" / "step-0000000060.npy").unlink()
    for again in (tmp_path / "again", workdir):  # a resumed run, and a finished one
        mixture_experiment.run(SMALL, OPTIONS, again, gif=True)
        with Image.open(again / "training.gif") as movie:
            assert movie.n_frames == 3
    assert not caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_run_over_eight_devices_is_the_same_run(whole, tmp_path):
    options = dataclasses.replace(OPTIONS, parallel="pmap")
    _, x_SNX = run(SMALL, options, tmp_path)
    np.testing.assert_allclose(x_SNX, whole[2], rtol=1e-3, atol=1e-4)


def test_batch_that_devices_do_not_divide_is_refused_before_writing(tmp_path):
    config = SMALL.replace(batch_size=9)
    options = dataclasses.replace(OPTIONS, parallel="pmap")
    with pytest.raises(ValueError, match="--batch_size=9 does not divide over 8"):
        mixture_experiment.run(config, options, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["steps", "batch_size", "latent_size"])
@pytest.mark.parametrize("value", [0, -3])
def test_sizes_below_one_are_refused(name, value):
    with pytest.raises(ValueError, match=f"--{name}={value} must be at least 1"):
        configs.check(SMALL.replace(**{name: value}))


@pytest.mark.parametrize("value", [0, -1])
def test_seeds_below_one_are_refused(value):
    with pytest.raises(ValueError, match=f"--seeds={value} must be at least 1"):
        base.Options(seeds=value)


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(
        ValueError, match=r"unknown preset 'fast': one of quick, long, paper"
    ):
        resolve.resolve("gan", "ring", "fast")
    with pytest.raises(ValueError, match=r"unknown dataset 'cube': one of ring, grid"):
        resolve.resolve("gan", "cube", "quick")
    with pytest.raises(
        ValueError, match=r"unknown method 'vae': one of gan, pacgan, ali"
    ):
        methods.get("vae")
    with pytest.raises(ValueError, match=r"--parallel='all' must be one of none, jit"):
        base.Options(parallel="all")


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        (566.25, 201.3, "566.2 ± 201"),
        (169.2, 99.4, "169.2 ± 99"),
        (0.0256789, 0.00123, "0.02568 ± 0.0012"),
        (8, 0.0, "8 ± 0"),
        (1000.0, None, "1000"),
        (None, None, ""),
    ],
)
def test_cells_write_no_powers_of_ten_for_spreads(mean, std, expected):
    assert records.cell(mean, std) == expected


def test_a_report_runs_what_was_compiled_while_the_first_steps_ran():
    compiled = []

    def listen(name: str, *_, **__) -> None:
        compiled.append("backend_compile" in name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    state = jax.device_put(base.init_seeds([0], SMALL), jax.devices()[0])
    mixture_experiment.compile_report(SMALL, 49, state)  # 49: in no other test
    assert any(compiled)
    compiled.clear()
    x_SNX = mixture_experiment.draw(state, config=SMALL, num_samples=49)
    metrics = mixture_experiment.score(x_SNX, "ring")
    jax.monitoring.unregister_event_duration_listener(listen)
    assert x_SNX.shape == (1, 49, 2) and metrics["modes"].shape == (1,)
    assert not any(compiled)
