"""Two processes of two devices compute, save and resume what one process does."""

import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from support import hosts, parallel_runs

from veegan_jax.common import errors
from veegan_jax.runtime import checkpoint, distributed

ROOT = pathlib.Path(__file__).parents[2]


def free_port():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def start(folder, process, port):
    return subprocess.Popen(
        [
            sys.executable,
            "tests/support/hosts.py",
            str(port),
            str(process),
            str(folder),
        ],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the two processes left what they found."""
    path = tmp_path_factory.mktemp("hosts")
    theirs = checkpoint.Checkpoints(path / "theirs")
    theirs.save(3, parallel_runs.result("gan", "both", "pmap", 4)[0])
    theirs.close()
    port = free_port()
    both = [start(path, process, port) for process in (0, 1)]
    for process in both:
        _, err = process.communicate(timeout=500)
        assert process.returncode == 0, err
    return path


@pytest.fixture(scope="module")
def found(folder):
    with np.load(folder / "found.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("run", hosts.RUNS, ids="-".join)
def test_two_hosts_compute_what_one_device_does(found, run):
    method, optimizer, _ = run
    expected = parallel_runs.result(method, optimizer, "none", 1)
    for path, array in parallel_runs.leaves(expected):
        actual = found[f"{'-'.join(run)}{path}"]
        np.testing.assert_allclose(actual, array, err_msg=path, rtol=3e-5, atol=1e-5)


def test_two_hosts_go_on_from_a_checkpoint_of_one(found):
    run, _ = parallel_runs.runner("gan", "both", "none", 1)
    expected, _ = run(parallel_runs.result("gan", "both", "none", 1)[0])
    for path, array in parallel_runs.leaves(expected):
        np.testing.assert_allclose(
            found[f"resumed-3{path}"], array, err_msg=path, rtol=6e-5, atol=2e-5
        )


@pytest.mark.parametrize(
    ("mode", "num_devices"), [("none", 1), ("pmap", 2), ("jit", 8)]
)
def test_any_number_of_devices_goes_on_from_a_checkpoint_of_two_hosts(
    folder, mode, num_devices
):
    run, _ = parallel_runs.runner("gan", "both", "none", 1)
    expected, _ = run(parallel_runs.result("gan", "both", "none", 1)[0])
    like = parallel_runs.initial("gan", "both")
    done, state = checkpoint.Checkpoints(folder / "ours").restore(like)
    assert done == 3
    assert state.key.dtype == like.key.dtype
    run, _ = parallel_runs.runner("gan", "both", mode, num_devices)
    actual, _ = run(state)
    parallel_runs.assert_same(actual, expected, rtol=6e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("mode", "num_devices"), [("none", 1), ("pmap", 2), ("jit", 8)]
)
def test_a_checkpoint_of_four_devices_goes_on_on_others(tmp_path, mode, num_devices):
    four, _ = parallel_runs.runner("gan", "both", "pmap", 4)
    state, _ = parallel_runs.result("gan", "both", "pmap", 4)
    expected, _ = four(state)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(3, state)
    checkpoints.close()
    like = parallel_runs.initial("gan", "both")
    _, restored = checkpoint.Checkpoints(tmp_path).restore(like)
    run, _ = parallel_runs.runner("gan", "both", mode, num_devices)
    actual, _ = run(restored)
    parallel_runs.assert_same(actual, expected, rtol=6e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(cpu_devices=0), "--cpu_devices=0 must be in"),
        (dict(coordinator="a:1"), "--coordinator: give --distributed as well"),
        (
            dict(distributed=True, num_processes=2),
            "--num_processes: give --coordinator, --process_id as well",
        ),
        (
            dict(distributed=True, coordinator="a", num_processes=2, process_id=0),
            "--coordinator=a must be host:port",
        ),
        (
            dict(distributed=True, coordinator="a:1", num_processes=2, process_id=2),
            "--process_id=2 must be 0 to 1",
        ),
    ],
)
def test_flags_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(errors.InputError, match=message):
        distributed.Options(**changes)


def test_alone_everything_is_what_it_is():
    assert distributed.share([1]) == [[1]]
    assert distributed.on_main_process(lambda: 3) == 3
    tree = {"a": np.arange(3)}
    assert distributed.from_main_process(tree) is tree
    assert distributed.gather(tree) == [tree]
    assert distributed.is_alone() and distributed.is_main_process()
    assert jax.process_count() == distributed.num_processes() == 1
