"""reproduce.py: what it says of records, and the minutes that it expects."""

import json
import pathlib

import jax
import pytest
from reproduction import cells, minutes, states
from support.reproducing import cell_of, record_of, seeds_of
from tables import seeds

from veegan_jax.common import errors, records
from veegan_jax.presets import resolve

# Records: missing, outdated or there.


def test_a_record_of_todays_configuration_is_there(tmp_path):
    cell, path = cell_of(), tmp_path / "ring/quick/gan.json"
    assert states.of(cell, tmp_path) == states.State(states.MISSING, "", "")
    path.parent.mkdir(parents=True)
    records.write(path, record_of(cell))
    there = states.State(states.CURRENT, "", "of an unknown commit")
    assert states.of(cell, tmp_path) == there
    path.write_text("{")
    with pytest.raises(errors.InputError, match=r"gan\.json cannot be read .*make it"):
        states.of(cell, tmp_path)
    records.write(path, record_of(cell, per_seed=7))
    with pytest.raises(errors.InputError, match=r"gan\.json: per_seed must be a list"):
        states.of(cell, tmp_path)


def test_the_first_difference_is_named():
    cell = cell_of()
    assert states.difference(cell, record_of(cell)) == ""
    other = cell_of(config=cell.config.replace(steps=7))
    assert states.difference(cell, record_of(other)) == "steps 7, now 100"
    other = cell_of(config=cell.config.replace(generator_widths=(5, 6)))
    assert states.difference(cell, record_of(other)).startswith("generator_widths 5,6,")
    older = record_of(cell)
    del older["config"]["optimizer"]["ema"]  # a setting that is newer than the record
    assert states.difference(cell, older) == ""
    few_seeds = record_of(cell, per_seed=seeds_of([0]))
    assert states.difference(cell, few_seeds) == "seeds 1, now 2"
    late = record_of(cell, [100, 101])
    assert states.difference(cell, late) == "seeds from 100"
    searched = cell_of(ivom={"images": 1280})
    few = {"options": {"images": 320, "starts": 3}}
    expected = "IvOM's images 320, now 1280"
    assert states.difference(searched, record_of(cell), few) == expected


@pytest.mark.parametrize(
    ("had", "why", "lacks"),
    [
        ([[0]], "seeds 1, now 4", range(1, 4)),
        ([[2]], "seeds 1, now 4", range(2)),
        ([[0], [2]], "seeds 2, now 4", range(1, 2)),
        ([[0, 1], [2]], "seeds 3, now 4", range(3, 4)),
        ([[0, 1], [2, 3]], "", None),
        ([[0, 1, 2, 3, 4]], "", None),
        ([[100]], "seeds from 100", None),
    ],
)
def test_a_record_of_too_few_seeds_lacks_the_others(tmp_path, had, why, lacks):
    cell, folder = cell_of(seeds=4), tmp_path / "ring/quick"
    folder.mkdir(parents=True)
    for numbers in had:
        path = folder / f"gan{seeds.tail(numbers[0])}.json"
        records.write(path, record_of(cell, numbers))
    found = states.of(cell, tmp_path)
    assert (found.why, found.lacks) == (why, lacks)
    for path in folder.iterdir():  # of another configuration, all seeds are run
        record = records.read(path)
        record["config"]["steps"] = 7
        records.write(path, record)
    assert states.of(cell, tmp_path).lacks is None


def test_the_other_seeds_of_a_cell_have_a_folder_and_records_of_their_own():
    cell = next(
        c for c in cells.read() if c.name == "cifar10 gan" and c.preset == "quick"
    )
    assert cell.seeds == 2
    rest = cells.rest(cell, range(1, 2))
    train, search = rest.commands
    assert set(train) - set(cell.commands[0]) == {"--first_seed=1", "--seeds=1"}
    assert set(cell.commands[0]) - set(train) == {"--seeds=2"}
    assert search == cell.commands[1]
    assert [str(record) for record in rest.records] == [
        "cifar10/quick/gan-from-1.json",
        "cifar10/quick/gan-ivom-from-1.json",
    ]
    assert rest.workdir == pathlib.PurePath("cifar10/quick/gan-from-1")
    assert cells.label(rest) == "cifar10 GAN, seeds from 1"
    assert states.difference(rest, record_of(rest, [1]), {"options": {}}) == ""


