"""Cells and records for the tests of reproduce.py."""

import json
import pathlib

from reproduction import cells

from veegan_jax import config as configs
from veegan_jax.presets import resolve


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
