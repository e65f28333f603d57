"""The cache of compiled programs: what it keeps, and that it breaks no run."""

import os
from collections.abc import Iterator

import jax
import pytest
from jax._src import compilation_cache  # what compat.use_compilation_cache sets

from veegan_jax.common import caches
from veegan_jax.runtime import compat, compiled

KEY = "jit_step-" + 64 * "0"


@pytest.fixture
def no_cache() -> Iterator[None]:
    """JAX without the cache of this session of tests."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    compiled._warn_once.cache_clear()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()


@pytest.fixture
def kept(no_cache, tmp_path, monkeypatch):
    """The folder of our cache, which JAX uses during the test."""
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path))
    compiled.keep()
    return tmp_path / "veegan_jax" / "compiled"


def test_a_program_of_the_cache_is_that_which_was_compiled(kept):
    def program(x):
        return jax.numpy.tanh(x) * 3 + jax.numpy.exp(x)

    x = jax.numpy.linspace(-2, 2, 1000)
    first = jax.jit(program)(x).tobytes()
    paths = list(kept.iterdir())
    (path,) = [p for p in paths if "jit_program" in p.name]
    os.utime(path, (0, 0))
    jax.clear_caches()
    assert jax.jit(program)(x).tobytes() == first
    assert path.stat().st_mtime > 0, "it was not read"
    assert set(kept.iterdir()) == set(paths)


@pytest.mark.parametrize("damage", [b"", b"x" * 40, None])
def test_a_damaged_program_is_compiled_again(kept, damage, caplog):
    x = jax.numpy.ones(3)
    expected = jax.jit(lambda x: x * 5)(x)
    for path in kept.iterdir():
        whole = bytearray(path.read_bytes())
        whole[-1] ^= 1
        path.write_bytes(bytes(whole) if damage is None else damage)
    jax.clear_caches()
    assert (jax.jit(lambda x: x * 5)(x) == expected).all()
    assert "is damaged: that program is compiled again" in caplog.text
    caplog.clear()
    jax.clear_caches()
    assert (jax.jit(lambda x: x * 5)(x) == expected).all()
    assert not caplog.text  # the whole program has taken its place


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path, caplog):
    (tmp_path / "file").touch()
    compiled._warn_once.cache_clear()
    programs = compiled.Programs(tmp_path / "file" / "compiled")
    for _ in range(2):
        programs.put(KEY, b"program")
        assert programs.get(KEY) is None
    (record,) = caplog.records
    assert "(Not a directory)" in record.message
    assert "VEEGAN_CACHE_DIR" in record.message


def test_what_was_not_used_for_longest_makes_room(tmp_path):
    for number in range(5):
        compiled.Programs(tmp_path, 1000).put(f"program-{number}", bytes(168))
        (path,) = tmp_path.glob(f"*program-{number}")
        os.utime(path, (number, number))
    programs = compiled.Programs(tmp_path, 1000)
    assert programs.get("program-0") == bytes(168)  # used again
    programs.put("program-5", bytes(168))
    left = {path.name[-1] for path in tmp_path.iterdir()}
    assert left == {"0", "4", "5"}
    programs.put("larger", bytes(1001))
    assert {path.name[-1] for path in tmp_path.iterdir()} == left


def test_two_kinds_of_cpu_share_no_program(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "machine", lambda: "a")
    programs = compiled.Programs(tmp_path)
    programs.put(KEY, b"with AVX-512")
    assert programs.get(KEY) == b"with AVX-512"
    monkeypatch.setattr(compiled, "machine", lambda: "b")
    assert programs.get(KEY) is None


def test_the_users_own_settings_win(monkeypatch, no_cache, tmp_path):
    monkeypatch.setattr(compat, "use_compilation_cache", pytest.fail)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    compiled.keep()
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", False)
    compiled.keep()


def test_without_a_home_folder_programs_are_not_kept(monkeypatch, no_cache, caplog):
    monkeypatch.setattr(caches, "folder", lambda: None)
    monkeypatch.setattr(compat, "use_compilation_cache", pytest.fail)
    compiled.keep()
    assert "(this user has no home folder)" in caplog.text
