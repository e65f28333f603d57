"""The cells of all tables, as scripts/cells.toml lists them. No flags here."""

import pathlib
import shlex
import tomllib
from collections.abc import Sequence
from typing import Any, NamedTuple

from tables import common
from tables import seeds as table_seeds

from veegan_jax.common import errors
from veegan_jax.config import Config
from veegan_jax.presets import resolve

FILE = pathlib.Path(__file__).parents[1] / "cells.toml"
WORKDIR, RUNS = "{workdir}", "{runs}"  # in commands; see cells.toml


class Cell(NamedTuple):
    """One row of a table: what makes it and where its records are."""

    table: str
    name: str
    commands: tuple[tuple[str, ...], ...]  # one after the other; words after `python`
    records: tuple[pathlib.PurePath, ...]  # in results/; one may be a folder
    workdir: pathlib.PurePath  # below the folder of all work directories
    preset: str = ""
    method: str = ""
    config: Config | None = None  # of a training; None: of another program
    seeds: int = 0
    ivom: dict[str, int] | None = None  # the flags of eval_ivom.py, if it follows
    add: tuple[str, ...] = (WORKDIR,)  # what make_tables.py takes
    first_seed: int = 0


def read(path: pathlib.Path = FILE, seeds: int | None = None) -> list[Cell]:
    """Read the list, the most valuable cell first.

    Args:
      path: the file.
      seeds: of every training; None: as the list says.

    Raises:
      InputError: if the file cannot be read.
    """
    try:
        groups = tomllib.loads(path.read_text(encoding="utf-8"))["group"]
    except (OSError, ValueError, KeyError) as error:
        raise errors.InputError(f"{path} cannot be read ({error})") from error
    found = []
    for group in groups:
        if "script" in group:
            found += [_training(group, m, seeds) for m in group["methods"]]
        else:
            found.append(_program(group))
    return found


def _training(group: dict[str, Any], method: str, seeds: int | None) -> Cell:
    preset, dataset = group["preset"], group["dataset"]
    changes, count = group.get("changes", {}), seeds or group["seeds"]
    folder = pathlib.PurePath(group.get("folder", dataset), preset)
    train = [
        f"scripts/{group['script']}",
        f"--preset={preset}",
        f"--method={method}",
        f"--dataset={group.get('flag', dataset)}",
        f"--seeds={count}",
        *group.get("extra", []),
        *[f"--{name}={_word(value)}" for name, value in changes.items()],
        f"--workdir={WORKDIR}",
    ]
    commands, records = [tuple(train)], [folder / f"{method}.json"]
    ivom = group.get("ivom")
    if ivom:
        options = [f"--{name}={value}" for name, value in ivom.items()]
        commands.append(("scripts/eval_ivom.py", WORKDIR, *options))
        records.append(folder / f"{method}-ivom.json")
    return Cell(
        group["table"],
        f"{dataset} {method}",
        tuple(commands),
        tuple(records),
        folder / method,
        preset,
        method,
        resolve.resolve(method, dataset, preset, **changes),
        count,
        ivom,
    )


def rest(cell: Cell, lacks: range) -> Cell:
    """Return the cell that trains only some of a training's seeds."""
    tail = table_seeds.tail(lacks.start)
    train, *others = cell.commands
    *words, workdir = [word for word in train if word != f"--seeds={cell.seeds}"]
    words += [f"--first_seed={lacks.start}"] * bool(lacks.start)
    words += [f"--seeds={len(lacks)}", workdir]
    return cell._replace(
        commands=(tuple(words), *others),
        records=tuple(r.with_stem(f"{r.stem}{tail}") for r in cell.records),
        workdir=cell.workdir.with_name(f"{cell.workdir.name}{tail}"),
        seeds=len(lacks),
        first_seed=lacks.start,
    )


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _program(group: dict[str, Any]) -> Cell:
    return Cell(
        group["table"],
        group["name"],
        tuple(tuple(shlex.split(command)) for command in group["commands"]),
        tuple(pathlib.PurePath(record) for record in group["records"]),
        pathlib.PurePath(group["workdir"]),
        add=tuple(group.get("add", (WORKDIR,))),
    )


def placed(word: str, cell: Cell, runs: pathlib.Path) -> str:
    """Fill in the folders that a word of a cell names."""
    return word.replace(WORKDIR, str(runs / cell.workdir)).replace(RUNS, str(runs))


def choose(
    cells: Sequence[Cell],
    tables: Sequence[str] = (),
    presets: Sequence[str] = (),
    methods: Sequence[str] = (),
) -> list[Cell]:
    """Return the cells that are in all lists given; an empty list means all.

    Raises:
      InputError: for a name that no cell has, or if no cell is left.
    """
    kept = list(cells)
    for field, names in (("table", tables), ("preset", presets), ("method", methods)):
        known = dict.fromkeys(getattr(cell, field) for cell in cells)
        known.pop("", None)
        for name in names:
            if name not in known:
                raise errors.InputError(
                    f"--{field}s: unknown {name!r}; any of {', '.join(known)}"
                )
        if names:
            kept = [cell for cell in kept if getattr(cell, field) in names]
    if not kept:
        raise errors.InputError(
            "no cell is in all of --tables, --presets and --methods: leave one out"
        )
    return kept


def label(cell: Cell) -> str:
    """Name a cell for a reader."""
    dataset, _, method = cell.name.partition(" ")
    if cell.config is None:
        return cell.name
    later = f", seeds from {cell.first_seed}" if cell.first_seed else ""
    return f"{dataset} {common.LABELS.get(method, method)}{later}"
