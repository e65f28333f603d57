"""The processes of a run on several hosts: how they start, agree and end.

All run the same script and hold the same state. Only the first reads and writes the
work directory; what it decides or refuses, all are told. With one process every
function here does the obvious thing and costs nothing.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from veegan_jax.common import errors

# A process that has not been heard of for so long is dead: JAX then ends the others.
_HEARTBEAT_SECONDS = 30
# The first that answers nothing for so long is frozen. Before JAX, which would abort
# the others with a dump of their threads and without a word of which one it is.
_SILENCE_SECONDS = 20
# Waiting itself has no limit: one host may draw figures for as long as it takes, and
# heartbeats tell of one that died.
_FOREVER_MS = 10**9
_FAILED = "veegan/failed"

_numbers = itertools.count()  # of what was shared
_busy_alone = threading.Event()  # the first process does what no other does
_over = threading.Event()  # this process ends, and its watchers have nothing to say


def cpu_cores() -> int:
    """How many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # a cluster's share; not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_cpu_cores(num: int) -> None:
    """Make each CPU core a device of its own, if no accelerator takes their place.

    Small matrices do not split over cores (batch 500 x 128: no gain from the second);
    whole seeds do. Call before the first JAX computation.

    Args:
      num: how many devices; seeds spread over them.
    """
    flag = "xla_force_host_platform_device_count"  # the older way to say the same
    if flag not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", num)


class Unreachable(Exception):
    """Another process is gone or never came: the same command may do better."""


def _flag(default: Any, text: str) -> Any:
    metadata = {"group": "performance", "help": text}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Options:
    """The devices and hosts of a run; each field is also a flag."""

    cpu_devices: int = _flag(cpu_cores(), "CPU cores to spread the work over")
    distributed: bool = _flag(
        False,
        "join the other processes of this job: Slurm, Kubernetes, TPU pods and Open "
        "MPI tell which, elsewhere the next three flags do",
    )
    coordinator: str = _flag("", "host:port of process 0, the same for all processes")
    num_processes: int = _flag(0, "how many processes the job has")
    process_id: int = _flag(-1, "which of them this one is, from 0")

    def __post_init__(self) -> None:
        if self.cpu_devices < 1:
            raise errors.InputError(
                f"--cpu_devices={self.cpu_devices} must be at least 1"
            )
        given = {
            "coordinator": self.coordinator != "",
            "num_processes": self.num_processes != 0,
            "process_id": self.process_id != -1,
        }
        named = ", ".join(f"--{name}" for name, is_there in given.items() if is_there)
        if named and not self.distributed:
            raise errors.InputError(f"{named}: give --distributed as well")
        if named and not all(given.values()):
            missing = ", ".join(
                f"--{n}" for n, is_there in given.items() if not is_there
            )
            raise errors.InputError(f"{named}: give {missing} as well, or none of them")
        if not named:
            return
        if not re.fullmatch(r".+:\d{1,5}", self.coordinator):
            raise errors.InputError(
                f"--coordinator={self.coordinator} must be host:port, such as "
                "10.0.0.1:1234"
            )
        if self.num_processes < 1:
            raise errors.InputError(
                f"--num_processes={self.num_processes} must be at least 1"
            )
        if not 0 <= self.process_id < self.num_processes:
            raise errors.InputError(
                f"--process_id={self.process_id} must be 0 to {self.num_processes - 1}"
            )


