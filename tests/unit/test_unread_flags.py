"""Settings that a run would not read are refused, by one rule with one message."""

import dataclasses
import functools
import re

import jax
import pytest
from absl import flags

from lgan_jax import config as lgan_configs
from lgan_jax import generators
from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.common import flags as common_flags
from veegan_jax.experiments import base
from veegan_jax.presets import resolve

REFUSED = [  # method, dataset, preset, changes, the flag that is named, why
    ("gan", "ring", "quick", {"reconstructor_widths": (4,)}, "gan has no R"),
    ("unrolled", "ring", "quick", {"latent_gain": 2.0}, "D of unrolled sees no z"),
    ("pacgan", "digits", "quick", {"reconstructor_widths": (4, 4)}, "pacgan has no R"),
    ("veegan", "ring", "quick", {"fourier_scale": 2.0}, "--fourier_size is 0"),
    ("gan", "high_dim", "quick", {"fourier_size": 4}, "D reads moments instead"),
    ("veegan", "high_dim", "quick", {"output_tanh": True}, "the G of --networks=code"),
    ("gan", "digits", "dense", {"schedule_hold": 0.5}, "--schedule is constant"),
    ("veegan_plus", "digits", "quick", {"fourier_start": 0.5}, "D sees no sines"),
]
READ = [
    ("gan", "ring", "quick", {"fourier_size": 4, "fourier_scale": 2.0}),
    ("veegan", "ring", "quick", {"reconstructor_widths": (4,), "latent_gain": 2.0}),
    ("gan", "ring", "quick", {"schedule_hold": 0.5, "learning_rate_d": 0.1}),
    ("veegan_plus", "ring", "quick", {"gamma": 0.5, "fourier_start": 0.5}),
]


def plan(method, dataset, preset, changes):
    options = base.Options(preset=preset)
    return base.plan(options, {"method": method, **changes}, [dataset], None)


@pytest.mark.parametrize(("method", "dataset", "preset", "changes", "why"), REFUSED)
def test_a_setting_that_is_not_read_is_refused(method, dataset, preset, changes, why):
    ((name, value),) = changes.items()
    with pytest.raises(errors.InputError) as raised:
        plan(method, dataset, preset, changes)
    text = str(raised.value)
    start = f"--{name}={value}: {method} on {dataset} does not read it, since {why}"
    assert text.startswith(start) and text.endswith("; leave it out")


def test_without_the_penalty_its_weights_are_not_read():
    for name in ("gamma", "gamma_end", "gamma_decay_start", "gamma_decay_end"):
        value = {"gamma_end": 1e-4}.get(name, 0.25)
        with pytest.raises(errors.InputError, match=f"--{name}=.*--penalty is false"):
            plan("veegan_plus", "ring", "quick", {"penalty": False, name: value})


@pytest.mark.parametrize(("method", "dataset", "preset", "changes"), READ)
def test_a_setting_that_is_read_is_taken(method, dataset, preset, changes):
    plan(method, dataset, preset, changes)


def test_of_several_methods_each_must_read_it():
    with pytest.raises(
        errors.InputError, match=r"--reconstructor_widths=.*gan has no R"
    ):
        plan("all", "ring", "quick", {"reconstructor_widths": (4,)})
    with pytest.raises(errors.InputError, match="--gamma: gan on ring has no such"):
        plan("all", "ring", "quick", {"gamma": 0.1})
    plan("all", "ring", "quick", {"generator_widths": (4,), "learning_rate": 0.1})


def test_a_method_of_ones_own_may_read_all(monkeypatch):
    class Mine:
        init = train_step = sample = None

    monkeypatch.setitem(methods.METHODS, "mine", Mine())
    plan("mine", "ring", "quick", {"reconstructor_widths": (4,), "latent_gain": 2.0})


def traces(config) -> str:
    """What a run computes: its initial state, a step and a draw, as programs."""
    method, key = methods.get(config.method), jax.random.key(0)
    init = functools.partial(method.init, config=config)
    state = jax.eval_shape(init, key)
    step = functools.partial(method.train_step, config=config)
    found = [
        jax.make_jaxpr(init)(key),
        jax.make_jaxpr(step)(state, config.examples(config.batch_size)),
    ]
    return re.sub("0x[0-9a-f]+", "", str(found))


# That a method has no R, the first says for the next two. Of the last one a gain is
# computed, which nothing reads.
@pytest.mark.slow
@pytest.mark.parametrize("case", [REFUSED[0], *REFUSED[3:-1], *READ], ids=str)
def test_what_is_refused_changes_no_program(case):
    method, dataset, preset, changes, *refused = case
    config = resolve.resolve(method, dataset, preset, batch_size=8)
    for name, value in changes.items():
        new = config.replace(**changes | {name: value})
        old = config.replace(**{n: v for n, v in changes.items() if n != name})
        assert (traces(new) == traces(old)) == bool(refused), name


def test_every_setting_of_lgan_has_its_readers():
    known = {name for names, _ in generators._READ_BY for name in names}
    fields = dataclasses.fields(lgan_configs.Config)
    assert known == {
        f.name for f in fields if f.metadata.get("group") in ("autoencoder", "sampler")
    }


@pytest.mark.parametrize(
    ("generator", "reads", "ignores"),
    [
        ("affine", (), ("latent_size", "vae", "sampler_steps", "shared_widths")),
        ("vae", ("latent_size", "autoencoder_rate"), ("latent_noise", "basis_size")),
        ("gaussian", ("latent_noise",), ("sampler_steps", "noise_size")),
        ("plain_gan", ("noise_size", "sampler_rate"), ("orthogonality", "move_scale")),
        ("lgan", ("basis_size", "accepted"), ("shared_basis_size", "shared_widths")),
        (
            "lgan_moves+affine",
            ("shared_basis_size", "offset", "move_scale", "shared_latent_size"),
            ("basis_size", "latent_size", "autoencoder_widths"),
        ),
    ],
)
def test_settings_of_other_generators_are_refused(generator, reads, ignores):
    config = lgan_configs.preset("digits")
    stages = generators.stages([generator])
    generators.refuse_unread(config, stages, (*reads, "fraction"))
    for name in set(ignores) - {"vae"}:
        with pytest.raises(errors.InputError, match=f"--{name}=.*: no generator"):
            generators.refuse_unread(config, stages, [name])


def test_a_share_to_accept_is_not_read_where_all_are():
    config = lgan_configs.preset("digits", acceptance="all")
    with pytest.raises(errors.InputError, match=r"--accepted=0\.5: --acceptance=all"):
        generators.refuse_unread(config, ["lgan"], ["acceptance", "accepted"])


def test_a_flag_of_a_script_is_refused_if_it_was_given():
    flags.DEFINE_string("flag_of_a_test", None, "")
    try:
        common_flags.refuse("nothing reads it", "flag_of_a_test")
        flags.FLAGS.flag_of_a_test = "x"
        with pytest.raises(errors.InputError) as raised:
            common_flags.refuse("nothing reads it", "flag_of_a_test")
        message = "--flag_of_a_test=x: nothing reads it; leave it out"
        assert str(raised.value) == message
    finally:
        delattr(flags.FLAGS, "flag_of_a_test")
