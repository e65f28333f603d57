"""Every number flag of every script has a range; nan, inf and huge values are refused.

And what the memory cannot hold is refused before any work.
"""

import dataclasses
import math

import pytest
from absl import flags
from support import programs

from lgan_jax import amplification
from lgan_jax import config as lgan_configs
from lgan_jax import options as lgan_options
from veegan_jax.common import errors, fields, memory
from veegan_jax.common import flags as common_flags
from veegan_jax.experiments import base, sweep
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed

SCRIPTS = sorted(
    str(path.relative_to(programs.SCRIPTS).with_suffix(""))
    for folder in (".", "bench")
    for path in (programs.SCRIPTS / folder).glob("*.py")
    if "program.run(" in path.read_text()
)
WHOLE = (10**400, -(10**400), 2**63, -(2**63))  # bad values of whole numbers
FLOAT = (math.nan, math.inf, -math.inf, 1e39, -1e39, 10**400)


def refused(check, name, values):
    for value in values:
        with pytest.raises(errors.InputError) as raised:
            check(value)
        assert str(raised.value).startswith(f"--{name}="), name
        assert " must be " in str(raised.value)
        assert len(str(raised.value)) < 200


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_number_flag_has_a_range(script, monkeypatch):
    classes, define = [], common_flags.define

    def noted(*some, **more):
        classes.extend(some)
        define(*some, **more)

    monkeypatch.setattr(common_flags, "define", noted)
    before = [flags.FLAGS[name] for name in flags.FLAGS]
    for _ in programs.as_module(script):
        own = [f for n in flags.FLAGS if (f := flags.FLAGS[n]) not in before]
        of_classes = [
            field
            for cls in classes
            for field in dataclasses.fields(cls)
            if field.type in (int, float, tuple[int, ...]) and "help" in field.metadata
        ]
        for field in of_classes:
            bad = FLOAT if field.type is float else (*WHOLE, math.nan, 1.5, "1")
            if field.type == tuple[int, ...]:
                bad = [(4, value) for value in bad] + [(4, 0)]
            assert field.metadata["within"] or field.type is float, field.name
            refused(lambda v, f=field: fields.check_value(f, v), field.name, bad)
        rest = {f.name for f in of_classes}
        for holder in own:
            if holder.flag_type() in ("int", "float") and holder.name not in rest:
                value = holder.value

                def give(bad, name=holder.name):
                    setattr(flags.FLAGS, name, bad)

                refused(give, holder.name, WHOLE if type(value) is int else FLOAT)
                give(value)


def test_a_list_of_numbers_has_a_range():
    holder = common_flags.define_number("sizes_of_a_test", ["2"], "", within="[1, 9]")
    try:
        refused(
            lambda words: setattr(flags.FLAGS, holder.name, words),
            holder.name,
            (["x"], [""], [], ["0"], ["3", "10"], ["1.5"], ["9" * 400], ["²"]),
        )
        flags.FLAGS.sizes_of_a_test = ["1", "9"]
    finally:
        delattr(flags.FLAGS, holder.name)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"samples": 2**31 - 1}, "--seeds=5 x --samples=2147483647 would take"),
        ({}, {"seeds": 2**31 - 1}, "--seeds=2147483647 x --samples=2500 would take"),
        ({"batch_size": 2**30}, {}, "--seeds=5 x --batch_size=1073741824 would take"),
        # A layer of G has 128 units.
        ({"batch_size": 10**8}, {}, "--seeds=5 x --batch_size=100000000 would take"),
        ({"generator_widths": (10**6, 10**6)}, {}, "--seeds=5 of networks of these"),
        ({"latent_size": 2**31 - 1}, {}, "--seeds=5 of networks of these sizes would"),
    ],
)
def test_what_the_memory_cannot_hold_is_refused(monkeypatch, changes, options, message):
    monkeypatch.setattr(memory, "total", lambda: 20 * 10**9)
    config = resolve.resolve("gan", "ring", **changes)
    with pytest.raises(errors.InputError) as raised:
        base.check(config, base.Options(**options))
    assert str(raised.value).startswith(message)
    assert str(raised.value).endswith(" GB, and the memory has 20: give less")


def test_a_sweep_counts_its_variants(monkeypatch):
    config, options = resolve.resolve("gan", "ring"), base.Options(samples=10**6)
    values = 4 * 2 * 10**6 * 5  # bytes of all seeds' samples
    monkeypatch.setattr(memory, "total", lambda: 3 * values)
    sweep.base.check(config, options)
    grid = {"learning_rate": (0.1, 0.2, 0.3, 0.4)}
    with pytest.raises(errors.InputError, match="--seeds=20 x --samples=1000000"):
        sweep.check(config, grid, options)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"generated": 2**31 - 1}, "--generated=2147483647 of each class would"),
        ({"autoencoder_widths": (10**9,)}, {}, "--seeds=5 of models of these sizes"),
        ({"shared_widths": (10**9,)}, {}, "--seeds=5 of models of these sizes would"),
        ({}, {"seeds": 2**31 - 1}, "--seeds=2147483647 of models of these sizes"),
    ],
)
def test_an_amplification_that_the_memory_cannot_hold_is_refused(
    tmp_path, changes, options, message
):
    config = lgan_configs.preset("digits", **changes)
    chosen = lgan_options.preset("digits", **options)
    with pytest.raises(errors.InputError, match=f"^{message}"):
        amplification.prepare(config, chosen, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_cores_are_bounded():
    """Each is a device of its own: a million would hang."""
    with pytest.raises(errors.InputError, match="--cpu_devices=1025 must be in"):
        distributed.Options(cpu_devices=1025)
