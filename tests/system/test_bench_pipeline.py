"""bench/pipeline.py: its record holds all that it prints, and shares are below 1."""

import json
import statistics

import pytest

STREAMS = ("stream, threads", "stream, 1 workers", "stream, memory")


def test_the_record_has_every_metric(scripts, tmp_path):
    path = tmp_path / "records" / "pipeline.json"
    done = scripts.run(
        "bench/pipeline.py",
        *("--tiny", "--repeats=2", "--num_workers=1", f"--output={path}"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text())
    rates = record["images_per_second"]
    assert set(rates) == {
        *("first start", "second start", "decode, 1 thread", "step", *STREAMS)
    }
    assert all(len(rate) == 2 and min(rate) > 0 for rate in rates.values())
    assert record["median"] == {
        name: pytest.approx(statistics.median(rate)) for name, rate in rates.items()
    }
    # The second start reads what the first decoded; the machine may be busy.
    assert max(rates["second start"]) > min(rates["first start"])
    ratio = record["median"]["stream, 1 workers"] / record["median"]["step"]
    assert record["stream_over_step"]["ratio"] == pytest.approx(ratio)
    assert set(record["loops"]) == {"files", "memory"}
    for found in record["loops"].values():
        assert len(found["images_per_second"]) == 2
        assert all(0 <= share < 1 for share in found["waiting_share"])
    assert record["num_images"] == 40 and record["versions"]["jax"]
    for name in (*rates, "loop, files", "loop, memory"):
        assert f"| {name} " in done.stdout
    assert "stream by workers / step: " in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["records"]


def test_bad_flags_fail_before_any_work(scripts, tmp_path):
    for flag in ("--num_workers=0", "--min_seconds=-1"):
        done = scripts.run("bench/pipeline.py", flag, cwd=tmp_path)
        assert done.returncode == 1
        assert flag in done.stderr and "Traceback" not in done.stderr
        assert not list(tmp_path.iterdir())
