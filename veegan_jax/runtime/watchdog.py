"""End this process when another process of the run failed, died or is frozen.

Three threads watch the others. Without them a process would wait forever for one that
is gone, or JAX would abort it with a dump of threads that does not name the culprit.
"""

import contextlib
import os
import re
import socket
import sys
import threading
import time
from typing import NoReturn

import jax

from veegan_jax.common import files
from veegan_jax.runtime import compat

# A process without a heartbeat for this long is dead, and JAX ends the others.
HEARTBEAT_SECONDS = 30
# If process 0 answers nothing for this long, it is frozen. This is shorter than JAX's
# own limit, after which JAX aborts the others without naming the frozen one.
SILENCE_SECONDS = 20
# Waiting has no limit of its own: one process may draw plots for as long as it takes,
# and heartbeats report a process that died.
FOREVER_MS = 10**9
_FAILED = "veegan/failed"

_ending = threading.Event()  # this process ends, and its watchers keep quiet


def start() -> None:
    """Start the watchers, after `jax.distributed.initialize`."""
    for watch in (_wait_for_failure, _wait_for_death, _wait_for_silence):
        threading.Thread(target=watch, daemon=True, name=watch.__name__).start()


def stop() -> None:
    """Silence the watchers, since this process ends as it should."""
    _ending.set()


def fail(message: str) -> NoReturn:
    """Exit with status 1 and tell the other processes, which exit as well.

    A usual exit would wait for the others, and they would wait for this process.

    Args:
      message: why this process cannot go on.
    """
    _ending.set()
    host = socket.gethostname()
    message = f"process {jax.process_index()} on {host} failed: {message}"
    compat.key_value_client().key_value_set(_FAILED, message, allow_overwrite=True)
    if jax.process_index() == 0:
        time.sleep(1)  # process 0 serves the message to the others
    sys.stdout.flush()
    sys.stderr.flush()
    files.remove_temporaries()
    os._exit(1)


def is_lost_process(error: Exception) -> bool:
    """Return whether an error of JAX says that another process is gone."""
    pattern = r"[Gg]loo|NCCL|[Cc]oordination|heartbeat|UNAVAILABLE|DEADLINE_EXCEEDED"
    is_jax = isinstance(error, jax.errors.JaxRuntimeError)
    several = jax.distributed.is_initialized()
    return is_jax and several and bool(re.search(pattern, str(error)))


def leave(error: Exception) -> NoReturn:
    """Exit because another process is gone; the remaining ones notice by themselves."""
    _ending.set()
    _exit(
        f"another process died or cannot be reached ({str(error).splitlines()[0]})",
        os.EX_TEMPFAIL,
    )


def _wait_for_failure() -> None:
    """End this process when another one reports its failure."""
    try:
        client = compat.key_value_client()
        message = client.blocking_key_value_get(_FAILED, FOREVER_MS)
    except jax.errors.JaxRuntimeError:
        return  # the connection is gone, and `_wait_for_death` knows why
    # Process 0 stays a second, since it serves this message to the others.
    _end(message, 1, seconds=1.0 if jax.process_index() == 0 else 0.0)


def _wait_for_death() -> None:
    """End this process when JAX's heartbeats report that another one died.

    JAX also aborts this process then. This thread says more, if it is faster.
    """
    try:
        # No other process comes to this barrier, so it can only fail.
        name = f"veegan/watch/{jax.process_index()}"
        compat.key_value_client().wait_at_barrier(name, FOREVER_MS)
    except jax.errors.JaxRuntimeError as error:
        found = re.search(r"[Tt]ask (\d+)", str(error))
        who = f"process {found[1]}" if found else "another process"
        why = str(error).splitlines()[0].partition(". ")[0]
        _end(f"{who} died or cannot be reached ({why[:200]})", os.EX_TEMPFAIL)


def _wait_for_silence() -> None:
    """End this process when process 0, which serves the others, is frozen."""

    def ask(answered: threading.Event) -> None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # there is no such key
            compat.key_value_client().key_value_try_get("veegan/nothing")
        answered.set()

    while jax.process_index() != 0 and not _ending.wait(2):
        answered = threading.Event()
        threading.Thread(target=ask, args=[answered], daemon=True).start()
        # If this process was itself stopped, the answer may need another second.
        if not answered.wait(SILENCE_SECONDS) and not answered.wait(1):
            message = f"process 0 has not answered for {SILENCE_SECONDS} s"
            _end(message, os.EX_TEMPFAIL)


def _end(message: str, status: int, seconds: float = 0.0) -> None:
    if not _ending.is_set():
        _exit(message, status, seconds)


def _exit(message: str, status: int, seconds: float = 0.0) -> NoReturn:
    text = (
        f"\n{message}\nThis process, {jax.process_index()} of {jax.process_count()}, "
        "stops. Give the same command to all of them to go on from the newest "
        "checkpoint.\n"
    )
    with contextlib.suppress(OSError):  # nobody may be there to read it
        os.write(2, text.encode())
    time.sleep(seconds)
    files.remove_temporaries()
    os._exit(status)
