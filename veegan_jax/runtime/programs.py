"""Compiled programs: those of the last configurations stay, older ones are freed."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax

KEPT = 8  # programs of one function

Function = TypeVar("Function", bound=Callable[..., Any])


def jit(*static: str) -> Callable[[Function], Function]:
    """Decorate like `jax.jit`, for a function with static keyword arguments.

    `jax.jit` keeps a program for every configuration until the process ends: 5 MiB of
    each, for the smallest networks. A notebook that trains dozens would keep them all.
    Here the programs of the last KEPT values stay, so that repeated calls are as fast.

    Args:
      *static: names of the static arguments, which every call gives by name.

    Returns:
      The decorator. As with `jax.jit`, the function's `lower` takes the same arguments.
    """

    def decorate(function: Function) -> Function:
        @functools.lru_cache(KEPT)
        def program(**values: Any) -> Callable[..., Any]:
            # A function of its own: when it is gone, JAX frees what it compiled for it.
            def bound(*args: Any, **given: Any) -> Any:
                return function(*args, **given, **values)

            bound.__name__ = function.__name__  # of the program
            return jax.jit(bound)

        def split(given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            values = {name: given.pop(name) for name in static if name in given}
            return program(**values), given

        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            jitted, others = split(given)
            return jitted(*args, **others)

        def lower(*args: Any, **given: Any) -> Any:
            jitted, others = split(given)
            return jitted.lower(*args, **others)

        call.lower = lower  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate
