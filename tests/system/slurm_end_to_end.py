"""A real Slurm stops, requeues and resumes a run on two nodes: the same numbers result.

    python tests/system/slurm_end_to_end.py [STEPS]
        In four to five minutes on two CPU cores. Needs root and Slurm's daemons; on
        Debian and Ubuntu: apt-get install slurmctld slurmd slurm-client munge. On a
        fast machine 400 steps may end before they are stopped: give it more.

The daemons of a cluster of two nodes run on this host for as long as this does, in a
temporary folder that is deleted at the end, or named if something failed. The nodes
have GPUs only in Slurm's eyes. What runs is scripts/launch/slurm_many_nodes.sbatch as
it is, one process on each node with two CPU devices:

1. `sbatch --test-only` accepts every batch file as it is.
2. A few steps end with the parameters that one process on one device finds, but for
   rounding; many would not, as GANs make much of little.
3. A run that nothing disturbs.
4. The same run, stopped by `scancel --signal=TERM`, then by a job of higher priority
   with a GraceTime, then by one without. It must be requeued once for each, save each
   time, go on where it stopped, and end with the same checkpoint to the bit.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / "scripts" / "launch"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
FEW, STEPS = 10, int(sys.argv[1]) if len(sys.argv) > 1 else 400
TRAIN = [
    "scripts/train_mixtures.py",
    "--interval=10",
    "--seeds=2",
    "--samples=100",
    "--batch_size=64",
    "--save_every=100000",  # so that only a stop and the end save
]
# The largest difference that another order of sums makes in a few steps.
TOLERANCE = 1e-3

# Two slurmds on one host need names of their own, which JAX must find in the network.
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=30
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
FirstJobId={first_job}
NodeName=127.0.0.[1-2] NodeHostname={host} NodeAddr=127.0.0.1 \
Port=[{ports[1]}-{ports[2]}] CPUs=64 Gres=gpu:8 State=UNKNOWN
PartitionName=normal Nodes=ALL Default=YES PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


def wait_for(what: str, condition: Callable[[], bool], seconds: float) -> None:
    """Waits until a condition holds.

    Raises:
      AssertionError: if it does not within so many seconds.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} within {seconds:.0f} s"
        time.sleep(0.2)


def need() -> None:
    """Ends with one message where this cannot run."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # where the daemons are
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        sys.exit(
            f"{', '.join(missing)} not found: install Slurm (Debian, Ubuntu: apt-get "
            "install slurmctld slurmd slurm-client munge)"
        )
    if os.geteuid() != 0:
        sys.exit("Slurm's daemons start jobs as other users: run this as root")


def free_ports() -> list[int]:
    """Three, of which the last two follow each other."""
    while True:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
            sockets[0].bind(("127.0.0.1", 0))
            sockets[1].bind(("127.0.0.1", 0))
            second = sockets[1].getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                sockets[2].bind(("127.0.0.1", second + 1))
                return [sockets[0].getsockname()[1], second, second + 1]


def slurm(*command: str) -> str:
    """Return what a Slurm command prints."""
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout.strip()


@contextlib.contextmanager
def cluster(folder: pathlib.Path) -> Iterator[None]:
    """Slurm's daemons, from start to end."""
    host = socket.gethostname().split(".")[0]
    first_job = 1 + os.getpid() % 4000  # JAX makes its port of a job's number
    values = {"host": host, "folder": folder, "ports": free_ports()}
    config = CONFIG.format(first_job=first_job, **values)
    (folder / "slurm.conf").write_text(config)
    (folder / "state").mkdir()
    for gpu in range(8):
        (folder / f"gpu{gpu}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-7]\n")
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")

    daemons = []

    def start(*command: str) -> None:
        with open(folder / "daemons.log", "a") as log:
            daemons.append(subprocess.Popen(command, stdout=log, stderr=log))

    try:
        munge = {name: folder / f"munge.{name}" for name in ("socket", "seed", "log")}
        start(
            "munged",
            "--foreground",
            "--force",  # it would not trust a temporary folder
            f"--key-file={key}",
            f"--socket={munge['socket']}",
            f"--seed-file={munge['seed']}",
            f"--log-file={munge['log']}",
            f"--pid-file={folder}/munged.pid",
        )
        wait_for("munge", munge["socket"].exists, 20)
        start("slurmctld", "-D", "-i")
        for node in ("127.0.0.1", "127.0.0.2"):
            start("slurmd", "-D", "-N", node)

        def idle() -> bool:
            assert all(d.poll() is None for d in daemons), "a daemon ended"
            command = ["sinfo", "--noheader", "--partition=normal", "--format=%T %D"]
            return subprocess.run(command, capture_output=True).stdout == b"idle 2\n"

        wait_for("idle nodes", idle, 60)
        yield
    finally:
        with contextlib.suppress(AssertionError):
            for job in slurm("squeue", "--noheader", "--format=%i").split():
                slurm("scancel", job)
            no_job = lambda: not slurm("squeue", "--noheader")  # noqa: E731
            wait_for("end of the jobs", no_job, 60)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in reversed(daemons):
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()


def submit(folder: pathlib.Path, name: str, steps: int) -> str:
    """Starts a run on both nodes, by the file for many; returns the job's number."""
    return slurm(
        "sbatch",
        "--parsable",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--gpus-per-node=1",
        "--cpus-per-task=1",
        f"--output={folder}/{name}.log",
        f"--export=ALL,PYTHON={sys.executable}",
        str(LAUNCH / "slurm_many_nodes.sbatch"),
        *TRAIN,
        f"--steps={steps}",
        "--parallel=pmap",
        "--cpu_devices=2",
        f"--workdir={folder}/{name}",
    )


def field(job: str, name: str) -> str:
    """What Slurm says of a job."""
    text = slurm("scontrol", "show", "job", job)
    return re.search(rf"\b{name}=(\S*)", text)[1]


def reported(workdir: pathlib.Path) -> list[int]:
    """The steps that a run has logged."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


def finish(job: str) -> None:
    """Waits for a job's end, which must be a good one."""
    ends = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")
    wait_for(f"end of job {job}", lambda: field(job, "JobState") in ends, 240)
    assert field(job, "JobState") == "COMPLETED", field(job, "JobState")
    assert field(job, "ExitCode") == "0:0"


def stop(job: str, workdir: pathlib.Path, restart: int, how: Callable) -> None:
    """Stops a run in its middle and sees it requeued, the `restart`-th time."""
    before = len(reported(workdir))
    wait_for("progress", lambda: len(reported(workdir)) >= before + 5, 180)
    how()
    wait_for("requeue", lambda: field(job, "JobState") == "PENDING", 60)
    done = reported(workdir)[-1]
    assert done < STEPS, "it ended before it could be stopped: give more STEPS"
    assert field(job, "Restarts") == str(restart)
    say(f"stopped at step {done} of {STEPS}; restart {restart}")
    time.sleep(5)  # in the same second Slurm would refuse it: "credential revoked"

    def started() -> bool:
        # Slurm leaves a requeued job alone for two minutes; tests need not. It says so
        # again when the last process of the job is gone.
        if field(job, "Reason") == "BeginTime":
            slurm("scontrol", "update", f"JobId={job}", "StartTime=now")
        return field(job, "JobState") == "RUNNING"

    wait_for("restart", started, 60)


def checkpoint(workdir: pathlib.Path, step: int) -> tuple[str, list[np.ndarray]]:
    """That of a step: its checksum, and its floating-point arrays."""
    path = workdir / "checkpoints" / str(step)
    digest = json.loads((path / "digest" / "metadata").read_text())
    state = ocp.StandardCheckpointer().restore(path / "state")
    arrays = [np.asarray(a) for a in jax.tree.leaves(state)]
    return digest["sha256"], [a for a in arrays if a.dtype == np.float32]


def run_alone(folder: pathlib.Path, name: str, steps: int) -> None:
    """The same in one process on one device, without Slurm."""
    command = [sys.executable, *TRAIN, f"--steps={steps}", "--cpu_devices=1"]
    with open(folder / f"{name}.log", "w") as log:
        subprocess.run(
            [*command, "--parallel=none", f"--workdir={folder}/{name}"],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            check=True,
        )


def check_numbers(folder: pathlib.Path) -> None:
    job = submit(folder, "few", FEW)
    run_alone(folder, "alone", FEW)
    finish(job)
    arrays = [checkpoint(folder / name, FEW)[1] for name in ("few", "alone")]
    most = max(np.abs(a - b).max() for a, b in zip(*arrays, strict=True))
    assert most <= TOLERANCE, f"one process alone differs by {most}"
    say(f"after {FEW} steps one process alone differs by at most {most:.2g}")


def check_stops(folder: pathlib.Path) -> None:
    job = submit(folder, "whole", STEPS)
    finish(job)
    say("the run that nothing disturbs is through")

    def scancel() -> None:
        slurm("scancel", "--signal=TERM", job)

    def preempt() -> None:
        options = ["--partition=urgent", "--nodes=2", "--exclusive", "--wrap=sleep 1"]
        slurm("sbatch", "--output=/dev/null", *options)

    job, workdir = submit(folder, "stopped", STEPS), folder / "stopped"
    stop(job, workdir, 1, scancel)
    stop(job, workdir, 2, preempt)
    slurm("scontrol", "update", "PartitionName=normal", "GraceTime=0")
    stop(job, workdir, 3, preempt)
    finish(job)
    assert field(job, "Restarts") == "3"
    # The progress bar's blocks may be cut in two.
    log = (folder / "stopped.log").read_text(errors="replace")
    for restart in range(4):
        assert log.count(f"restart {restart}:") == 1, f"restart {restart}"
    saved = log.count("stopped by SIGTERM at step")
    assert saved == 3, f"saved at {saved} of 3 stops"
    assert reported(workdir) == reported(folder / "whole")
    say("the one that was stopped three times, too")
    digests = [checkpoint(folder / name, STEPS)[0] for name in ("whole", "stopped")]
    assert digests[0] == digests[1], "its last checkpoint is another one"
    say("with the same checkpoint, to the bit")


def check(folder: pathlib.Path) -> None:
    with cluster(folder):
        say("a cluster of two nodes is up")
        for path in sorted(LAUNCH.glob("*.sbatch")):
            slurm("sbatch", "--test-only", str(path))
        say("sbatch accepts all files")
        check_numbers(folder)
        check_stops(folder)


if __name__ == "__main__":
    need()
    place = pathlib.Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        check(place)
    except BaseException:
        print(f"\nlogs and work directories: {place}", file=sys.stderr)
        raise
    shutil.rmtree(place)
    say("all is well")
