"""JAX's settings, as the numbers of this code need them.

A user may set them for all programs: 64-bit types, another kind of random keys, strict
promotion of types. Scripts set them back (`pin`); functions that others import leave
the user's settings alone and work in their own (`standard`).
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from veegan_jax.common import errors

_config: Any = jax.config  # its settings are not in its type
IMPLEMENTATION = "threefry2x32"  # of random keys
_NEEDED: dict[str, tuple[Callable[..., Any], Any]] = {
    "jax_default_prng_impl": (jax.default_prng_impl, IMPLEMENTATION),
    "jax_enable_x64": (jax.enable_x64, False),
    "jax_numpy_dtype_promotion": (jax.numpy_dtype_promotion, "standard"),
}
_NARROW = {"float64": jnp.float32, "int64": jnp.int32, "uint64": jnp.uint32}

Function = TypeVar("Function", bound=Callable[..., Any])


def pin() -> None:
    """Set what the numbers depend on, for a process that runs nothing else.

    Raises:
      InputError: if JAX may not compile, since a run would take days.
    """
    for name, (_, value) in _NEEDED.items():
        jax.config.update(name, value)
    jax.config.update("jax_threefry_partitionable", True)
    jax.config.update("jax_random_seed_offset", 0)
    if _config.jax_disable_jit:
        raise errors.InputError(
            "JAX_DISABLE_JIT is set, and a run would take days: unset it. To find what "
            "becomes non-finite give --debug_nans; to step through a method, call its "
            "train_step in Python"
        )


def settings() -> dict[str, Any]:
    """Return JAX's settings that numbers depend on, by name."""
    names = (*_NEEDED, "jax_threefry_partitionable", "jax_random_seed_offset")
    return {name: getattr(_config, name) for name in names}


def missing_platform() -> str:
    """Return a message if JAX finds no device of JAX_PLATFORMS; "" if it finds one."""
    wanted = _config.jax_platforms
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        why = (
            str(error).partition(" (set JAX_PLATFORMS")[0] or "there is no such device"
        )
        return f"JAX_PLATFORMS={wanted}: {why}; unset it, or give cpu" if wanted else ""
    return ""


def standard(function: Function) -> Function:
    """Decorate a function: the same numbers under any of the user's settings.

    Arrays of 64 bits are taken as JAX takes them by default, with 32. A key of another
    implementation is taken as a threefry key; `rbg` keys hold one.

    Raises:
      InputError: from the function, if JAX_THREEFRY_PARTITIONABLE is 0. The caller's
        `jax.jit` would use it, whatever is set within.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not _config.jax_threefry_partitionable:
            raise errors.InputError(
                "JAX_THREEFRY_PARTITIONABLE=0 gives other random numbers: unset it, or "
                "work within `with jax.threefry_partitionable(True):`"
            )
        with contextlib.ExitStack() as stack:
            for name, (context, value) in _NEEDED.items():
                if getattr(_config, name) != value:
                    stack.enter_context(context(value))
            # Not always: `tree.map` would sort the names of a user's dict.
            given = jax.tree.leaves((args, kwargs))
            if any(_as_by_default(leaf) is not leaf for leaf in given):
                args, kwargs = jax.tree.map(_as_by_default, (args, kwargs))
            return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def exact(function: Function) -> Function:
    """Decorate a function: its matrix products are of float32 on every device.

    By default GPUs round the factors to 11 bits and TPUs to 8. Networks bear that;
    differences of squares, angles and iterations do not. On an H200 BuresGAN's
    distance, which is at most 2, rose to 8e7.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def undefined_allowed(function: Function) -> Function:
    """Decorate a function whose results may be NaN or infinite on purpose.

    JAX_DEBUG_NANS and JAX_DEBUG_INFS, which look for mistakes, leave them alone.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with jax.debug_nans(False), jax.debug_infs(False):
            return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def _as_by_default(leaf: Any) -> Any:
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return leaf
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if str(jax.random.key_impl(leaf)) == IMPLEMENTATION:
            return leaf
        words = jax.random.key_data(leaf)[..., :2]
        return jax.random.wrap_key_data(words, impl=IMPLEMENTATION)
    if isinstance(leaf, jax.Array) and str(dtype) in _NARROW:
        return leaf.astype(_NARROW[str(dtype)])
    return leaf
