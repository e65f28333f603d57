"""The memory of this machine, compared with what a command would need."""

import contextlib
import os
import pathlib

from veegan_jax.common import errors

_LIMITS = tuple(  # of a container, in both versions of Linux's control groups
    pathlib.Path("/sys/fs/cgroup", name)
    for name in ("memory.max", "memory/memory.limit_in_bytes")
)


def total() -> int:
    """Return the bytes of memory that this machine has, or this container."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            found.append(int(path.read_text()))
    return min(found)


def check(needed: int, what: str) -> None:
    """Refuse what the memory cannot hold.

    Args:
      needed: bytes, at least.
      what: flags, their values and what they make, for the message.

    Raises:
      InputError: if there is less memory.
    """
    if needed > total():
        raise errors.InputError(
            f"{what} would take {needed / 1e9:,.0f} GB, and the memory has "
            f"{total() / 1e9:,.0f}: give less"
        )


def check_samples(source: pathlib.Path | str, num: int, bytes_each: int) -> None:
    """Refuse more samples than can be scored in the memory.

    Args:
      source: the file of the samples or the flag that asks for them, for the message.
      num: how many samples.
      bytes_each: that scoring takes for a sample, at least.

    Raises:
      InputError: it says how many samples can be scored.
    """
    most = total() // bytes_each
    if num > most:
        raise errors.InputError(
            f"{source}: {num:,} samples take {num * bytes_each / 1e9:.3g} GB to score, "
            f"and the memory has {total() / 1e9:.3g}: give at most {most:,} of them"
        )
