"""absl flags made from a dataclass: one field, one flag, one line of help."""

import dataclasses
from typing import Any

from absl import flags

from veegan_jax.common import errors


def define(cls: type, *, from_preset: bool) -> None:
    """Defines a flag for every field with a help text, grouped in `--helpfull`.

    Args:
      cls: a dataclass whose fields carry metadata "group" and "help".
      from_preset: flags default to None, "as the preset has it", instead of to the
        field's default.
    """
    for field in dataclasses.fields(cls):
        text = field.metadata["help"]
        default = None if from_preset else field.default
        if from_preset and "(default:" not in text:
            text += " (default: the preset's)"
        options = {"module_name": field.metadata["group"]}
        define_one = {
            bool: flags.DEFINE_bool,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            str: flags.DEFINE_string,
            tuple[int, ...]: flags.DEFINE_list,
        }[field.type]
        define_one(field.name, default, text, **options)


def read(cls: type) -> dict[str, Any]:
    """The values of the flags of `define` that were given or have a default.

    Raises:
      InputError: for a list of sizes that are not positive integers.
    """
    values = {}
    for field in dataclasses.fields(cls):
        value = flags.FLAGS[field.name].value
        if value is None:
            continue
        if field.type == tuple[int, ...]:
            value = _sizes(field.name, value)
        values[field.name] = value
    return values


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
