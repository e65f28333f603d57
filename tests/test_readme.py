"""The README's Python blocks do what it says, and its tables come from records."""

import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]


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


def test_your_own_method_runs_through_every_mixture(tmp_path):
    (block,) = [b for b in blocks() if b.startswith("# hinge.py")]
    assert block.count("\n") < 42
    (tmp_path / "hinge.py").write_text(block)
    command = (
        "scripts/train_synthetic.py --method_file=hinge.py --dataset=all --steps=20 "
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
        assert (tmp_path / f"runs/quick/{dataset}-hinge/results.json").exists()
        assert re.search(rf"^{dataset}\n", done.stdout, flags=re.MULTILINE)


def test_tables_are_what_the_records_say(tmp_path):
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "results", copy / "results")
    shutil.copy(ROOT / "README.md", copy / "README.md")
    script = ROOT / "scripts" / "make_tables.py"
    subprocess.run([sys.executable, script, f"--root={copy}"], check=True)
    for name in ("README.md", "results/README.md"):
        assert (copy / name).read_text() == (ROOT / name).read_text()
