"""The program that measures IvOM, as a newcomer types it. Tiny networks."""

import json
import pathlib
import re
import shutil

import PIL.Image
import pytest
from support import tiny

from veegan_jax import methods
from veegan_jax.presets import resolve


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = resolve.resolve("veegan", "digits", "dense", **tiny.DENSE)
    workdir, state = tiny.trained(config, tmp_path_factory.mktemp("run") / "veegan")
    return workdir, config, state


def test_the_program_prints_the_table_and_draws(scripts, run, tmp_path):
    workdir, *_ = run
    flags = ["--images=6", "--starts=1", "--iterations=8", "--seeds=1"]
    flags += [f"--output={tmp_path / 'out'}"]
    done = scripts.run("eval_ivom.py", workdir, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for row in ("mean image", "PCA", r"\*\*veegan\*\*"):
        assert re.search(rf"^\| {row} +\| ", done.stdout, flags=re.MULTILINE)
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert record["mean"]["ivom"] > 0 and record["options"]["images"] == 6
    for name in ("nearest.png", "errors.png"):
        with PIL.Image.open(tmp_path / "out" / name) as image:
            assert min(image.size) > 100


@pytest.mark.parametrize(
    ("flag", "message"),
    (
        ("--images=0", "--images=0 must be at least 1"),
        ("--images=400", "--images=400: there are 355 test images"),
        ("--seeds=3", "--seeds=3: .* has 2; ask for fewer"),
        ("--seeds=-1", "--seeds=-1 must be at least 0"),
    ),
)
def test_bad_input_ends_with_one_message(scripts, flag, message, run, tmp_path):
    workdir, *_ = run
    done = scripts.run(
        "eval_ivom.py", workdir, flag, f"--output={tmp_path / 'out'}", cwd=tmp_path
    )
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_no_run_is_refused(scripts, tmp_path):
    done = scripts.run("eval_ivom.py", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "nowhere is not a run's work directory" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_run_of_your_own_method_needs_its_file(scripts, run, tmp_path):
    workdir, config, _ = run
    own = tmp_path / "own"
    shutil.copytree(workdir, own)
    path = own / "config.json"
    path.write_text(path.read_text().replace('"veegan"', '"mine"'))
    flags = ["--images=4", "--starts=1", "--iterations=3", "--seeds=1"]
    done = scripts.run("eval_ivom.py", own, *flags, cwd=tmp_path)
    assert (
        done.returncode == 1
        and "the method 'mine', which is not built in" in done.stderr
    )
    source = pathlib.Path(methods.veegan.__file__).read_text()
    (tmp_path / "mine.py").write_text(source)
    flags += ["--method_file=mine.py"]
    done = scripts.run("eval_ivom.py", own, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "**mine**" in done.stdout
    assert config.method == "veegan"
