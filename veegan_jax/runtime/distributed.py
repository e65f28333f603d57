"""The processes of a run on several hosts: how they start, agree and end.

All processes run the same script and hold the same state. Only process 0, the main
process, reads and writes the work directory; it tells the others what it decides or
refuses. With one process every function here does the obvious thing and costs nothing.
"""

import dataclasses
import itertools
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from veegan_jax.common import errors, fields
from veegan_jax.runtime import compat, watchdog

_numbers = itertools.count()  # number the calls of `share`
_alone = threading.Event()  # set while only the main process works


CORES = "[1, 1024]"  # the range of --cpu_devices


def cpu_cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # a cluster's share; not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_cpu_cores(num: int) -> None:
    """Make each CPU core a device of its own, unless there is an accelerator.

    Small matrices do not split over cores (batch 500 x 128: no gain from the second);
    whole seeds do. Call before the first JAX computation.

    Args:
      num: how many devices; seeds spread over them.
    """
    flag = "xla_force_host_platform_device_count"  # the older way to say the same
    if flag not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", num)


class Unreachable(Exception):
    """Another process is gone or never came; the same command may work later."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The devices and hosts of a run; each field is also a flag."""

    cpu_devices: int = fields.field(
        cpu_cores(),
        "CPU cores to spread the work over",
        "performance",
        within=CORES,
    )
    distributed: bool = fields.field(
        False,
        "join the other processes of this job: Slurm, Kubernetes, TPU pods and Open "
        "MPI tell which, elsewhere the next three flags do",
        "performance",
    )
    coordinator: str = fields.field(
        "", "host:port of process 0, the same for all processes", "performance"
    )
    num_processes: int = fields.field(
        0, "how many processes the job has", "performance", within="[0, inf)"
    )
    process_id: int = fields.field(
        -1, "which of them this one is, from 0", "performance", within="[-1, inf)"
    )

    def __post_init__(self) -> None:
        fields.check(self)
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
    # JAX's handler of SIGTERM would replace the training loop's.
    jax.config.update("jax_enable_preemption_service", False)
    given: dict[str, Any] = {}
    if options.coordinator:
        given = {
            "coordinator_address": options.coordinator,
            "num_processes": options.num_processes,
            "process_id": options.process_id,
            "cluster_detection_method": "deactivate",
        }
    try:
        jax.distributed.initialize(
            **given, heartbeat_timeout_seconds=watchdog.HEARTBEAT_SECONDS
        )
    except ValueError as error:  # no cluster was detected
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
    watchdog.start()
    if not is_main_process():
        # The main process prints for all.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    counts = share(jax.local_device_count())
    if len(set(counts)) > 1:
        raise errors.InputError(
            f"processes have {', '.join(map(str, counts))} devices: give each as many"
        )


def is_alone() -> bool:
    """Return whether this process has joined no others."""
    return not jax.distributed.is_initialized()


def num_processes() -> int:
    """Return how many processes this run has; 1 inside `on_main_process`."""
    return 1 if _alone.is_set() else jax.process_count()


def is_main_process() -> bool:
    """Return whether this process is the one that uses the work directory."""
    return jax.process_index() == 0


def share(value: Any) -> list[Any]:
    """Return the values of all processes, in their order; wait for the slowest.

    Args:
      value: this process's, of JSON types; NumPy arrays become lists.
    """
    if num_processes() == 1:
        return [value]
    number, client = next(_numbers), compat.key_value_client()
    text = json.dumps(value, default=lambda a: np.asarray(a).tolist())
    client.key_value_set(f"veegan/{number}/{jax.process_index()}", text)
    client.wait_at_barrier(f"veegan/{number}", watchdog.FOREVER_MS)
    found = dict(client.key_value_dir_get(f"veegan/{number}/"))
    if number:  # all processes have read the values of the call before
        client.key_value_delete(f"veegan/{number - 1}/{jax.process_index()}")
    return [
        json.loads(found[f"veegan/{number}/{process}"])
        for process in range(num_processes())
    ]


def barrier() -> None:
    """Wait for all processes."""
    share(None)


def on_main_process(function: Callable[[], Any]) -> Any:
    """Call a function in the main process and return its value in all processes.

    Args:
      function: returns values of JSON types. Inside it `num_processes` is 1; it may
        not train.

    Raises:
      InputError: in every process, if the function raised it.
    """
    if num_processes() == 1:
        return function()
    outcome: dict[str, Any] = {}
    if is_main_process():
        _alone.set()
        try:
            outcome = {"value": function()}
        except errors.InputError as error:
            outcome = {"error": str(error)}
        finally:
            _alone.clear()
    shared = share(outcome)[0]
    if "error" in shared:
        raise errors.InputError(shared["error"])
    return outcome["value"] if is_main_process() else shared["value"]


def from_main_process(tree: Any) -> Any:
    """Return the main process's arrays, to the bit, in every process.

    Args:
      tree: arrays of the same shapes and types in all processes; only the main
        process's values are used.
    """
    if num_processes() == 1:
        return tree
    barrier()
    return _unpack(multihost_utils.broadcast_one_to_all(_pack(tree)), tree)


def gather(tree: Any) -> list[Any]:
    """Return the arrays of all processes, to the bit; shapes must be equal."""
    if num_processes() == 1:
        return [tree]
    barrier()
    bytes_PN = multihost_utils.process_allgather(_pack(tree))
    return [_unpack(bytes_N, tree) for bytes_N in bytes_PN]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _pack(tree: Any) -> np.ndarray:
    """Return all bytes of a tree.

    JAX broadcasts by summing, which changes some bits of floats (-0.0, NaN), and does
    not take typed keys. Bytes arrive as they were.
    """
    leaves = [
        jax.random.key_data(a) if _is_key(a) else a for a in jax.tree.leaves(tree)
    ]
    flat = [np.ascontiguousarray(a).reshape(-1).view(np.uint8) for a in leaves]
    return np.concatenate(flat)


def _unpack(bytes_N: np.ndarray, like: Any) -> Any:
    """Undo `_pack`; `like` gives the structure, shapes and types."""
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
    """End an orderly run: wait for all processes here, then disconnect."""
    if is_alone():
        return
    barrier()
    watchdog.stop()
    jax.distributed.shutdown()
