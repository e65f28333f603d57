"""reproduce.py: its list of cells, what it says of records, and how it runs them."""

import json
import os
import pathlib
import signal
import threading
import time

import jax
import pytest
from reproduction import cells, minutes, states, work
from support import programs
from tables import seeds

from veegan_jax import config as configs
from veegan_jax.common import errors, records
from veegan_jax.presets import resolve

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("reproduce")


@pytest.fixture(scope="module")
def listed():
    return cells.read()


# The list.


def test_every_record_is_some_cells(listed):
    owned = {ROOT / "results" / record for cell in listed for record in cell.records}
    for path in (ROOT / "results").rglob("*.json"):
        first = seeds.base(path)
        assert {first, *path.parents} & owned, f"no cell of cells.toml makes {path}"


def test_a_trainings_record_is_of_its_method_preset_and_dataset(listed):
    found = 0
    for cell in listed:
        path = ROOT / "results" / cell.records[0]
        if cell.config and path.exists():
            record = records.read(path)
            assert record["config"]["method"] == cell.method
            assert record["config"]["dataset"] == cell.config.dataset
            assert record["options"]["preset"] == cell.preset
            found += 1
    assert found > 20


def test_scripts_of_the_list_exist_and_work_directories_differ(listed):
    for cell in listed:
        for command in cell.commands:
            assert (ROOT / command[0]).is_file(), command[0]
    places = [cell.workdir for cell in listed]
    assert len(set(places)) == len(places)


def test_seeds_and_changes_become_flags(tmp_path):
    file = tmp_path / "cells.toml"
    file.write_text(
        '[[group]]\ntable = "t"\nscript = "train_cifar10.py"\npreset = "quick"\n'
        'dataset = "cifar10"\nmethods = ["gan"]\nseeds = 3\nivom = { images = 9 }\n'
        "changes = { steps = 7, generator_widths = [4, 5, 6, 7] }\n"
    )
    (cell,) = cells.read(file, seeds=1)
    train, search = cell.commands
    assert {"--seeds=1", "--steps=7", "--generator_widths=4,5,6,7"} <= set(train)
    assert search == ("scripts/eval_ivom.py", cells.WORKDIR, "--images=9")
    assert (cell.config.steps, cell.seeds) == (7, 1)
    assert [str(r) for r in cell.records] == [
        "cifar10/quick/gan.json",
        "cifar10/quick/gan-ivom.json",
    ]
    assert (
        cells.placed("{workdir}/x", cell, tmp_path) == f"{tmp_path}/cifar10/quick/gan/x"
    )


def test_an_unreadable_list_is_one_message(tmp_path):
    (tmp_path / "cells.toml").write_text("[[group]\n")
    with pytest.raises(errors.InputError, match=r"cells\.toml cannot be read"):
        cells.read(tmp_path / "cells.toml")


def test_cells_are_chosen_by_table_preset_method_and_number(script, listed):
    chosen = cells.choose(listed, ["mixtures-quick"], ["quick"], ["gan", "ali"])
    assert [cell.name for cell in chosen[:3]] == ["ring gan", "ring ali", "grid gan"]
    assert script.pick(chosen, ["1"]) == [chosen[1]]
    assert script.pick(chosen, []) == chosen


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (dict(tables=["mnist"]), "--tables: unknown 'mnist'; any of stacked_mnist-q"),
        (dict(presets=["wide"]), "--presets: unknown 'wide'; any of quick, "),
        (dict(methods=["wgan"]), "--methods: unknown 'wgan'; any of veegan, gan, "),
        (dict(tables=["speed"], methods=["gan"]), "no cell is in all of --tables"),
    ],
)
def test_names_that_no_cell_has_are_refused(chosen, message, listed):
    with pytest.raises(errors.InputError, match=message):
        cells.choose(listed, **chosen)


@pytest.mark.parametrize("number", ["-1", "2", "one"])
def test_a_number_that_no_cell_has_is_refused(number, script, listed):
    with pytest.raises(errors.InputError, match=f"--cells={number} must be 0 to 1"):
        script.pick(listed[:2], [number])


# Records: missing, outdated or there.


def seeds_of(numbers) -> list[dict]:
    return [{"seed": number} for number in numbers]


def record_of(cell, numbers=(0, 1), **changes) -> dict:
    """A record of these seeds as the cell's training would leave it."""
    return {
        "command": "python x",
        "commit": "",
        "device": "d",
        "processor": "p",
        "config": json.loads(json.dumps(configs.to_json(cell.config))),
        "options": {"first_seed": numbers[0]},
        "per_seed": seeds_of(numbers),
        "mean": {},
        "std": {},
        "wall_seconds": 120.0,
    } | changes


def cell_of(**more) -> cells.Cell:
    config = resolve.resolve("gan", "ring", steps=100)
    path = pathlib.PurePath("ring/quick/gan.json")
    place = pathlib.PurePath("ring/quick/gan")
    about = dict(preset="quick", method="gan", config=config, seeds=2)
    return cells.Cell("t", "ring gan", (), (path,), place, **(about | more))


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


def test_the_other_seeds_of_a_cell_have_a_folder_and_records_of_their_own(listed):
    cell = next(c for c in listed if c.name == "cifar10 gan" and c.preset == "quick")
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


