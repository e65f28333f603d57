"""JSON files of ours, as strict as they are written: one reader, one message."""

import json
import math
import pathlib
from typing import Any

from veegan_jax.common import errors

_DEEPEST = 30  # levels of a JSON value; no file of ours has more than ten


def parse(text: str | bytes) -> dict[str, Any]:
    """Read a text that must hold one JSON object.

    Raises:
      ValueError: saying what is wrong with it. Numbers that are not finite, names that
        occur twice and values nested too deeply for the code that reads them are wrong.
    """
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            object_pairs_hook=_without_repeats,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")
    level = [value]
    for _ in range(_DEEPEST):
        inner = [v.values() if isinstance(v, dict) else v for v in level]
        level = [v for vs in inner for v in vs if isinstance(v, dict | list)]
    if level:
        raise ValueError("it is nested too deeply")
    return value


def read(path: pathlib.Path, remedy: str) -> dict[str, Any]:
    """Read a file that must hold one JSON object.

    Args:
      path: the file.
      remedy: what to do if it cannot be read, for the message.

    Raises:
      InputError: naming the file, what is wrong with it and the remedy.
    """
    try:
        return parse(path.read_bytes())
    except OSError as error:
        why = error.strerror or str(error)
    except ValueError as error:  # of JSON, or of UTF-8
        why = str(error)
    raise errors.InputError(f"{path} cannot be read ({why}): {remedy}")


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten groups: {"optimizer": {"ema": 0}} becomes {"optimizer.ema": 0}."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


def _finite_float(word: str) -> float:
    if not math.isfinite(number := float(word)):
        raise ValueError(f"{word} is no finite number")
    return number


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {repeated!r} occurs twice")
    return values