# The minutes.


class FixedRates:
    """Stands for a device whose rates are known."""

    device = ("d", "p")

    def flops(self, config):
        return 1e6

    def search_flops(self, config):
        return 2e6

    def of(self, config):
        return minutes.Rate(flops=1e7, setup=30.0)


def expected(cell, state, tmp_path):
    return minutes.expected(cell, state, tmp_path, tmp_path / "runs", FixedRates())


def test_minutes_come_from_the_record_the_run_or_the_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: [0, 1])
    cell, missing = cell_of(seeds=3), states.State(states.MISSING, "", "")
    # Two rounds of seeds on two cores: 2 x 100 steps of 1e6 / 1e7 s, and 30 s.
    found = expected(cell, missing, tmp_path)
    assert found == (pytest.approx((30 + 20) / 60), minutes.BY_RATE)
    # A search: 3 seeds, 10 images, 3 starts, 250 evaluations of .2 s on two cores.
    found = expected(cell._replace(ivom={"images": 10}), missing, tmp_path)
    assert found.minutes == pytest.approx((30 + 20 + 3 * 10 * 3 * 250 * 0.2 / 2) / 60)
    place = tmp_path, tmp_path / "runs", FixedRates()
    unknown = minutes.expected(cell, missing, *place, measure=False)
    assert unknown == (None, "")
    run = tmp_path / "runs/ring/quick/gan"
    run.mkdir(parents=True)
    lines = [(10, 99.0), (20, 5.0), (30, 5.0)]  # the first one compiles
    text = "".join(json.dumps({"step": n, "seconds": s}) + "\n" for n, s in lines)
    (run / "metrics.jsonl").write_text(text)
    found = expected(cell, missing, tmp_path)  # 70 steps are left, of .5 s each
    assert found == (pytest.approx((30 + 35) / 60), minutes.BY_RUN)
    known = minutes.expected(cell, missing, *place, measure=False)
    assert known == (pytest.approx(35 / 60), minutes.BY_RUN)
    path = tmp_path / "ring/quick/gan.json"
    path.parent.mkdir(parents=True)
    records.write(path, record_of(cell))
    there = states.State(states.CURRENT, "", "")
    assert expected(cell, there, tmp_path) == (2.0, minutes.BY_RECORD)
    records.write(path, record_of(cell, device="another"))
    assert expected(cell, there, tmp_path).source == minutes.BY_RUN
    program = cell._replace(config=None)
    assert expected(program, there, tmp_path) == (2.0, minutes.ELSEWHERE)
    assert expected(program, missing, tmp_path / "none") == (None, "")


def test_twice_the_batch_is_twice_the_arithmetic():
    one, two = (
        minutes.flops_of_step(resolve.resolve("veegan", "ring", batch_size=size))
        for size in (8, 16)
    )
    assert two == 2 * one > 0


def test_a_search_passes_the_generator_three_times():
    """A gradient in z passes each layer once more; the weights get none."""
    config = resolve.resolve("gan", "ring", generator_widths=(50,), latent_size=10)
    forward = 2 * (10 * 50 + 50 * 2)
    assert minutes.flops_of_search(config) == 2 * forward


def test_rates_are_measured_once_a_family(tmp_path, monkeypatch, capsys):
    measured = []

    def measure(config, num_steps):
        measured.append((config.dataset, config.batch_size, num_steps))
        return 100.0, 7.0

    monkeypatch.setattr(minutes, "steps_per_second", measure)
    ring, grid = resolve.resolve("gan", "ring"), resolve.resolve("gan", "grid")
    rates = minutes.Rates(str(tmp_path))
    first = rates.of(ring)
    assert first == (100.0 * rates.flops(ring), 7.0)
    assert rates.of(grid) == minutes.Rates(str(tmp_path)).of(ring) == first
    assert measured == [("ring", 64, 8)]
    assert (
        "measuring how fast this device trains gan on ring" in capsys.readouterr().out
    )
    monkeypatch.setattr(minutes, "flops_of_step", lambda config: 2 * minutes.LARGE)
    rates.of(resolve.resolve("ali", "ring"))  # large steps have a rate of their own
    assert measured[1:] == [("ring", 8, 1)]