# How cells run.


def program(name: str, *codes: str) -> cells.Cell:
    commands = tuple(("-c", code) for code in codes)
    return cells.Cell("t", name, commands, (), pathlib.PurePath(name))


def results_of(ended) -> list[tuple[str, str]]:
    return [(one.cell.name, one.result) for one in ended]


def test_a_failed_cell_is_named_and_the_others_go_on(tmp_path, capfd):
    file = tmp_path / "made"
    chosen = [
        (program("bad", "import sys; sys.exit(3)", "never"), 0.1),
        (program("long", "never"), 50.0),
        (program("good", "pass", f"open({str(file)!r}, 'w').close()"), None),
    ]
    ended, stopped = work.run(chosen, tmp_path, tmp_path / "runs", minutes=2)
    assert results_of(ended) == [
        ("bad", work.FAILED),
        ("good", work.DONE),
        ("long", work.SKIPPED),
    ]
    assert ended[0].message == "exit status 3, its message is above"
    assert file.exists() and not stopped
    out = capfd.readouterr().out
    assert "cell 1 of 3: t, bad, about 6 s; then 50 min of others" in out
    assert "bad: failed after" in out


def test_cells_at_once_write_to_a_log_each(tmp_path, monkeypatch, capsys):
    told, last_line = tmp_path / "told", work._Running.last_line

    def tell(running):
        if line := last_line(running):
            told.touch()
        return line

    monkeypatch.setattr(work, "_TELL", 0.1)
    monkeypatch.setattr(work._Running, "last_line", tell)
    wait = f"""
import pathlib, time
print("I am it\\r9 %", flush=True)
while not pathlib.Path({str(told)!r}).exists():
    time.sleep(0.05)
"""
    chosen = [(program(name, wait), 0.1) for name in ("a", "b")]
    ended, _ = work.run(chosen, tmp_path, tmp_path / "runs", minutes=2, jobs=2)
    assert {one.result for one in ended} == {work.DONE}
    assert (tmp_path / "runs/a.log").read_bytes() == b"I am it\r9 %\n"
    assert ": 9 %\n" in capsys.readouterr().out


SAVES = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
open({!r}, "w").close()
time.sleep(60)
"""


def test_the_end_of_the_time_stops_a_cell_which_saves(tmp_path):
    begun = tmp_path / "begun"
    cell = program("slow", SAVES.format(str(begun)))
    ended, stopped = work.run([(cell, None)], tmp_path, tmp_path, minutes=0.05)
    # A machine so busy that the command had not begun ends it by the signal itself.
    assert results_of(ended) == [("slow", work.STOPPED)]
    assert not stopped


def test_sigterm_stops_the_cell_and_starts_no_other(tmp_path):
    begun = tmp_path / "begun"

    def send() -> None:
        while not begun.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        chosen = [(program("slow", SAVES.format(str(begun))), None)]
        chosen += [(program("next", "never"), None)]
        ended, stopped = work.run(chosen, tmp_path, tmp_path, minutes=9)
    finally:
        signal.signal(signal.SIGTERM, before)
        thread.join()
    assert stopped == "SIGTERM"
    assert results_of(ended) == [("slow", work.STOPPED), ("next", work.SKIPPED)]


def test_a_command_whose_output_is_there_is_done(tmp_path):
    (tmp_path / "made.json").touch()
    commands = (("-c", "never", "--output={runs}/made.json"), ("-c", "pass"))
    cell = cells.Cell("t", "two", commands, (), pathlib.PurePath("two"))
    ended, _ = work.run([(cell, None)], tmp_path, tmp_path, minutes=2)
    assert results_of(ended) == [("two", work.DONE)]


# What the script refuses, and what it says at the end.


def test_too_few_minutes_are_refused(script):
    wanted = [(cell_of(), 5.0), (cell_of(method="ali"), None)]
    script.check_minutes(wanted, 0.1)  # nobody knows how long ALI takes
    message = "--minutes=2: the shortest cell, ring GAN, takes 5 min; give more"
    with pytest.raises(errors.InputError, match=message):
        script.check_minutes(wanted[:1], 2.0)
    script.check_minutes([], 1.0)


def test_a_folder_that_cannot_be_written_is_refused(script, tmp_path):
    script.check_writable(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(errors.InputError, match="none cannot be written"):
        script.check_writable(tmp_path / "none")


def test_a_repeated_cell_is_compared_with_its_record(script, tmp_path):
    cell, runs, results = cell_of(), tmp_path / "runs", tmp_path / "results"
    numbers = dict(mean={"modes": 7.5}, std={"modes": 0.5})
    for path in (runs / "ring/quick/gan/results.json", results / cell.records[0]):
        path.parent.mkdir(parents=True)
        records.write(path, record_of(cell, **numbers))
    assert script.is_finished(cell, runs)
    found = script.repeated(cell, results, runs)
    assert found == "the record's numbers, to the last digit"
    other = dict(mean={"modes": 6}, std={"modes": 0}, per_seed=seeds_of([0]))
    records.write(runs / "ring/quick/gan/results.json", record_of(cell, **other))
    expected = "modes 6 ± 0, recorded 7.5 ± 0.5"
    assert script.repeated(cell, results, runs) == expected
    assert not script.is_finished(cell, runs)  # one seed of two
