"""The private parts of JAX and tqdm that runtime/compat.py uses are still there."""

import io
import time

import pytest
import tqdm

from veegan_jax.runtime import compat

MOVED = "changed or moved in this version: adapt veegan_jax/runtime/compat.py"


def test_jax_has_its_key_value_client():
    try:
        from jax._src.lib import _jax

        client = compat.key_value_client()
        methods = dir(_jax.DistributedRuntimeClient)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"JAX's key-value client {MOVED} ({error})")
    assert client is None  # this process has joined no others
    for name in (
        "key_value_set",
        "key_value_try_get",
        "key_value_dir_get",
        "key_value_delete",
        "blocking_key_value_get",
        "wait_at_barrier",
    ):
        assert name in methods, f"the client's {name} {MOVED}"


def test_a_progress_bar_does_not_read_the_clock_that_can_be_set_back(monkeypatch):
    bar = tqdm.tqdm(total=3, file=io.StringIO())
    assert bar._time is not None, f"tqdm's _time {MOVED}"
    compat.use_monotonic_clock(bar)
    start = time.perf_counter()
    monkeypatch.setattr(time, "perf_counter", pytest.fail)  # compat took it before
    elapsed = bar.format_dict["elapsed"]
    assert 0 <= elapsed < 60, f"tqdm's _time or start_t {MOVED}"
    bar._time = lambda: start + 100
    assert 99 < bar.format_dict["elapsed"] < 101, f"tqdm's _time {MOVED}"
    bar.close()
