"""The benchmarks of the methods' costs and of coverage run, and fill their tables."""

import json

import pytest
from tables import common, leaderboard, speed

from veegan_jax.common import errors


def test_methods_take_turns_and_the_leaderboard_has_their_costs(scripts, tmp_path):
    flags = ["--methods=gan,unrolled", "--datasets=grid", "--repeats=1"]
    path = tmp_path / "speed" / "methods.json"
    path.parent.mkdir()
    flags += ["--steps=20", "--min_seconds=0", f"--output={path}"]
    done = scripts.run("bench/methods.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    costs = leaderboard._costs(tmp_path)
    assert costs["grid", "gan"] == "1.0"
    assert float(costs["grid", "unrolled"]) > 1.5  # five updates and their gradient
    assert "| unrolled | " in done.stdout


def test_coverage_is_timed_beside_the_public_code(scripts, tmp_path):
    path = tmp_path / "coverage.json"
    flags = ["--sizes=300", "--alone=500", "--width=8", "--repeats=2"]
    done = scripts.run("bench/coverage.py", *flags, f"--output={path}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    public, alone = json.loads(path.read_text())["rows"]
    assert public["apart"] < 1e-9 and "public" not in alone
    table = speed.coverage(path)
    assert "| 300 x 8 " in table and "| 500 x 8 " in table
    assert speed.coverage(tmp_path / "none.json") == common.EMPTY
    path.write_text(json.dumps({"rows": []}))
    with pytest.raises(errors.InputError, match=r"coverage\.json lacks"):
        speed.coverage(path)
