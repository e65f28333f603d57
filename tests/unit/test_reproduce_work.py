"""reproduce.py: how it runs cells, what it refuses and what it says at the end."""

import os
import pathlib
import signal
import threading
import time

import pytest
from reproduction import cells, work
from support import programs
from support.reproducing import cell_of, record_of, seeds_of

from veegan_jax.common import errors, records


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("reproduce")


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


# The script refuses bad input, and compares a repeated cell with its record.


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
