"""The script of a TPU pod, run with a stub of gcloud."""

import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import time

import pytest
import yaml
from support.stubs import RECORD, recorded, stub

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / "scripts" / "launch"

POD = LAUNCH / "tpu_pod.sh"
WHERE = ("--zone=z", "--type=v5litepod-16", "--version=v2-alpha-tpuv5-lite")
SHARE = "--share=10.0.0.2:/veegan"
TRAIN = ("--", "scripts/train_cifar10.py", "--workdir=runs/a b")


def pod(tmp_path, states, statuses):
    """A gcloud that answers with one state and one training's status after the other.

    Returns:
      What to start the script with.
    """
    (tmp_path / "states").write_text("\n".join(states) + "\n")
    (tmp_path / "statuses").write_text("\n".join(map(str, statuses)) + "\n")
    stub(
        tmp_path,
        "gcloud",
        f"""
        cd {tmp_path}
        next() {{ head -n 1 "$1"; sed -i 1d "$1"; }}
        if [[ $* == *describe* ]]; then next states; exit; fi
        {RECORD}
        if [[ $* == *--distributed* ]]; then
            status=$(next statuses)
            if [[ $status == wait ]]; then
                for _ in {{1..100}}; do [[ -e killed ]] && exit 75; sleep 0.1; done
            fi
            exit "$status"
        fi
        if [[ $* == *'--command=kill'* ]]; then touch killed; fi
        """,
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "POLL": "0"}
    return {"cwd": ROOT, "env": environment, "text": True}


def run_pod(tmp_path, *arguments, states, statuses):
    """Return the calls of a run of the script, and its exit status."""
    options = pod(tmp_path, states, statuses)
    done = subprocess.run([POD, *arguments], capture_output=True, **options)
    return done.returncode, recorded(tmp_path), done.stderr


def verbs(calls):
    return [call[4] for call in calls]


def test_a_pod_is_made_used_and_deleted(tmp_path):
    code, calls, error = run_pod(
        tmp_path,
        *WHERE,
        SHARE,
        "--spot",
        *TRAIN,
        states=["", "", "PROVISIONING", "PROVISIONING", "ACTIVE"],
        statuses=[0],
    )
    assert code == 0, error
    assert verbs(calls) == ["create", "scp", "ssh", "ssh", "delete"]
    assert "--spot" in calls[0]
    prefix = "--command="
    commands = [
        word.removeprefix(prefix)
        for call in calls
        for word in call
        if word.startswith(prefix)
    ]
    for command in commands:  # the hosts' shell reads them, nothing here
        subprocess.run(["bash", "-n", "-c", command], check=True)
    command = commands[1]
    line = command.splitlines()[-1].split("exec ")[1]
    assert shlex.split(line) == [".venv/bin/python", *TRAIN[1:], "--distributed"]


def test_a_pod_that_was_taken_away_is_asked_for_again(tmp_path):
    code, calls, error = run_pod(
        tmp_path,
        *WHERE,
        SHARE,
        *TRAIN,
        states=["", "", "ACTIVE", *["SUSPENDED"] * 3, "ACTIVE", "ACTIVE"],
        statuses=[1, 75, 0],  # taken away; stopped, but the pod is there
    )
    assert code == 0, error
    once = ["create", "scp", "ssh", "ssh"]
    assert verbs(calls) == [*once, "delete", *once, "ssh", "delete"]
    assert "--spot" not in calls[0]


def test_an_error_ends_the_pod_and_keep_does_not(tmp_path):
    arguments = (*WHERE, SHARE, "--keep", *TRAIN)
    code, calls, _ = run_pod(tmp_path, *arguments, states=["ACTIVE"] * 2, statuses=[1])
    assert code == 1
    assert verbs(calls) == ["scp", "ssh", "ssh"]


def test_a_signal_stops_the_training_and_then_the_pod(tmp_path):
    options = pod(tmp_path, ["ACTIVE"], ["wait"])
    process = subprocess.Popen([POD, *WHERE, SHARE, *TRAIN], **options)
    while len(recorded(tmp_path)) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    assert verbs(recorded(tmp_path)) == ["scp", "ssh", "ssh", "ssh", "delete"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*WHERE, *TRAIN), "give --share"),
        ((*WHERE, SHARE), "give -- and the training command"),
        ((*WHERE, SHARE, "--spots", *TRAIN), "unknown argument --spots"),
    ],
)
def test_a_pod_is_not_asked_for_by_wrong_arguments(tmp_path, arguments, message):
    code, calls, error = run_pod(tmp_path, *arguments, states=[], statuses=[])
    assert code == 2 and not calls
    assert message in error


@pytest.mark.skipif(not shutil.which("gcloud"), reason="no gcloud")
def test_gcloud_knows_every_argument(tmp_path):
    arguments = (*WHERE, SHARE, "--spot", "--project=p", *TRAIN)
    _, calls, _ = run_pod(tmp_path, *arguments, states=["", "", "ACTIVE"], statuses=[0])
    describe = "gcloud compute tpus queued-resources describe veegan --zone=z"
    calls.append([*shlex.split(describe), "--format=value(state.state)"])
    # Its reader takes commands apart at line ends, wherever these are.
    lines = [shlex.join(word.replace("\n", " ") for word in call) for call in calls]
    for line in {*lines}:
        lint = ["gcloud", "meta", "lint-gcloud-commands", f"--command-string={line}"]
        out = subprocess.run(lint, capture_output=True, text=True, check=True).stdout
        [answer] = yaml.safe_load(out)
        assert answer["success"], (line, answer["error_message"])
