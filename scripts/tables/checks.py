"""Check records and arrays before tables use them. No flags here.

A form says what a JSON value must be:

    {"a": form, "b?": form, "*": form}  an object; "b" may be missing, "*": all others
    [form]                              a list of at least one
    (form, form)                        a list of exactly two
    Kind, OrNull(form)                  one value; null as well
"""

import pathlib
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from veegan_jax.common import errors, records

REMEDY = "make it again by the command that wrote it, or move it away"


class Kind(NamedTuple):
    """A kind of single values."""

    expected: str  # to follow "must be"
    fits: Callable[[Any], bool]
    remedy: str = REMEDY


class OrNull(NamedTuple):
    """Null, or what the form says."""

    form: Any


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def _is_command(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(shlex.split(value))
    except ValueError:  # of a quotation that does not end
        return False


def one_of(names: Iterable[str]) -> Kind:
    """Return the kind of texts that are one of the names."""
    known = tuple(names)
    return Kind(
        f"one of {', '.join(known)}",
        lambda value: isinstance(value, str) and value in known,
        "no table shows it; --add the folders of other runs, or move it away",
    )


TEXT = Kind("a text", lambda v: isinstance(v, str))
COMMAND = Kind("a command as a shell reads it", _is_command)
NUMBER = Kind("a number", _is_number)
POSITIVE = Kind("a number above 0", lambda v: _is_number(v) and v > 0)
COUNT = Kind("a whole number", lambda v: _is_number(v) and v >= 0 and v == int(v))
FLAG = Kind("true or false", lambda v: isinstance(v, bool))
METRIC = OrNull(NUMBER)  # null: undefined
NOTHING = Kind("left out, since the tables do not know it", lambda v: False)


def read(path: pathlib.Path, form: Any) -> dict[str, Any]:
    """Read a record that has the form.

    Raises:
      InputError: naming the file, the field and what it must be.
    """
    record = records.read(path)
    check(path, record, form)
    return record


def check(path: pathlib.Path, value: Any, form: Any, name: str = "") -> None:
    """Refuse a value that does not have the form.

    Args:
      path: the file that holds it, for the message.
      value: the value.
      form: see the top of this file.
      name: the value's name in the file; "" for all of it.

    Raises:
      InputError: naming the file, the field and what it must be.
    """

    def refuse(expected: str, remedy: str = REMEDY) -> None:
        shown = repr(value) if len(repr(value)) < 80 else f"{repr(value)[:80]}..."
        raise errors.InputError(
            f"{path}: {name or 'it'} must be {expected}, not {shown}: {remedy}"
        )

    match form:
        case OrNull():
            if value is not None:
                check(path, value, form.form, name)
        case Kind():
            if not form.fits(value):
                refuse(form.expected, form.remedy)
        case dict():
            if not isinstance(value, dict):
                refuse("an object")
            _check_fields(path, value, form, name)
        case [inner]:
            if not isinstance(value, list) or not value:
                refuse("a list of at least one")
            for i, one in enumerate(value):
                check(path, one, inner, f"{name}[{i}]")
        case _:
            if not isinstance(value, list) or len(value) != len(form):
                refuse(f"a list of {len(form)}")
            for i, (one, inner) in enumerate(zip(value, form, strict=True)):
                check(path, one, inner, f"{name}[{i}]")


def _check_fields(
    path: pathlib.Path, value: dict[str, Any], form: dict[str, Any], name: str
) -> None:
    fields = {n.removesuffix("?"): inner for n, inner in form.items() if n != "*"}
    if "*" in form:
        fields |= {n: form["*"] for n in value if n not in fields}
    for field, inner in fields.items():
        full = f"{name}.{field}" if name else field
        if field in value:
            check(path, value[field], inner, full)
        elif f"{field}?" not in form:
            raise errors.InputError(f"{path} lacks {full}: {REMEDY}")


def names(path: pathlib.Path) -> list[str]:
    """List the arrays of an .npz file of ours; none of one that cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return list(archive)
    except Exception:  # a damaged file raises many kinds; `arrays` says what is wrong
        return []


def arrays(
    path: pathlib.Path, shapes: Mapping[str, tuple[int | None, ...]]
) -> dict[str, np.ndarray]:
    """Read numbers of an .npz file of ours.

    Args:
      path: the file.
      shapes: name -> shape; None: any size but 0.

    Raises:
      InputError: naming the file and what is wrong with it.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = {name: archive[name] for name in shapes if name in archive}
    except Exception as error:  # a damaged file raises many kinds of exception
        why = getattr(error, "strerror", None) or error or type(error).__name__
        raise errors.InputError(f"{path} cannot be read ({why}): {REMEDY}") from error
    for name, shape in shapes.items():
        if name not in found:
            raise errors.InputError(f"{path} lacks the array {name}: {REMEDY}")
        array = found[name]
        same = array.ndim == len(shape) and all(
            n if m is None else n == m for n, m in zip(array.shape, shape, strict=True)
        )
        if not same or array.dtype.kind not in "fu":
            sizes = " x ".join("any" if n is None else str(n) for n in shape)
            raise errors.InputError(
                f"{path}: {name} must be numbers of shape {sizes}, "
                f"not {array.dtype} of shape {array.shape}: {REMEDY}"
            )
    return found
