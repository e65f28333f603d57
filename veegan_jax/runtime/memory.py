"""The memory of this machine, compared with what a command would need."""

import os

from veegan_jax.common import errors


def total() -> int:
    """Return the bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check(needed: int, what: str) -> None:
    """Refuse what the memory cannot hold.

    Args:
      needed: bytes, at least.
      what: flags, their values and what they make, for the message.

    Raises:
      InputError: if the machine has less memory.
    """
    if needed > total():
        raise errors.InputError(
            f"{what} would take {needed / 1e9:,.0f} GB, and the memory has "
            f"{total() / 1e9:,.0f}: give less"
        )
