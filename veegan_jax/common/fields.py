"""Dataclass fields that are also flags: default, group, help and allowed values.

An interval or choices beside the field say which values are allowed, and one function
checks them. `common.flags` makes the flags.
"""

import dataclasses
import math
import numbers
import re
from typing import Any

from veegan_jax.common import errors, files


def field(
    default: Any,
    text: str,
    group: str = "run",
    *,
    within: str = "",
    choices: tuple[str, ...] = (),
    path: bool = False,
) -> Any:
    """Declare a dataclass field that is also a flag.

    Args:
      default: the default value.
      text: one line of help.
      group: the heading of the flag in `--helpfull`.
      within: the interval of a number, or of each entry of a tuple, such as "[0, 1)"
        or "[1, inf)". Floats must always be finite as float32. Where the interval has
        no upper end, whole numbers must be below 2**31, as counters are int32.
      choices: the allowed values of a text.
      path: the text is the path of a file or folder; see `files.user_path`.

    Example:
      >>> steps: int = field(1000, "training steps", "main", within="[1, inf)")
    """
    metadata = {"group": group, "help": text, "within": within, "choices": choices}
    metadata["path"] = path
    return dataclasses.field(default=default, metadata=metadata)


def check(instance: Any) -> None:
    """Refuse a dataclass instance if a field has a value that is not allowed.

    Raises:
      InputError: naming the flag, its value and what is allowed.
    """
    for one in dataclasses.fields(instance):
        check_value(one, getattr(instance, one.name))


def check_value(one: dataclasses.Field, value: Any) -> None:
    """Refuse a value that a field's declaration does not allow.

    Raises:
      InputError: naming the flag, its value and what is allowed.
    """
    within, choices = (one.metadata.get(k) for k in ("within", "choices"))
    if not _has_type(value, one.type):
        raise errors.InputError(
            f"--{one.name}={shown(repr(value))} must be {_KINDS[one.type]}"
        )
    if choices and value not in choices:
        raise errors.InputError(
            f"--{one.name}={value!r} must be one of {', '.join(choices)}"
        )
    if one.metadata.get("path") and value:
        files.user_path(value, f"--{one.name}")
    for entry in value if isinstance(value, tuple) else (value,):
        if refused := refusal(entry, within or "(-inf, inf)"):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            raise errors.InputError(f"--{one.name}={shown(text)} {refused}")


def refusal(value: Any, within: str) -> str:
    """Say what a number must be if it is outside an interval; "" if it is not.

    Values that are no numbers are never outside.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return ""
    opening, low, high, closing = _ends(within)
    above = value >= low if opening == "[" else value > low
    below = value <= high if closing == "]" else value < high
    if not (above and below):
        return f"must be {_meaning(within)}"
    limit = "2**31" if isinstance(value, numbers.Integral) else "2**128"
    if math.isinf(high) and value >= _number(limit):
        return f"must be below {limit}"
    if math.isinf(low) and value <= -_number(limit):
        return f"must be above -{limit}"
    return ""


_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple[int, ...]: "whole numbers",
}


def _has_type(value: Any, kind: Any) -> bool:
    """Whether a value has the declared type of a field; True for types not listed."""
    if kind is int or kind is float:
        of_kind = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, of_kind) and not isinstance(value, bool)
    if kind == tuple[int, ...]:
        return isinstance(value, tuple) and all(_has_type(v, int) for v in value)
    return kind not in _KINDS or isinstance(value, kind)


def shown(value: Any) -> str:
    """Return a value for a message, which a long one must not fill."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:50]}..."


def _ends(within: str) -> tuple[str, float, float, str]:
    found = re.fullmatch(r"([\[(])(\S+), (\S+)([\])])", within)
    if not found:
        raise ValueError(f"not an interval: {within!r}")
    return found[1], _number(found[2]), _number(found[3]), found[4]


def _number(text: str) -> float:
    base, power, exponent = text.partition("**")
    return float(base) ** float(exponent) if power else float(text)


def _meaning(within: str) -> str:
    """Describe an interval in words if that is shorter."""
    opening, low, high, _ = _ends(within)
    if math.isinf(low):
        return "a finite number"
    if math.isinf(high):
        low = within[1:].partition(",")[0]
        return f"at least {low}" if opening == "[" else f"above {low}"
    return f"in {within}"
