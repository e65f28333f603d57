"""absl flags made from dataclasses: one field, one flag, one line of help."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from absl import flags

from veegan_jax.common import errors, fields, files

flags.disclaim_key_flags()  # the flags of `define_path` belong to the script

KEEP_COMPILED = flags.DEFINE_bool(
    "keep_compiled",
    True,
    "keep compiled programs in the cache folder for the next start",
    module_name="performance",
)


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
        if field.metadata["path"]:
            define_path(name, default, text, module_name=field.metadata["group"])
            continue
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


def define_path(
    name: str, default: Any, text: str, *, several: bool = False, **more: Any
) -> flags.FlagHolder:
    """Define a flag whose value is the path of a file or folder.

    Args:
      name: of the flag.
      default: a path, None, or a list if `several`.
      text: one line of help.
      several: the flag may be repeated; its value is a list.
      **more: see `flags.DEFINE`.
    """
    define_one = flags.DEFINE_multi if several else flags.DEFINE
    text += "; local or mounted"
    serializer = flags.ArgumentSerializer()
    return define_one(
        PathParser(),
        name=name,
        default=default,
        help=text,
        serializer=serializer,
        **more,
    )


class PathParser(flags.ArgumentParser):
    """Reads a path: see `files.user_path`."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        try:
            return str(files.user_path(argument)) if argument else argument
        except errors.InputError as error:  # absl says which flag and what value
            raise ValueError(str(error).removeprefix(argument).lstrip(": ")) from error

    def flag_type(self) -> str:
        return "path"


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


def define_number(
    name: str, default: int | float | list[str], text: str, *, within: str
) -> flags.FlagHolder:
    """Define a flag of a script's own that is a number, or a list of whole numbers.

    Args:
      name: of the flag.
      default: its type is the flag's.
      text: one line of help.
      within: see `fields.field`.

    Returns:
      The flag. To give it another value raises InputError, naming flag and range.
    """
    if isinstance(default, list):
        holder = flags.DEFINE_list(name, default, text)
    elif isinstance(default, float):
        holder = flags.DEFINE_float(name, default, text)
    else:
        holder = flags.DEFINE_integer(name, default, text)

    def check(value: Any) -> bool:
        is_list = isinstance(value, list)
        shown = ",".join(map(str, value)) if is_list else value
        try:
            numbers = [int(word) for word in value] if is_list else [value]
        except ValueError:
            numbers = []
        refused = [r for n in numbers if (r := fields.refusal(n, within))]
        if not numbers or refused:
            what = refused[0] if refused else "must be whole numbers, such as 1,2"
            raise errors.InputError(f"--{name}={fields.shown(shown)} {what}")
        return True

    flags.register_validator(holder, check)
    return holder


def refuse(why: str, *names: str) -> None:
    """Refuse flags that were given but that nothing would read.

    Args:
      why: nothing reads them, for the message.
      *names: of the flags.

    Raises:
      InputError: naming the first one that was given.
    """
    for name in names:
        flag = flags.FLAGS[name]
        if not flag.using_default_value and flag.value != flag.default:
            raise errors.InputError(f"--{name}={flag.value}: {why}; leave it out")


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
