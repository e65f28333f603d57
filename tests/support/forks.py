"""Scripts in processes that start within a second, for tests that need dozens.

`Forks` runs this file as a program. It imports what the scripts do, before JAX has a
backend or a thread, and then forks: a process of its own for each command, which can
be killed, starved or stopped as any other. Programs are compiled once and cached.
"""

import gc
import importlib
import json
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import time
import traceback
import warnings

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
# Imports of the scripts that take long; none of them starts a thread or a device.
PRELOADED = (
    "grain.python",
    "matplotlib.pyplot",
    "orbax.checkpoint",
    "scipy.stats",
    "sklearn.datasets",
    "tensorboard.summary.writer.record_writer",
    "lgan_jax.amplification",
    "veegan_jax.experiments.faces",
    "veegan_jax.experiments.inference",
    "veegan_jax.experiments.ivom",
    "veegan_jax.experiments.mixtures",
    "veegan_jax.experiments.stacked_mnist",
    "veegan_jax.experiments.sweep",
    "veegan_jax.methods.gan",
    "veegan_jax.methods.veegan_plus",
    "veegan_jax.runtime.program",
)


class Fork:
    """One process; its output goes to files, so that no pipe can fill up."""

    def __init__(self, forks: "Forks", command: dict, pid: int) -> None:
        self._forks, self._command, self.pid = forks, command, pid
        self.returncode: int | None = None

    @property
    def stdout(self) -> str:
        return pathlib.Path(self._command["stdout"]).read_text("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return pathlib.Path(self._command["stderr"]).read_text("utf-8", "replace")

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._forks.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.send_signal(signal.SIGKILL)
                raise TimeoutError(f"{self._command['argv']} hangs\n{self.stderr}")
            time.sleep(0.01)
        return self.returncode


class Forks:
    """Starts scripts; `folder` gets their output and the compiled programs."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder, self._number = folder, 0
        self._started: list[Fork] = []
        self.compiled = folder / "compiled"
        self._environment = {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(self.compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=os.environ | self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: dict) -> int | None:
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, script: str, *arguments: object, cwd, **limits: int) -> Fork:
        """Starts a script as a newcomer types it.

        Args:
          script: its name.
          *arguments: its flags.
          cwd: where.
          **limits: of `resource`, such as RLIMIT_FSIZE=1000.
        """
        self._number += 1
        command = {
            "argv": [str(a) for a in (SCRIPTS / script, *arguments)],
            "cwd": str(cwd),
            "environment": os.environ | self._environment,
            "stdout": str(self._folder / f"{self._number}.out"),
            "stderr": str(self._folder / f"{self._number}.err"),
            "limits": limits,
        }
        for name in ("stdout", "stderr"):
            pathlib.Path(command[name]).touch()
        self._started.append(Fork(self, command, self.ask(command)))
        return self._started[-1]

    def run(self, script: str, *arguments: object, cwd, **limits: int) -> Fork:
        """Starts a script and waits for its end."""
        process = self.start(script, *arguments, cwd=cwd, **limits)
        process.wait()
        return process

    def kill_all(self) -> None:
        """Ends what still runs, frozen or not."""
        for process in self._started:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self._started.clear()

    def close(self) -> None:
        self.kill_all()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def _child(command: dict) -> None:
    """Becomes a script."""
    import resource

    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["environment"])
    for name, fd in (("stdout", 1), ("stderr", 2)):
        file = os.open(command[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, fd)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for name, value in command["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = command["argv"]
    sys.path[0] = str(pathlib.Path(sys.argv[0]).parent)
    status = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        status = end.code
        if not isinstance(status, int | None):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    # What `python` does at its end, but for the modules that are taken apart.
    import atexit
    import threading

    try:
        threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


def _serve() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # the modules are no garbage of the processes to come
    running = set()
    try:
        while line := sys.stdin.readline():
            question = json.loads(line)
            if "poll" in question:
                pid, status = os.waitpid(question["poll"], os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if pid else None
                running.discard(pid)
            else:
                with warnings.catch_warnings():
                    # From 3.12 on, of the threads of NumPy, which knows of forks.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    answer = os.fork()
                if not answer:
                    _child(question)
                running.add(answer)
            print(json.dumps(answer), flush=True)
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
    os._exit(0)  # at once: nothing here needs taking apart


if __name__ == "__main__":
    _serve()
