"""The files for clusters, each read by a tool that knows its format.

A real Slurm tests the rest: tests/system/slurm_end_to_end.py.
"""

import copy
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types

import kubernetes_validate
import pytest
import yaml
from kubeflow_trainer_api import models

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / "scripts" / "launch"
BASH = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
SBATCH = sorted(LAUNCH.glob("*.sbatch"))
JOBSETS = ("kubernetes_gpu.yaml", "kubernetes_tpu.yaml")
KUBERNETES = "1.37"

names = pytest.mark.parametrize("path", BASH, ids=lambda p: p.name)
batch_files = pytest.mark.parametrize("path", SBATCH, ids=lambda p: p.stem)
jobsets = pytest.mark.parametrize("name", JOBSETS)


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


# Slurm


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


def stub(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


# Words end with one control character and calls with another: no word holds them.
RECORD = r"""printf '%s\037' "${0##*/}" "$@" >>calls; printf '\036' >>calls"""


def recorded(folder):
    """Return the calls of a folder's stubs, in order, a list of words each."""
    calls = folder / "calls"
    lines = calls.read_text().split("\036")[:-1] if calls.exists() else []
    return [line.split("\037")[:-1] for line in lines]


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


# Kubernetes


def documents(name):
    return list(yaml.safe_load_all((LAUNCH / name).read_text()))


def check_jobset(jobset):
    """Refuses what is not a JobSet to the last field, or holds no valid Job."""
    assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    # The model leaves out what it does not know.
    assert models.JobsetV1alpha2JobSet.from_dict(jobset).to_dict() == jobset
    for replicated in jobset["spec"]["replicatedJobs"]:
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}}
        job |= replicated["template"]
        kubernetes_validate.validate(job, KUBERNETES, strict=True)


@jobsets
def test_jobsets_are_valid(name):
    [jobset] = documents(name)
    check_jobset(jobset)


@pytest.mark.parametrize("where", ["network", "failurePolicy", "template", "pod"])
def test_a_wrong_field_of_a_jobset_is_noticed(where):
    [jobset] = documents("kubernetes_gpu.yaml")
    wrong = copy.deepcopy(jobset)
    job = wrong["spec"]["replicatedJobs"][0]["template"]["spec"]
    place = {
        "network": wrong["spec"]["network"],
        "failurePolicy": wrong["spec"]["failurePolicy"],
        "template": job,
        "pod": job["template"]["spec"],
    }[where]
    place["unheardOf"] = 1
    with pytest.raises((AssertionError, kubernetes_validate.ValidationError)):
        check_jobset(wrong)


def test_setup_is_valid():
    for document in documents("kubernetes_setup.yaml"):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@jobsets
def test_a_jobset_restarts_after_75_and_fails_after_1(name):
    [jobset] = documents(name)
    [replicated] = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert job["backoffLimit"] == 0  # any pod that fails ends the Job ...
    [rule] = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"  # ... and so does 1, with a reason of its own
    assert rule["onExitCodes"]["operator"] == "In"
    assert 1 in rule["onExitCodes"]["values"]
    assert 75 not in rule["onExitCodes"]["values"]
    [container] = job["template"]["spec"]["containers"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    policy = jobset["spec"]["failurePolicy"]
    assert policy["maxRestarts"] > 0
    [rule] = policy["rules"]
    assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])
    assert rule["action"] == "FailJobSet"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]


@jobsets
def test_a_jobset_uses_what_the_setup_makes(name):
    [jobset] = documents(name)
    pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    made = {
        (d["kind"], d["metadata"]["name"]) for d in documents("kubernetes_setup.yaml")
    }
    assert ("ServiceAccount", pod["serviceAccountName"]) in made
    claims = [
        v["persistentVolumeClaim"]["claimName"]
        for v in pod["volumes"]
        if "persistentVolumeClaim" in v
    ]
    assert len(claims) == 2
    assert {("PersistentVolumeClaim", claim) for claim in claims} <= made
    [container] = pod["containers"]
    mounts = {m["mountPath"] for m in container["volumeMounts"]}
    assert {"/runs", "/data"} <= mounts
    assert f"--workdir=/runs/{jobset['metadata']['name']}" in container["args"]
    # A signal goes to the first process of a container, and a shell keeps it.
    assert container["command"][0] == "python"


class Forbidden(Exception):
    """The API server's answer to a question that the role does not allow."""

    status, reason = 403, "Forbidden"


def api_server(jobset, role):
    """The Python client of Kubernetes, inside the first pod of a JobSet."""
    name = jobset["metadata"]["name"]
    [replicated] = jobset["spec"]["replicatedJobs"]
    job_name = f"{name}-{replicated['name']}-0"
    labels = {"jobset.sigs.k8s.io/jobset-name": name, "job-name": job_name}
    owner = types.SimpleNamespace(controller=True, kind="Job", name=job_name)
    metadata = types.SimpleNamespace(
        name=job_name, labels=labels, owner_references=[owner]
    )
    spec = types.SimpleNamespace(**replicated["template"]["spec"])
    allowed = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }

    def check(resource, verb):
        if (resource, verb) not in allowed:
            raise Forbidden

    class Core:
        def list_namespaced_pod(self, **_):
            check("pods", "list")
            return types.SimpleNamespace(
                items=[types.SimpleNamespace(metadata=metadata)]
            )

    class Batch:
        def read_namespaced_job(self, name, **_):
            check("jobs", "get")
            assert name == job_name
            return types.SimpleNamespace(metadata=metadata, spec=spec)

    module = types.ModuleType("kubernetes")
    module.config = types.SimpleNamespace(load_incluster_config=lambda: None)
    module.client = types.SimpleNamespace(
        CoreV1Api=Core,
        BatchV1Api=Batch,
        exceptions=types.SimpleNamespace(ApiException=Forbidden),
    )
    return module


@pytest.mark.parametrize("may", ["all", "less"])
def test_jax_finds_the_processes_of_a_jobset(monkeypatch, may):
    """With the rights of the role, and no others; with less it would not."""
    from jax._src.clusters import k8s_cluster

    class Cluster(k8s_cluster.K8sCluster):
        opt_in_only_method = True  # the other tests' detection passes it by

    [jobset] = documents("kubernetes_gpu.yaml")
    role = next(d for d in documents("kubernetes_setup.yaml") if d["kind"] == "Role")
    if may == "less":
        role["rules"] = role["rules"][1:]
    monkeypatch.setitem(sys.modules, "kubernetes", api_server(jobset, role))
    for name, value in {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "HOSTNAME": "localhost",
        "JOB_COMPLETION_INDEX": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Cluster, "_namespace", classmethod(lambda cls: "default"))
    assert Cluster.is_env_present()
    if may == "less":
        with pytest.raises(RuntimeError, match="403 - Forbidden"):
            Cluster.get_coordinator_address(None, None)
        return
    address = Cluster.get_coordinator_address(None, None)
    assert re.fullmatch(r"veegan-train-0-0\.veegan:\d+", address)
    assert Cluster.get_process_count() == 2
    assert Cluster.get_process_id() == 1


# A TPU pod

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


# All


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
