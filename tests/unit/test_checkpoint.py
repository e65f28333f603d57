"""Checkpoints survive damage, and a work directory belongs to one run."""

import gc
import json
import pathlib
import shutil
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from veegan_jax.common import errors
from veegan_jax.experiments import base
from veegan_jax.presets import resolve
from veegan_jax.runtime import checkpoint, workdirs

# When a restore fails, orbax leaves coroutines behind whose event loop is closed;
# Python says so when it collects them. Collected here, they disturb no other test.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def collect_what_orbax_leaves() -> Iterator[None]:
    yield
    gc.collect()


CONFIG = resolve.resolve(
    "veegan", "ring", generator_widths=(4,), reconstructor_widths=(4,)
)


def states():
    """A state of two seeds and a later one that differs in every array."""
    first = base.init_seeds([0, 1], CONFIG)
    later = jax.tree.map(
        lambda a: a if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a + 1, first
    )
    return first, later


def assert_equal(a, b):
    raw = [jax.tree.map(jax.random.key_data, s.key) for s in (a, b)]
    a, b = a.replace(key=raw[0]), b.replace(key=raw[1])
    jax.tree.map(np.testing.assert_array_equal, a, b)


def saved(directory: pathlib.Path) -> checkpoint.Checkpoints:
    first, later = states()
    checkpoints = checkpoint.Checkpoints(directory)
    checkpoints.save(10, first)
    checkpoints.save(20, later)
    checkpoints.close()
    return checkpoint.Checkpoints(directory)


def test_round_trip_with_typed_keys(tmp_path):
    first, later = states()
    step, state = saved(tmp_path).restore(first)
    assert step == 20
    assert state.key.dtype == first.key.dtype
    assert_equal(state, later)


def test_shapes_suffice_and_keys_keep_their_kind(tmp_path):
    state, _ = states()
    for key in (state.key, jax.random.split(jax.random.key(0, impl="rbg"))):
        folder = tmp_path / str(key.dtype)
        checkpoints = checkpoint.Checkpoints(folder)
        checkpoints.save(10, state.replace(key=key))
        checkpoints.close()
        shapes = jax.eval_shape(lambda key=key: state.replace(key=key))
        step, restored = checkpoint.Checkpoints(folder).restore(shapes)
        assert step == 10
        assert restored.key.dtype == key.dtype
        assert_equal(restored, state.replace(key=key))


def test_nothing_saved_returns_the_given_state(tmp_path):
    first, _ = states()
    step, state = checkpoint.Checkpoints(tmp_path).restore(first)
    assert step == 0
    assert_equal(state, first)


def largest(folder: pathlib.Path) -> pathlib.Path:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def truncate(folder: pathlib.Path):
    path = largest(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(folder: pathlib.Path):
    path = largest(folder)
    data = bytearray(path.read_bytes())
    for i in range(len(data) // 4, 3 * len(data) // 4):
        data[i] ^= 0x55
    path.write_bytes(bytes(data))


def flip_one_bit(folder: pathlib.Path):
    path = largest(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def lose_the_largest(folder: pathlib.Path):
    largest(folder).unlink()


def lose_the_metadata(folder: pathlib.Path):
    (folder / "state" / "_METADATA").unlink()


def lose_all(folder: pathlib.Path):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    "damage",
    [truncate, garble, flip_one_bit, lose_the_largest, lose_the_metadata, lose_all],
)
def test_damaged_newest_falls_back_and_says_so(tmp_path, damage, caplog):
    first, _ = states()
    workdirs.claim(tmp_path, {})
    folder = tmp_path / "checkpoints"
    saved(folder).close()
    damage(folder / "20")
    step, state = checkpoint.Checkpoints(folder).restore(first)
    assert step == 10
    assert_equal(state, first)
    assert f"{folder / '20'} cannot be read" in caplog.text
    assert (folder / "damaged-20").is_dir()  # set aside, not deleted


def test_who_only_reads_sets_nothing_aside(tmp_path, caplog):
    """The run may be training, and about to delete what was just found."""
    first, _ = states()
    saved(tmp_path).close()
    (tmp_path / "20" / "state" / "_METADATA").unlink()
    step, state = checkpoint.Checkpoints(tmp_path).restore(first)
    assert step == 10
    assert_equal(state, first)
    assert f"{tmp_path / '20'} cannot be read" in caplog.text
    assert "passed over" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "20"]


def test_all_damaged_is_an_error_not_a_fresh_start(tmp_path):
    first, _ = states()
    saved(tmp_path).close()
    for step in (10, 20):
        truncate(tmp_path / str(step))
    with pytest.raises(errors.InputError, match=r"no checkpoint .* can be read"):
        checkpoint.Checkpoints(tmp_path).restore(first)


def test_claim_refuses_another_run_and_shows_the_difference(tmp_path):
    workdirs.claim(tmp_path / "run", {"steps": 10, "widths": (1, 2)})
    workdirs.claim(tmp_path / "run", {"steps": 10, "widths": (1, 2)})
    with pytest.raises(ValueError, match="steps: 10 there, 20 now") as error:
        workdirs.claim(tmp_path / "run", {"steps": 20, "widths": (1, 2)})
    assert "widths" not in str(error.value)


def test_claim_refuses_what_it_cannot_write(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"--workdir=.*file/run cannot be used"):
        workdirs.claim(tmp_path / "file" / "run", {})


def test_claim_names_a_garbled_configuration(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        workdirs.claim(tmp_path, {})


@pytest.mark.parametrize("found", [None, workdirs.VERSION + 1])
def test_a_work_directory_of_another_version_is_refused(tmp_path, found):
    workdirs.claim(tmp_path, {"steps": 10})
    path = tmp_path / "config.json"
    identity = json.loads(path.read_text())
    assert identity.pop("version") == workdirs.VERSION
    path.write_text(json.dumps(identity | ({"version": found} if found else {})))
    words = r"config\.json was written by .*version.* give another "
    with pytest.raises(errors.InputError, match=words + "--workdir"):
        workdirs.claim(tmp_path, {"steps": 10})
    # A script that reads a run may have no flag for it.
    with pytest.raises(errors.InputError, match=words + "work directory"):
        workdirs.claimed(tmp_path)
    path.write_text(json.dumps(identity | {"version": "2"}))
    with pytest.raises(errors.InputError, match="its version is '2', not a whole num"):
        workdirs.claim(tmp_path, {"steps": 10})


def test_a_checkpoint_of_another_version_is_refused_not_passed_over(
    tmp_path, monkeypatch
):
    first, _ = states()
    monkeypatch.setattr(workdirs, "VERSION", 1)
    saved(tmp_path).close()
    monkeypatch.undo()
    words = r"20 was written by version 1 .* reads version 2: give another --output"
    with pytest.raises(errors.InputError, match=words):
        checkpoint.Checkpoints(tmp_path, flag="output").restore(first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "20"]
