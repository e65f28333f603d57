"""Fields that are flags: intervals and choices, checked and named."""

import dataclasses

import pytest

from veegan_jax.common import errors, fields


@dataclasses.dataclass(frozen=True)
class Example:
    steps: int = fields.field(1, "", within="[1, inf)")
    rate: float = fields.field(0.5, "", within="(0, inf)")
    share: float = fields.field(0.0, "", within="[0, 1)")
    seed: int = fields.field(0, "", within="[0, 2**32)")
    widths: tuple[int, ...] = fields.field((2, 3), "", within="[1, inf)")
    mode: str = fields.field("a", "", choices=("a", "b"))
    free: float = fields.field(-1.0, "")
    flag: bool = fields.field(False, "")


def test_what_is_allowed_passes():
    fields.check(Example())
    fields.check(Example(steps=10**9, rate=1e-9, share=0.999, seed=2**32 - 1, mode="b"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "--steps=0 must be at least 1"),
        ({"rate": 0.0}, "--rate=0.0 must be above 0"),
        ({"rate": float("nan")}, "--rate=nan must be above 0"),
        ({"rate": float("inf")}, "--rate=inf must be above 0"),
        ({"share": 1.0}, r"--share=1.0 must be in [0, 1)"),
        ({"seed": 2**32}, r"--seed=4294967296 must be in [0, 2**32)"),
        ({"widths": (4, 0)}, "--widths=4,0 must be at least 1"),
        ({"mode": "c"}, "--mode='c' must be one of a, b"),
        ({"free": float("-inf")}, "--free=-inf must be a finite number"),
    ],
)
def test_the_message_names_flag_value_and_remedy(change, message):
    with pytest.raises(errors.InputError) as raised:
        fields.check(Example(**change))
    assert str(raised.value) == message


def test_a_wrong_declaration_is_an_error_of_the_code():
    with pytest.raises(ValueError, match="not an interval"):
        fields.check(
            dataclasses.make_dataclass(
                "E", [("x", int, fields.field(1, "", within="1 to 3"))]
            )()
        )