def start(options: Options) -> None:
    """Set up this process's devices and join the others, before any computation.

    Raises:
      InputError: if no cluster is found and the flags name none, or if hosts differ in
        their number of devices.
      Unreachable: if the others do not come within five minutes.
    """
    use_cpu_cores(options.cpu_devices)
    if not options.distributed:
        return
    # Its handler of SIGTERM would take the place of the training loop's.
    jax.config.update("jax_enable_preemption_service", False)
    told: dict[str, Any] = {}
    if options.coordinator:
        told = {
            "coordinator_address": options.coordinator,
            "num_processes": options.num_processes,
            "process_id": options.process_id,
            "cluster_detection_method": "deactivate",
        }
    try:
        jax.distributed.initialize(**told, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS)
    except ValueError as error:  # what could not be detected
        raise errors.InputError(
            f"--distributed: no Slurm, Kubernetes, TPU or Open MPI job was found "
            f"({error}); start one, or give --coordinator, --num_processes and "
            "--process_id"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        where = options.coordinator or "the cluster's coordinator"
        raise Unreachable(
            f"--distributed: cannot join the others at {where} "
            f"({str(error).splitlines()[0]}); start all of them, with the same address"
        ) from error
    for wait in (_wait_for_failure, _wait_for_death, _wait_for_silence):
        threading.Thread(target=wait, daemon=True, name=wait.__name__).start()
    if not is_main_process():
        # The first one's words are enough.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    counts = share(jax.local_device_count())
    if len(set(counts)) > 1:
        raise errors.InputError(
            f"processes have {', '.join(map(str, counts))} devices: give each as many"
        )


def is_alone() -> bool:
    """Whether this process has joined no others."""
    return not jax.distributed.is_initialized()


def num_processes() -> int:
    """How many processes this run has; one for what only the first one does."""
    return 1 if _busy_alone.is_set() else jax.process_count()


def is_main_process() -> bool:
    """Whether this is the process that reads and writes the work directory."""
    return jax.process_index() == 0


def _client() -> Any:
    from jax._src import distributed  # JAX offers its key-value store nowhere else

    return distributed.global_state.client


def share(value: Any) -> list[Any]:
    """What every process gives, in their order; waits for the slowest.

    Args:
      value: JSON values; arrays of NumPy become lists.
    """
    if num_processes() == 1:
        return [value]
    number, client = next(_numbers), _client()
    text = json.dumps(value, default=lambda a: np.asarray(a).tolist())
    client.key_value_set(f"veegan/{number}/{jax.process_index()}", text)
    client.wait_at_barrier(f"veegan/{number}", _FOREVER_MS)
    found = dict(client.key_value_dir_get(f"veegan/{number}/"))
    if number:  # everyone is past the one before
        client.key_value_delete(f"veegan/{number - 1}/{jax.process_index()}")
    return [
        json.loads(found[f"veegan/{number}/{process}"])
        for process in range(num_processes())
    ]


def barrier() -> None:
    """Wait for all processes."""
    share(None)


def on_main_process(function: Callable[[], Any]) -> Any:
    """What a function returns in the first process, the only one that calls it.

    Args:
      function: returns JSON values. Whatever it calls takes the process for the only
        one; it may not train.

    Raises:
      InputError: in every process, if the function raised it.
    """
    if num_processes() == 1:
        return function()
    outcome: dict[str, Any] = {}
    if is_main_process():
        _busy_alone.set()
        try:
            outcome = {"value": function()}
        except errors.InputError as error:
            outcome = {"error": str(error)}
        finally:
            _busy_alone.clear()
    told = share(outcome)[0]
    if "error" in told:
        raise errors.InputError(told["error"])
    return outcome["value"] if is_main_process() else told["value"]


def from_main_process(tree: Any) -> Any:
    """The first process's arrays, to the bit, in every process.

    Args:
      tree: arrays of the same shapes and types everywhere; those of the others are
        not read.
    """
    if num_processes() == 1:
        return tree
    barrier()
    return _unpack(multihost_utils.broadcast_one_to_all(_pack(tree)), tree)


def gather(tree: Any) -> list[Any]:
    """Every process's arrays, to the bit, in their order; shapes are the same."""
    if num_processes() == 1:
        return [tree]
    barrier()
    bytes_PN = multihost_utils.process_allgather(_pack(tree))
    return [_unpack(bytes_N, tree) for bytes_N in bytes_PN]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _pack(tree: Any) -> np.ndarray:
    """All bytes of a tree: sums and typed keys would not leave every bit as it was."""
    leaves = [
        jax.random.key_data(a) if _is_key(a) else a for a in jax.tree.leaves(tree)
    ]
    flat = [np.ascontiguousarray(a).reshape(-1).view(np.uint8) for a in leaves]
    return np.concatenate(flat)


def _unpack(bytes_N: np.ndarray, like: Any) -> Any:
    taken = 0

    def one(leaf: Any) -> Any:
        nonlocal taken
        data = jax.random.key_data(leaf) if _is_key(leaf) else leaf
        size = data.size * data.dtype.itemsize
        part = np.ascontiguousarray(bytes_N[taken : taken + size])
        taken += size
        array: Any = part.view(data.dtype).reshape(data.shape)
        if _is_key(leaf):
            return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
        return array

    return jax.tree.map(one, like)


def finish() -> None:
    """End an orderly run: leave when all processes have come to this point."""
    if is_alone():
        return
    barrier()
    _over.set()
    jax.distributed.shutdown()


def fail(words: str) -> NoReturn:
    """Exits, and tells the others, who exit as well, why this process cannot go on.

    The usual way out would wait for the others, who wait for this one.
    """
    _over.set()
    words = f"process {jax.process_index()} on {socket.gethostname()} failed: {words}"
    _client().key_value_set(_FAILED, words, allow_overwrite=True)
    if is_main_process():
        time.sleep(1)  # it answers the others' questions
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _wait_for_failure() -> None:
    """End this process when another one says that it failed."""
    try:
        words = _client().blocking_key_value_get(_FAILED, _FOREVER_MS)
    except jax.errors.JaxRuntimeError:
        return  # the connection is gone: the other watcher knows why
    # The first answers the others, who wait for the same words.
    _end(words, 1, seconds=1.0 if is_main_process() else 0.0)


def _wait_for_death() -> None:
    """End this process when JAX's heartbeats say that another one died.

    JAX does so itself, by aborting; this says more, if it is the faster.
    """
    try:
        # Nobody else comes to this barrier, so it can only fail.
        name = f"veegan/watch/{jax.process_index()}"
        _client().wait_at_barrier(name, _FOREVER_MS)
    except jax.errors.JaxRuntimeError as error:
        found = re.search(r"[Tt]ask (\d+)", str(error))
        who = f"process {found[1]}" if found else "another process"
        why = str(error).splitlines()[0].partition(". ")[0]
        _end(f"{who} died or cannot be reached ({why[:200]})", os.EX_TEMPFAIL)


def _wait_for_silence() -> None:
    """End this process when the first one, which serves the others, is frozen."""

    def ask(answered: threading.Event) -> None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # there is no such key
            _client().key_value_try_get("veegan/nothing")
        answered.set()

    while not is_main_process() and not _over.wait(2):
        answered = threading.Event()
        threading.Thread(target=ask, args=[answered], daemon=True).start()
        # A last second: for an answer that waited, as this thread did, for Python.
        if not answered.wait(_SILENCE_SECONDS) and not answered.wait(1):
            words = f"process 0 has not answered for {_SILENCE_SECONDS} s"
            _end(words, os.EX_TEMPFAIL)


def is_of_another(error: Exception) -> bool:
    """Whether an error of JAX tells that another process is gone."""
    words = r"[Gg]loo|NCCL|[Cc]oordination|heartbeat|UNAVAILABLE|DEADLINE_EXCEEDED"
    is_jax = isinstance(error, jax.errors.JaxRuntimeError)
    return is_jax and not is_alone() and bool(re.search(words, str(error)))


def leave(error: Exception) -> NoReturn:
    """Exit because another process is gone; the others will find out as well."""
    _over.set()
    _end_now(
        f"another process died or cannot be reached ({str(error).splitlines()[0]})",
        os.EX_TEMPFAIL,
    )


def _end(words: str, status: int, seconds: float = 0.0) -> None:
    if not _over.is_set():
        _end_now(words, status, seconds)


def _end_now(words: str, status: int, seconds: float = 0.0) -> NoReturn:
    text = (
        f"\n{words}\nThis process, {jax.process_index()} of {num_processes()}, stops. "
        "Give the same command to all of them to go on from the newest checkpoint.\n"
    )
    os.write(2, text.encode())
    time.sleep(seconds)
    os._exit(status)
