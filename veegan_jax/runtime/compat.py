"""Private parts of other packages, each behind one function.

JAX and tqdm offer no public way to these. `tests/unit/test_compat.py` fails, and says
what moved, when an update takes one of them away.
"""

import time
from typing import Any

import tqdm


def key_value_client() -> Any:
    """Return the client of the key-value store that JAX's processes share.

    Returns:
      The client; None before `jax.distributed.initialize`. It is used for
      `key_value_set`, `key_value_try_get`, `key_value_dir_get`, `key_value_delete`,
      `blocking_key_value_get` and `wait_at_barrier`.
    """
    from jax._src import distributed

    return distributed.global_state.client


def use_compilation_cache(cache: Any) -> None:
    """Make JAX keep compiled programs in an object of ours.

    Args:
      cache: has `get(key)`, which returns bytes or None, `put(key, value)`, and the
        attribute `_path`.
    """
    from jax._src import compilation_cache

    compilation_cache.reset_cache()
    compilation_cache._cache = cache
    compilation_cache._cache_initialized = True


def use_monotonic_clock(bar: tqdm.tqdm) -> None:
    """Time a new progress bar by a clock that never goes back.

    If the system's clock is set back, tqdm's bar stands still until the clock has
    caught up.
    """
    clock = time.perf_counter
    bar._time = clock
    bar.start_t = bar.last_print_t = clock()
