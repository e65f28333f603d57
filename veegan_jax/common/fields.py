"""Dataclass fields that are also flags: default, group, help and allowed values.

An interval or choices beside the field say which values are allowed, and one function
checks them. `common.flags` makes the flags.
"""

import dataclasses
import math
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
        or "[1, inf)". Floats must always be finite.
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
    if choices and value not in choices:
        raise errors.InputError(
            f"--{one.name}={value!r} must be one of {', '.join(choices)}"
        )
    if one.metadata.get("path") and value:
        files.user_path(value, f"--{one.name}")
    values = value if isinstance(value, tuple) else (value,)
    if not all(_is_in(v, within or "(-inf, inf)") for v in values):
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        raise errors.InputError(f"--{one.name}={shown} must be {_meaning(within)}")


def _ends(within: str) -> tuple[str, float, float, str]:
    found = re.fullmatch(r"([\[(])(\S+), (\S+)([\])])", within)
    if not found:
        raise ValueError(f"not an interval: {within!r}")
    return found[1], _number(found[2]), _number(found[3]), found[4]


def _number(text: str) -> float:
    base, power, exponent = text.partition("**")
    return float(base) ** float(exponent) if power else float(text)


def _is_in(value: Any, within: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True  # a text or None
    opening, low, high, closing = _ends(within)
    above = value >= low if opening == "[" else value > low
    below = value <= high if closing == "]" else value < high
    return above and below and math.isfinite(value)


def _meaning(within: str | None) -> str:
    """Describe an interval in words if that is shorter."""
    if not within:
        return "a finite number"
    opening, _, high, _ = _ends(within)
    if math.isinf(high):
        low = within[1:].partition(",")[0]
        return f"at least {low}" if opening == "[" else f"above {low}"
    return f"in {within}"
