"""Scripts whose programs come from the cache, in processes of their own."""

import json

import numpy as np
import pytest
from support import programs
from support.programs import TINY


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where scripts keep compiled programs, in place of this session's cache."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "veegan_jax" / "compiled"


def test_a_run_from_the_cache_has_the_bits_of_a_compiled_one(folder, tmp_path):
    kept = []
    for name in ("compiled", "read"):
        flags = (*TINY, f"--workdir={name}")
        done = programs.run("train_mixtures.py", *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "cache" not in done.stderr
        kept.append({path.name for path in folder.iterdir()})
    assert len(kept[0]) > 10 and kept[0] == kept[1]  # all programs were there
    first, second = (
        json.loads((tmp_path / name / "results.json").read_text())["per_seed"]
        for name in ("compiled", "read")
    )
    assert first == second
    first, second = (
        np.load(tmp_path / name / "samples.npz")["plane"]
        for name in ("compiled", "read")
    )
    np.testing.assert_array_equal(first, second)


def test_a_flag_turns_the_cache_off(folder, tmp_path):
    flags = (*TINY, "--dry_run", "--nokeep_compiled")
    done = programs.run("train_mixtures.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_the_benchmark_of_the_start_has_a_first_step_before_the_end(monkeypatch):
    for bench in programs.as_module("bench/startup"):
        monkeypatch.setitem(bench.COMMANDS, "ring", ("train_mixtures.py", *TINY))
        cold, warm = bench.measure("ring", 1)
    for row in (cold, warm):
        assert 0 < row["first_step_median"] < row["median"]
    assert (cold["start"], warm["start"]) == ("cold", "warm")


def test_the_benchmark_of_the_start_writes_a_record(scripts, tmp_path):
    path = tmp_path / "startup.json"
    flags = ("--commands=help", "--repeats=1", f"--output={path}")
    done = scripts.run("bench/startup.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cold, warm = json.loads(path.read_text())["rows"]
    assert "first_step_median" not in cold | warm
    assert list(tmp_path.iterdir()) == [path]
