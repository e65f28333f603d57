"""reproduce.py: its list of cells and how they are chosen."""

import pathlib

import pytest
from reproduction import cells
from support import programs
from tables import seeds

from veegan_jax.common import errors, records

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("reproduce")


@pytest.fixture(scope="module")
def listed():
    return cells.read()


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
