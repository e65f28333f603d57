"""bench/growth.py: slopes by hand, the plan of its points, one small run."""

import json

import growth_point
import growth_table
import numpy as np
import PIL.Image
import pytest
from support import programs
from tables import speed

from veegan_jax.common import errors


@pytest.fixture(scope="module")
def bench():
    yield from programs.as_module("bench/growth")


def row(axis, places, milliseconds, mib):
    points = [
        {axis: x, "median": y, "program_mib": z, "peak_memory_mib": {"process": 500}}
        for x, y, z in zip(places, milliseconds, mib, strict=True)
    ]
    return {"case": "ring-veegan", "axis": axis, "points": points}


def test_a_slope_is_the_exponent():
    found = row("batch", [1, 10, 100], [7, 70, 700], [3, 3, 30])
    assert growth_table.slopes(found, "median") == pytest.approx((1, 1))
    # Least squares: the middle point does not tilt the line.
    assert growth_table.slopes(found, "program_mib") == pytest.approx((0.5, 1))
    squares = [x**2 for x in (3, 5, 6)]
    assert growth_table.slope([3, 5, 6], squares) == pytest.approx(2)


def test_axes_start_from_one_point_and_devices_share_seeds(bench):
    found = bench.plan(["quarter-gan"], ["batch", "seeds", "devices"], 2, 2, True)
    batch, seeds, devices = found.values()
    assert batch[0] == seeds[0] == growth_point.Point("quarter-gan", 32, 1, 1, 1)
    assert [p.batch for p in batch] == [32, 128] and [p.seeds for p in seeds] == [1, 4]
    assert [(p.devices, p.cores, p.seeds) for p in devices] == [(1, 1, 4), (2, 2, 4)]
    on_gpus = bench.plan(["quarter-gan"], ["devices"], 4, 8, False)
    assert [(p.devices, p.cores, p.seeds) for p in next(iter(on_gpus.values()))] == [
        *((n, 0, 8) for n in (1, 2, 4, 8))
    ]


@pytest.mark.parametrize(
    ("cases", "axes", "message"),
    [
        (["dcgan"], ["batch"], "--cases: unknown 'dcgan'"),
        (["quarter-gan"], ["depth"], "--axes: unknown 'depth'"),
        ([], ["batch"], "--axes=batch --cases=: nothing to measure"),
        (["quarter-gan"], ["devices"], "devices needs two of them"),
    ],
)
def test_what_cannot_be_measured_is_refused(bench, cases, axes, message):
    with pytest.raises(errors.InputError, match=message):
        bench.plan(cases, axes, 2, 1, True)


def test_points_have_the_sizes_that_they_say():
    for name, case in growth_point.CASES.items():
        first = growth_point.Point(name, case.batch[0], 1, 1, 1)
        wide = growth_point.config_of(first._replace(width=4))
        config = growth_point.config_of(first._replace(batch=case.batch[1]))
        assert config.batch_size == case.batch[1]
        for part in ("generator_widths", "discriminator_widths"):
            sizes = np.array(getattr(config.networks, part))
            np.testing.assert_array_equal(getattr(wide.networks, part), 4 * sizes)
        assert growth_point.steps_per_call(first) == case.steps
        assert growth_point.steps_per_call(first._replace(width=4, seeds=100)) == 2


def test_a_point_is_measured(monkeypatch, capsys):
    sizes = dict(batch=(4, 8), width=(1 / 16, 1 / 8), seeds=(1, 2))
    case = growth_point.Case("gan", "ring", "quick", steps=2, **sizes)
    monkeypatch.setitem(growth_point.CASES, "tiny", case)
    monkeypatch.setattr(growth_point.distributed, "use_cpu_cores", lambda num: None)
    growth_point.main(json.dumps([["tiny", 8, 1 / 16, 2, 1], 2, 0.0]))
    found = json.loads(capsys.readouterr().out)
    assert (found["batch"], found["seeds"], found["devices"]) == (8, 2, 1)
    assert len(found["milliseconds"]) == 2
    assert found["median"] == np.mean(found["milliseconds"])
    assert 0 < found["temporary_mib"] < found["program_mib"]


def test_the_record_its_table_and_its_figures(bench, monkeypatch, tmp_path, capsys):
    measured = []

    def measure(point, repeats, min_seconds):
        assert (repeats, min_seconds) == (3, 0.5)
        measured.append(point)
        work = point.batch * point.width**2 * point.seeds / point.devices
        return {
            **point._asdict(),
            "median": work,
            "program_mib": point.batch * point.seeds,
            "peak_memory_mib": {"process": 600.0},
        }

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "in_a_process", measure)
    monkeypatch.setattr(bench, "available", lambda: (2, True))
    monkeypatch.setattr(bench.distributed, "use_cpu_cores", lambda num: None)
    bench.main()
    assert len(measured) == len(set(measured))  # axes share their first point
    table = speed.growth(tmp_path / "runs/speed", tmp_path / "figures")
    for line, slopes in (
        ("batch size | VEEGAN, ring | 64, 512, 4096", "1.00 (1.00)"),
        ("width, times the preset's | VEEGAN, ring | 1, 3, 9", "2.00 (2.00)"),
        ("devices | VEEGAN, ring | 1, 2", "-1.00 (-1.00)"),
    ):
        (found,) = [
            row
            for row in table.splitlines()
            if " ".join(row.split())[2:].startswith(line)
        ]
        assert slopes in found
    assert "VEEGAN, ring" in capsys.readouterr().out
    for folder in ("runs/speed", "figures"):
        for axis in growth_table.AXES:
            with PIL.Image.open(tmp_path / folder / f"growth-{axis}.png") as image:
                assert min(image.size) > 300
    copy = speed.collect(tmp_path / "runs/speed/growth.json", tmp_path / "results")
    assert copy.target == tmp_path / "results/speed/growth.json"


def test_a_point_that_fails_ends_the_benchmark(bench):
    point = growth_point.Point("no such case", 1, 1, 1, 1)
    with pytest.raises(RuntimeError, match=r"no such case.*status 1"):
        bench.in_a_process(point, 1, 0.0)
