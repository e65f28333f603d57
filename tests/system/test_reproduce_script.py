"""reproduce.py as a reader runs it, in a checkout of its own."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest
from support import programs

ROOT = pathlib.Path(__file__).parents[2]
CELL = ["--tables=mixtures-quick", "--methods=gan", "--cells=0"]  # on the ring
SHORT = """
[[group]]
table = "mixtures-quick"
script = "train_mixtures.py"
preset = "quick"
dataset = "ring"
methods = ["gan"]
changes = { steps = 2000 }
seeds = 1
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The pages and records of this checkout, copied, beside its own code."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "README.md", root)
    shutil.copytree(ROOT / "results", root / "results")
    (root / "scripts").symlink_to(ROOT / "scripts")
    return root


@pytest.fixture(autouse=True)
def caches(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.getbasetemp() / "reproduce-caches"
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(folder))


def reproduce(*flags: str, cwd: pathlib.Path) -> subprocess.CompletedProcess:
    return programs.run("reproduce.py", *flags, cwd=cwd)


def test_the_list_says_what_is_known_of_each_cell(checkout, tmp_path):
    done = reproduce("--list", *CELL[:2], f"--root={checkout}", cwd=tmp_path)
    assert not done.returncode, done.stderr
    head, _, *rows = [line for line in done.stdout.splitlines() if line[:1] == "|"]
    assert "takes" in head and len(rows) == 3
    assert all("mixtures-quick" in row and " there " in row for row in rows)
    assert not (checkout / "runs").exists()


def test_a_cell_is_stopped_goes_on_and_fills_its_table(checkout, tmp_path):
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "scripts/cells.toml").write_text(SHORT)
    script = tmp_path / "scripts/reproduce.py"
    flags = [*CELL, f"--root={checkout}", "--minutes=9", "--nomeasure"]
    record = checkout / "results/ring/quick/gan.json"
    page = checkout / "results/mixtures.md"
    before = json.loads(record.read_text()), page.read_text()
    process = subprocess.Popen(
        [sys.executable, "-u", str(script), *flags],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    for line in process.stdout:  # until the training's own progress
        if "steps/s" in line:
            break
    process.send_signal(signal.SIGTERM)
    rest = process.communicate()[0]
    assert process.returncode == os.EX_TEMPFAIL, rest
    assert "ring GAN: stopped after" in rest and "stopped by SIGTERM; give the" in rest
    assert json.loads(record.read_text()) == before[0]

    done = programs.run(script, *flags, cwd=tmp_path)
    assert not done.returncode, done.stdout + done.stderr
    assert "cell 1 of 1: mixtures-quick, ring GAN" in done.stdout
    mean, std = (before[0][part]["modes"] for part in ("mean", "std"))
    assert "done" in done.stdout and f"recorded {mean:g} ± {std:.2g}" in done.stdout
    new = json.loads(record.read_text())
    assert len(new["per_seed"]) == 1
    assert new["config"] == before[0]["config"] | {"steps": 2000}
    assert page.read_text() != before[1]

    done = programs.run(script, *flags, cwd=tmp_path)
    assert done.stdout == "every cell has an up-to-date record; --again repeats them\n"

    more = SHORT.replace("seeds = 1", "seeds = 2")
    (tmp_path / "scripts/cells.toml").write_text(more)
    done = programs.run(script, *flags, cwd=tmp_path)
    assert not done.returncode, done.stdout + done.stderr
    assert "cell 1 of 1: mixtures-quick, ring GAN, seeds from 1" in done.stdout
    assert json.loads(record.read_text()) == new
    later = json.loads(record.with_stem("gan-from-1").read_text())
    assert [seed["seed"] for seed in later["per_seed"]] == [1]
    modes = [r["per_seed"][0]["modes"] for r in (new, later)]
    assert f"| {sum(modes) / 2:g} ± " in page.read_text()
    assert "--first_seed=1 --seeds=1" in page.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--minutes=0"], "--minutes=0"),
        (["--tables=mnist"], "--tables: unknown 'mnist'; any of stacked_mnist-quick, "),
        (["--presets=huge"], "--presets: unknown 'huge'; any of quick, "),
        (["--root=/nowhere"], "/nowhere/results cannot be written"),
    ],
)
def test_bad_input_is_one_message(flags, message, tmp_path):
    done = reproduce(*flags, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_record_damaged_by_hand_is_one_message(checkout, tmp_path):
    root = tmp_path / "damaged"
    shutil.copytree(checkout, root, symlinks=True)
    path = root / "results/ring/quick/gan.json"
    path.write_text(path.read_text()[:500])
    done = reproduce(*CELL, f"--root={root}", cwd=tmp_path)
    assert done.returncode == 1
    assert f"{path} cannot be read" in done.stderr
    assert "make it again by the command that wrote it" in done.stderr
