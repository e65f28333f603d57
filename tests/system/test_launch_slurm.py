"""Slurm's batch files, run with stubs of its commands.

A real Slurm tests the rest: tests/system/slurm_end_to_end.py.
"""

import os
import pathlib
import re
import subprocess

import pytest
from support.stubs import RECORD, recorded, stub

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / "scripts" / "launch"
SBATCH = sorted(LAUNCH.glob("*.sbatch"))

batch_files = pytest.mark.parametrize("path", SBATCH, ids=lambda p: p.stem)


def directives(path):
    """The options of a batch file, as Slurm reads them: up to the first command."""
    found = {}
    for line in path.read_text().splitlines():
        if line.startswith("#SBATCH "):
            name, _, value = line.removeprefix("#SBATCH ").partition("=")
            found[name] = value
        elif line.strip() and not line.startswith("#"):
            return found
    raise AssertionError(f"{path} runs nothing")


@batch_files
def test_batch_files_are_signalled_and_requeued(path):
    options = directives(path)
    assert len(options) == path.read_text().count("#SBATCH ")  # none comes too late
    # To the training, "B:" would be to the shell; and never 0 seconds before the end.
    assert re.fullmatch(r"TERM@[1-9]\d+", options["--signal"])
    assert "--requeue" in options
    assert options["--open-mode"] == "append"
    assert "%j" in options["--output"] or "%A_%a" in options["--output"]
    # Without it Slurm's default, often one CPU, is all that a task has.
    assert int(options["--cpus-per-task"]) > 1


def batch(tmp_path, path, status, *arguments, **environment):
    """Runs a batch file with an srun that ends with `status`; what it called, in turn.

    Returns:
      (exit status, calls of srun and scontrol as lists of words, what it printed).
    """
    (tmp_path / "calls").unlink(missing_ok=True)
    stub(tmp_path, "srun", f"cd {tmp_path}; {RECORD}; exit {status}")
    stub(tmp_path, "scontrol", f"cd {tmp_path}; {RECORD}")
    stub(tmp_path, "sleep", "")  # for Slurm to end the shell
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_CPUS_PER_TASK": "8",
    } | environment
    done = subprocess.run(
        ["bash", path, *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
    )
    return done.returncode, recorded(tmp_path), done.stderr


ONE_NODE = LAUNCH / "slurm_one_node.sbatch"
MANY_NODES = LAUNCH / "slurm_many_nodes.sbatch"
ARRAY = LAUNCH / "slurm_array.sbatch"


@pytest.mark.parametrize("status", [0, 1, 75, 137, 143])
def test_only_a_stopped_run_is_requeued(tmp_path, status):
    code, calls, _ = batch(tmp_path, ONE_NODE, status)
    assert code == status
    requeues = [call for call in calls if call[0] == "scontrol"]
    assert requeues == ([["scontrol", "requeue", "7"]] if status in (75, 143) else [])


def test_requeues_are_bounded(tmp_path):
    counts = {"MAX_RESTARTS": "3", "SLURM_RESTART_COUNT": "2"}
    _, calls, _ = batch(tmp_path, ONE_NODE, 75, **counts)
    assert [call[0] for call in calls] == ["srun", "scontrol"]
    counts["SLURM_RESTART_COUNT"] = "3"
    code, calls, error = batch(tmp_path, ONE_NODE, 75, **counts)
    assert code == 75
    assert [call[0] for call in calls] == ["srun"]
    assert "stopped after 3 restarts" in error


def test_many_nodes_passes_the_command_on(tmp_path):
    words = ["scripts/train_cifar10.py", "--workdir=a b"]
    _, [call], _ = batch(tmp_path, MANY_NODES, 0, *words, PYTHON="/venv/python")
    assert "--kill-on-bad-exit=1" in call
    start = call.index("/venv/python")
    assert call[start:] == ["/venv/python", *words, "--distributed"]


def test_an_element_of_an_array_is_requeued_alone(tmp_path):
    # Slurm gives the last element the job's own id; requeueing that requeues all.
    task = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "29"}
    _, calls, _ = batch(tmp_path, ARRAY, 75, **task)
    assert calls[1] == ["scontrol", "requeue", "7_29"]
    last = {"--method=veegan_plus", "--seeds=1", "--first_seed=4"}
    assert last | {"--workdir=runs/array/veegan_plus-4"} <= set(calls[0])
    assert directives(ARRAY)["--array"].startswith("0-29%")

    task["SLURM_ARRAY_TASK_ID"] = "30"
    code, calls, error = batch(tmp_path, ARRAY, 0, **task)
    assert code == 1 and not calls
    assert "the last element is 29" in error
