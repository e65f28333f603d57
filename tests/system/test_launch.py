"""Files for clusters share a language, are named in one README and use known flags."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / "scripts" / "launch"
BASH = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])

names = pytest.mark.parametrize("path", BASH, ids=lambda p: p.name)


def test_the_readme_names_every_file():
    readme = (LAUNCH / "README.md").read_text()
    for path in LAUNCH.iterdir():
        assert path.name == "README.md" or path.name in readme


@names
def test_bash_parses(path):
    subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck")
@names
def test_shellcheck(path):
    command = ["shellcheck", "--external-sources", path]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("name", ["train_stacked_mnist", "train_cifar10"])
def test_the_scripts_have_the_flags(name):
    """Those of the launch files' own commands: a flag renamed must not wait for one."""
    used = set()
    for path in LAUNCH.iterdir():
        text = path.read_text()
        used |= set(re.findall(r"--(?:preset|method|parallel|workdir)\b", text))
        used |= set(re.findall(r"--(?:seeds|first_seed|distributed)\b", text))
    command = [sys.executable, ROOT / "scripts" / f"{name}.py", "--helpfull"]
    known = subprocess.run(command, capture_output=True, text=True).stdout
    assert len(used) == 7
    for flag in used:
        assert f"{flag}:" in known or f"{flag.replace('--', '--[no]')}:" in known
