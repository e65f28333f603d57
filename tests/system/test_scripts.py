"""The programs as a newcomer types them, in processes of their own."""

import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from support import programs
from support.programs import TINY

from veegan_jax.data import mixtures


def test_train_prints_a_table_and_refuses_another_run(scripts, tmp_path):
    done = programs.run("train_mixtures.py", *TINY, "--workdir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| gan +\| ", done.stdout)
    assert "| oracle" in done.stdout and "published" not in done.stdout  # of quick
    assert "steps/s" in done.stderr and "400/400" in done.stderr

    changed = [*TINY, "--workdir=run", "--learning_rate=0.5"]
    done = scripts.run("train_mixtures.py", *changed, cwd=tmp_path)
    assert done.returncode != 0
    assert "holds a different run" in done.stderr
    assert "learning_rate: 0.001 there, 0.5 now" in done.stderr


def test_a_run_ends_well_though_nobody_reads_what_it_prints(tmp_path):
    """As `2>&- | head`, or in a session that was cut off."""
    reading, writing = os.pipe()
    os.close(reading)
    script = programs.SCRIPTS / "train_mixtures.py"
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, script, *TINY]
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run([*command, "--workdir=run"], cwd=tmp_path, stdout=pipe)
    assert done.returncode == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["mean"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--method=vae", "unknown method 'vae': one of gan, pacgan, ali"),
        (
            "--dataset=cube",
            "--dataset=cube must be one of ring, grid, high_dim, or",
        ),
        ("--preset=fast", "unknown preset 'fast': one of quick, long, paper, best"),
        ("--size=3", "Unknown command line flag 'size'"),
        ("--kernel_size=5", "Unknown command line flag 'kernel_size'"),
        ("--networks=dcgan", "--networks=dcgan is for images, ring has vectors"),
        ("--steps=0", "--steps=0 must be at least 1"),
        ("--generator_widths=8,x", "--generator_widths=8,x must be positive whole"),
        ("--method_file=none.py", "--method_file=none.py: there is no such file"),
        ("stray", "unknown argument 'stray'"),
    ],
)
def test_bad_flags_fail_before_any_work(scripts, tmp_path, flag, message):
    done = scripts.run("train_mixtures.py", flag, cwd=tmp_path)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_mistake_in_the_code_keeps_its_traceback(scripts, tmp_path):
    """Whoever writes a method needs the line, not the message alone."""
    text = "from veegan_jax.methods.gan import init, sample\n"
    text += "def train_step(state, x, *, config, axis_name=None):\n"
    text += "    raise ValueError('shapes differ')\n"
    (tmp_path / "broken.py").write_text(text)
    flags = [*TINY, "--method_file=broken.py"]
    flags.remove("--method=gan")
    done = scripts.run("train_mixtures.py", *flags, cwd=tmp_path)
    assert done.returncode != 0
    assert (
        "broken.py" in done.stderr
        and "shapes differ" in done.stderr
        and "Traceback" in done.stderr
    )


def test_helpfull_groups_the_flags(scripts, tmp_path):
    done = scripts.run("train_mixtures.py", "--helpfull", cwd=tmp_path)
    assert done.returncode == 0
    for group in ("main", "networks", "objective", "optimizer", "run"):
        assert f"\n{group}:" in done.stdout
    assert "--reconstruction_weight" in done.stdout


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_eval_samples_scores_true_samples_like_the_oracle(scripts, tmp_path, suffix):
    x = np.asarray(mixtures.sample(mixtures.ring(), jax.random.key(5), 2500))
    path = tmp_path / f"x{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, x)
    done = scripts.run(
        "eval_samples.py", path, "--output=o.json", "--figure=o.png", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "o.json").read_text())["metrics"]
    distance = np.linalg.norm(x[:, None] - mixtures.ring().means_KX[None], axis=-1)
    share = 100 * np.mean(distance.min(axis=1) <= 0.03)
    assert metrics["high_quality"] == pytest.approx(share, abs=0.05)
    assert metrics["modes"] == 8
    assert "oracle" in done.stdout
    assert (tmp_path / "o.png").exists()


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_eval_samples_refuses_bad_files(scripts, tmp_path):
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
        done = scripts.run("eval_samples.py", name, cwd=tmp_path)
        assert done.returncode != 0
        assert message in done.stderr and name in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "harmed").exists()
    np.save(tmp_path / "good.npy", good)
    for names in ([], ["good.npy", "good.npy"]):
        done = scripts.run("eval_samples.py", *names, cwd=tmp_path)
        assert done.returncode != 0
        assert (
            "give one file of samples" in done.stderr and "Traceback" not in done.stderr
        )
    for flag in ("--output=none/o.json", "--figure=none/o.png"):
        done = scripts.run("eval_samples.py", "good.npy", flag, cwd=tmp_path)
        assert done.returncode != 0
        assert f"{flag}: there is no such folder" in done.stderr
