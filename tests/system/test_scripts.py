"""The programs as a newcomer types them, in processes of their own."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from support.programs import TINY

from veegan_jax.data import mixtures

ROOT = pathlib.Path(__file__).parents[2]


def start(script, *arguments, cwd):
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts" / script, *arguments],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(script, *arguments, cwd):
    process = start(script, *arguments, cwd=cwd)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_train_killed_and_terminated_ends_as_if_never_stopped(tmp_path):
    code, out, err = run("train_mixtures.py", *TINY, "--workdir=whole", cwd=tmp_path)
    assert code == 0, err
    assert re.search(r"\| veegan_plus +\| ", out)
    assert "oracle" in out and "8 / 52.9" in out
    assert "steps/s" in err and "400/400" in err

    log = tmp_path / "part" / "metrics.jsonl"
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = start("train_mixtures.py", *TINY, "--workdir=part", cwd=tmp_path)
        before = log.read_text().count("\n") if log.exists() else 0
        while not (log.exists() and log.read_text().count("\n") > before):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=100)
        expected = -9 if number == signal.SIGKILL else 75
        assert process.returncode == expected, err
    code, _, err = run("train_mixtures.py", *TINY, "--workdir=part", cwd=tmp_path)
    assert code == 0, err
    ends = [json.loads((tmp_path / d / "results.json").read_text()) for d in _DIRS]
    assert ends[0]["per_seed"] == ends[1]["per_seed"]
    planes = [np.load(tmp_path / d / "samples.npz")["plane"] for d in _DIRS]
    np.testing.assert_array_equal(*planes)

    changed = [*TINY, "--workdir=whole", "--learning_rate=0.5"]
    code, _, err = run("train_mixtures.py", *changed, cwd=tmp_path)
    assert code != 0
    assert "holds a different run" in err
    assert "learning_rate: 0.001 there, 0.5 now" in err


_DIRS = ("whole", "part")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--method=vae", "unknown method 'vae': one of gan, pacgan, ali"),
        ("--dataset=cube", "unknown dataset 'cube': one of ring, grid, high_dim"),
        ("--preset=fast", "unknown preset 'fast': one of quick, paper, best"),
        ("--data_size=3", "--data_size=3: ring has 2 dimensions"),
        ("--image_size=8", "--image_size=8: ring has vectors, not images"),
        ("--steps=0", "--steps=0 must be at least 1"),
        ("--generator_widths=8,x", "--generator_widths=8,x must be positive whole"),
        ("--method_file=none.py", "--method_file=none.py: there is no such file"),
        ("stray", "unknown argument 'stray'"),
    ],
)
def test_bad_flags_fail_before_any_work(tmp_path, flag, message):
    code, _, err = run("train_mixtures.py", flag, cwd=tmp_path)
    assert code != 0
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_mistake_in_the_code_keeps_its_traceback(tmp_path):
    """Whoever writes a method needs the line, not the message alone."""
    text = "from veegan_jax.methods.gan import init, sample\n"
    text += "def train_step(state, x, *, config, axis_name=None):\n"
    text += "    raise ValueError('shapes differ')\n"
    (tmp_path / "broken.py").write_text(text)
    code, _, err = run(
        "train_mixtures.py", *TINY, "--method_file=broken.py", cwd=tmp_path
    )
    assert code != 0
    assert "broken.py" in err and "shapes differ" in err and "Traceback" in err


def test_helpfull_groups_the_flags(tmp_path):
    _, out, _ = run("train_mixtures.py", "--helpfull", cwd=tmp_path)
    for group in ("main", "networks", "objective", "optimizer", "run"):
        assert f"\n{group}:" in out
    assert "--reconstruction_weight" in out


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_eval_samples_scores_true_samples_like_the_oracle(tmp_path, suffix):
    x = np.asarray(mixtures.sample(mixtures.ring(), jax.random.key(5), 2500))
    path = tmp_path / f"x{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, x)
    code, out, err = run(
        "eval_samples.py", path, "--output=o.json", "--figure=o.png", cwd=tmp_path
    )
    assert code == 0, err
    metrics = json.loads((tmp_path / "o.json").read_text())["metrics"]
    distance = np.linalg.norm(x[:, None] - mixtures.ring().means_KX[None], axis=-1)
    share = 100 * np.mean(distance.min(axis=1) <= 0.03)
    assert metrics["high_quality"] == pytest.approx(share, abs=0.05)
    assert metrics["modes"] == 8
    assert "oracle" in out
    assert (tmp_path / "o.png").exists()


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_eval_samples_refuses_bad_files(tmp_path):
    good = np.zeros((5, 2), np.float32)
    bad = {
        "missing.npy": (None, "cannot be read"),
        "shape.npy": (good.T, "has shape (2, 5)"),
        "whole.npy": (good.astype(int), "not floating-point"),
        "nan.npy": (good + np.float32("nan"), "5 of 5 samples are not finite"),
        "pickle.npy": (np.array([Malicious()]), "is not one .npy or .npz array"),
    }
    for name, (array, message) in bad.items():
        if array is not None:
            np.save(tmp_path / name, array, allow_pickle=True)
        code, _, err = run("eval_samples.py", name, cwd=tmp_path)
        assert code != 0
        assert message in err and name in err
        assert "Traceback" not in err
    assert not (tmp_path / "harmed").exists()
    np.save(tmp_path / "good.npy", good)
    for names in ([], ["good.npy", "good.npy"]):
        code, _, err = run("eval_samples.py", *names, cwd=tmp_path)
        assert code != 0
        assert "give one file of samples" in err and "Traceback" not in err
    for flag in ("--output=none/o.json", "--figure=none/o.png"):
        code, _, err = run("eval_samples.py", "good.npy", flag, cwd=tmp_path)
        assert code != 0
        assert f"{flag}: there is no such folder" in err
