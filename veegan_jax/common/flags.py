"""absl flags made from dataclasses: one field, one flag, one line of help."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from absl import flags

from veegan_jax.common import errors


def define(
    *classes: type, from_preset: bool, help_of: Mapping[str, str] | None = None
) -> None:
    """Define a flag for every field made by `fields.field`, in its group.

    Args:
      *classes: dataclasses. Fields of the same name are one flag.
      from_preset: flags default to None, which means the preset's value, instead of
        the field's default.
      help_of: name -> help text that replaces the field's own.
    """
    for name, field in _flags(classes).items():
        text = (help_of or {}).get(name, field.metadata["help"])
        default = None if from_preset else field.default
        if from_preset and "(default:" not in text:
            text += " (default: the preset's)"
        define_one = {
            bool: flags.DEFINE_bool,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            str: flags.DEFINE_string,
            tuple[int, ...]: flags.DEFINE_list,
        }[field.type]
        define_one(name, default, text, module_name=field.metadata["group"])


def read(*classes: type) -> dict[str, Any]:
    """Return the flags of `define` that were given or have a default.

    Raises:
      InputError: for a list of sizes that are not positive integers.
    """
    values = {}
    for name, field in _flags(classes).items():
        value = flags.FLAGS[name].value
        if value is None:
            continue
        if field.type == tuple[int, ...]:
            value = _sizes(name, value)
        values[name] = value
    return values


def _flags(classes: tuple[type, ...]) -> dict[str, dataclasses.Field]:
    found: dict[str, dataclasses.Field] = {}
    for cls in classes:
        for field in dataclasses.fields(cls):
            if "help" in field.metadata:
                found.setdefault(field.name, field)
    return found


def _sizes(name: str, words: list[str]) -> tuple[int, ...]:
    try:
        sizes = tuple(int(w) for w in words)
    except ValueError:
        sizes = (0,)
    if not all(s > 0 for s in sizes):
        raise errors.InputError(
            f"--{name}={','.join(words)} must be positive whole numbers, e.g. 128,128"
        )
    return sizes
