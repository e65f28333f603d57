"""The README's Python blocks do what it says, and its tables come from records."""

import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def blocks() -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_use_the_step_yourself():
    (block,) = [b for b in blocks() if "parallel_step" in b]
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["x"].shape == (2500, 2)
    assert np.isfinite(names["x"]).all()
    assert int(names["state"].step) == 12
    np.testing.assert_array_equal(names["states"].step, [10, 10, 10])


def test_ivom_of_your_own_function(capsys):
    (block,) = [b for b in blocks() if "ivom.ivom(" in b]
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    error, converged = map(float, capsys.readouterr().out.split())
    x, found = names["images"], names["found"]
    assert error == pytest.approx(found.error_N.mean())
    assert converged == found.converged_N.mean()
    # No draw of very many comes nearer to any of the images.
    z = np.random.default_rng(0).normal(0, 2, size=(20_000, 4)).astype(np.float32)
    drawn = np.asarray(names["sample"](names["weights"], z)).reshape(20_000, 1, 12)
    best = np.mean((drawn - x.reshape(1, 8, 12)) ** 2, axis=2).min(axis=0)
    assert (found.error_N <= best + 1e-6).all()
    assert found.error_N.mean() > 0.3 * best.mean()  # nor is it far below the best


def test_your_own_method_runs_through_every_mixture(tmp_path):
    (block,) = [b for b in blocks() if b.startswith("# hinge.py")]
    assert block.count("\n") < 42
    (tmp_path / "hinge.py").write_text(block)
    command = (
        "scripts/train_mixtures.py --method_file=hinge.py --dataset=all --steps=20 "
        "--seeds=2 --samples=100 --interval=20"
    )
    script, *flags = command.split()
    done = subprocess.run(
        [sys.executable, ROOT / script, *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for dataset in ("ring", "grid", "high_dim"):
        assert (tmp_path / f"runs/{dataset}/quick/hinge/results.json").exists()
        assert re.search(rf"^{dataset}\n", done.stdout, flags=re.MULTILINE)


def test_tables_are_what_the_records_say(tmp_path):
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "results", copy / "results")
    shutil.copy(ROOT / "README.md", copy / "README.md")
    script = ROOT / "scripts" / "make_tables.py"
    subprocess.run([sys.executable, script, f"--root={copy}"], check=True)
    for name in ("README.md", "results/README.md"):
        assert (copy / name).read_text() == (ROOT / name).read_text()
