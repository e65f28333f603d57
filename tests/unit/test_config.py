"""Configurations: presets, ranges, changes by name, JSON; and the ablations of VEEGAN+.

Each preset of each method resolves to a hashable configuration that is checked and
survives a round trip through JSON. One file, for the table of what is refused.
"""

import dataclasses
import itertools
import json
import math
import re
import types

import pytest

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.config import Config
from veegan_jax.methods import veegan_plus
from veegan_jax.networks.configs import ALI, DCGAN, MLP, NETWORKS, CodeMLP
from veegan_jax.presets import mixtures as mixture_presets
from veegan_jax.presets import resolve

PRESETS = [
    (dataset, preset)
    for page in resolve.PAGES
    for dataset in page.DATASETS
    for preset in page.PRESETS
]
FROM_DATASET = {"size", "scale", "image_size", "channels"}  # no flags
CLASSES = (
    Config,
    *configs.DATA.values(),
    *NETWORKS.values(),
    *dict.fromkeys(methods.objective_class(name) for name in methods.METHODS),
    configs.Optimizer,
)


@pytest.mark.parametrize(("dataset", "preset"), PRESETS)
def test_every_preset_of_every_method_is_a_checked_configuration(dataset, preset):
    page = resolve.page_of(dataset)
    flags = {f.name for cls in resolve.settings(page) for f in dataclasses.fields(cls)}
    for method in methods.METHODS:
        config = resolve.resolve(method, dataset, preset)
        assert (config.method, config.dataset) == (method, dataset)
        configs.check(config)
        assert {config: 1}[resolve.resolve(method, dataset, preset)] == 1
        assert type(config.objective) is methods.objective_class(method)
        assert isinstance(config.data, page.DATA)
        assert isinstance(config.networks, tuple(NETWORKS[n] for n in page.NETWORKS))
        names = configs.names(config)
        assert len(set(names)) == len(names)  # a name says which group it is in
        assert set(names) - FROM_DATASET - {"streamed"} <= flags
        read = json.loads(json.dumps(configs.to_json(config)))
        again = configs.from_json(read, methods.objective_class(method))
        assert again == config and hash(again) == hash(config)


@pytest.mark.parametrize("preset", ["quick", "full"])
@pytest.mark.parametrize("dataset", ["stacked_mnist", "cifar10"])
def test_the_d_of_unrolled_gan_learns_slower_on_images(dataset, preset):
    rates = {}
    for method in methods.METHODS:
        optimizer = resolve.resolve(method, dataset, preset).optimizer
        rates[method] = optimizer.learning_rate, optimizer.learning_rate_d
    assert rates.pop("unrolled") == (1e-3, 1e-4)  # as in the authors' code
    assert set(rates.values()) == {(1e-3, 1e-3)}


@pytest.mark.parametrize(("dataset", "preset"), PRESETS)
def test_a_method_without_settings_gets_the_plain_gans(dataset, preset, monkeypatch):
    monkeypatch.setitem(methods.METHODS, "mine", types.SimpleNamespace())
    mine = resolve.resolve("mine", dataset, preset)
    assert mine.replace(method="gan") == resolve.resolve("gan", dataset, preset)


def test_flags_of_one_name_have_one_type():
    """Several classes may have a field: the first one makes the flag."""
    types_of = {}
    for cls in CLASSES:
        for field in dataclasses.fields(cls):
            types_of.setdefault(field.name, set()).add(field.type)
    assert {name: found for name, found in types_of.items() if len(found) > 1} == {}


# Values that are allowed.


def outside(within: str) -> list[float]:
    """Values beside both ends of an interval such as "(0, inf)"."""
    opening, low, high, closing = re.fullmatch(r"(.)(\S+), (\S+)(.)", within).groups()
    low, high = float(low), float(high)
    return [
        low - 1,
        high + 1,
        *([low] if opening == "(" else []),
        *([high] if closing == ")" else []),
    ]


def test_every_number_and_choice_is_checked():
    seen = 0
    for cls in CLASSES:
        for field in dataclasses.fields(cls):
            if field.name in configs.GROUPS or "help" not in field.metadata:
                continue
            bad = [math.nan] if field.type is float else []
            if within := field.metadata["within"]:
                bad += outside(within)
                bad = [(4, v) if field.type == tuple[int, ...] else v for v in bad]
            elif field.metadata["choices"]:
                bad += ["other"]
            else:  # free: no whole number is
                assert field.type in (bool, float, str), field.name
            for value in bad:
                changes = {field.name: value}
                if cls is configs.Vectors:
                    changes["size"] = 2
                with pytest.raises(errors.InputError, match=f"^--{field.name}="):
                    configs.fields.check(cls(**changes))
                seen += 1
    assert seen > 80


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (("gan", "ring"), {"steps": 0}, "--steps=0 must be at least 1"),
        (("gan", "ring"), {"latent_size": -3}, "--latent_size=-3 must be at least 1"),
        (
            ("gan", "ring"),
            {"generator_widths": (8, 0)},
            "--generator_widths=8,0 must be at least 1",
        ),
        (
            ("gan", "ring"),
            {"learning_rate": math.inf},
            "--learning_rate=inf must be above 0",
        ),
        (("gan", "ring"), {"beta1": 1.0}, "--beta1=1.0 must be in [0, 1)"),
        (
            ("gan", "ring"),
            {"activation": "selu"},
            "--activation='selu' must be one of relu, leaky_relu, tanh",
        ),
        # Values that do not fit each other.
        (
            ("pacgan", "ring"),
            {"batch_size": 9},
            "--batch_size=9 must be a multiple of --pack=2",
        ),
        # Not the batch, which follows from them.
        (("pacgan", "ring"), {"pack": 0}, "--pack=0 must be at least 1"),
        (("meg", "ring"), {"critic_steps": 0}, "--critic_steps=0 must be in [1, 100]"),
        (
            ("veegan_plus", "ring"),
            {"gamma": 0.1, "gamma_end": 0.2},
            "--gamma_end=0.2 must be above 0 and at most --gamma=0.1",
        ),
        (
            ("veegan_plus", "ring"),
            {"gamma_decay_start": 0.7, "gamma_decay_end": 0.7},
            "--gamma_decay_start=0.7 must be at least 0 and below "
            "--gamma_decay_end=0.7, that at most 1",
        ),
        (
            ("gan", "ring"),
            {"dropout": 0.5},
            "--dropout=0.5: gan drops no units; give --dropout=0",
        ),
        (
            ("ali", "digits"),
            {"networks": "ali"},
            "--networks=ali has layers for 32 x 32 pixels, digits has 8 x 8 x 1: leave "
            "the flag out",
        ),
        (
            ("gan", "ring"),
            {"networks": "dcgan"},
            "--networks=dcgan is for images, ring has vectors: leave the flag out",
        ),
        (
            ("gan", "ring"),
            {"networks": "resnet"},
            "--networks='resnet' must be one of mlp, code, dcgan, ali",
        ),
        # These follow from the dataset.
        (
            ("gan", "ring"),
            {"size": 3},
            "--size=3: it follows from --dataset=ring; leave it out",
        ),
        (
            ("veegan_plus", "grid"),
            {"scale": 2.0},
            "--scale=2.0: it follows from --dataset=grid; leave it out",
        ),
        (
            ("gan", "stacked_mnist"),
            {"image_size": 9},
            "--image_size=9: it follows from --dataset=stacked_mnist; leave it out",
        ),
        (
            ("gan", "faces"),
            {"channels": 1},
            "--channels=1: it follows from --dataset=faces; leave it out",
        ),
        (("gan", "faces"), {"image_size": 0}, "--image_size=0 must be in [1, 4096]"),
    ],
)
def test_what_cannot_be_is_named_with_its_remedy(names, changes, message):
    with pytest.raises(errors.InputError) as raised:
        resolve.resolve(*names, **changes)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("method", "dataset", "name", "has"),
    [
        ("gan", "ring", "gamma", "maxout"),
        ("gan", "ring", "kernel_size", "fourier_size"),
        ("veegan_plus", "ring", "reconstructor_std", "gamma_end"),
        ("veegan", "stacked_mnist", "fourier_size", "joint_widths"),
        ("unrolled", "cifar10", "num_stacks", "unrolled_steps"),
        ("ali", "digits", "pack", "reconstructor_noise"),
    ],
)
def test_a_setting_that_a_run_lacks_is_refused(method, dataset, name, has):
    """The message lists what there is."""
    config = resolve.resolve(method, dataset)
    start = f"--{name}: {method} on {dataset} has no such setting; it has method,"
    for refused in (
        lambda: resolve.resolve(method, dataset, **{name: 1}),
        lambda: config.replace(**{name: 1}),
        lambda: configs.get(config, name),
    ):
        with pytest.raises(errors.InputError) as raised:
            refused()
        text, _, listed = str(raised.value).partition("it has ")
        assert f"{text}it has {listed}".startswith(start)
        fixed = ("size", "scale", "image_size", "channels")  # by the dataset
        settable = [n for n in configs.names(config) if n not in fixed]
        assert listed.split(", ") == settable
        assert has in listed.split(", ") and name not in listed.split(", ")


def test_faces_may_have_any_size():
    config = resolve.resolve("gan", "faces", image_size=48)
    assert config.data == configs.Photos(48, 3)
    assert config.example_shape() == (48, 48, 3)


# Changes by name.


def test_replace_changes_a_field_in_its_group_and_nothing_else():
    config = resolve.resolve("veegan_plus", "ring")
    new = config.replace(steps=7, scale=3.0, maxout=2, gamma=0.2, beta1=0.25)
    changed = {
        name: configs.get(new, name)
        for name in configs.names(config)
        if configs.get(new, name) != configs.get(config, name)
    }
    assert changed == {
        "steps": 7, "scale": 3.0, "maxout": 2, "gamma": 0.2, "beta1": 0.25
    }  # fmt: skip
    assert new.data.scale == 3.0 and new.networks.maxout == 2
    assert new.objective.gamma == 0.2 and new.optimizer.beta1 == 0.25
    assert config == resolve.resolve("veegan_plus", "ring")  # it is a new one
    assert config.replace() == config
    whole = config.replace(objective=veegan_plus.Objective(penalty=False), steps=3)
    assert whole.objective == veegan_plus.Objective(penalty=False)
    assert (whole.steps, whole.networks) == (3, config.networks)


def test_other_networks_keep_what_both_classes_have():
    convolutions = resolve.resolve("veegan", "digits", generator_widths=(9, 5))
    assert type(convolutions.networks) is DCGAN
    vectors = convolutions.replace(networks="mlp")
    assert type(vectors.networks) is MLP
    both = ("generator_widths", "generator_noise", "kernel_init", "batch_norm")
    for name in both:
        assert configs.get(vectors, name) == configs.get(convolutions, name)
        assert configs.get(vectors, name) != getattr(MLP(), name)
    assert vectors.networks.maxout == MLP().maxout
    assert "kernel_size" not in configs.names(vectors)
    assert convolutions.example_shape() == (8, 8, 1)
    assert vectors.example_shape() == (64,)
    # All else was as the class has it.
    back = vectors.replace(networks="dcgan", joint_widths=(256,), output_conv=False)
    assert back == convolutions


def test_a_code_generator_becomes_a_plain_one():
    code = resolve.resolve("veegan_plus", "high_dim")
    assert type(code.networks) is CodeMLP
    plain = code.replace(networks="mlp")
    assert type(plain.networks) is MLP
    shared = dataclasses.asdict(code.networks)
    assert shared.pop("generator_code") == 64
    assert dataclasses.asdict(plain.networks) == shared
    again = plain.replace(networks="code", generator_code=8)
    assert again == code.replace(generator_code=8)


def test_fields_of_the_new_networks_may_come_before_them():
    config = resolve.resolve("gan", "digits", maxout=3, networks="mlp")
    assert config == resolve.resolve("gan", "digits", networks="mlp", maxout=3)
    assert config.networks.maxout == 3


def test_networks_are_named_in_json_as_in_flags():
    for name, cls in NETWORKS.items():
        values = configs.to_json(Config(networks=cls()))
        assert values["networks"]["kind"] == name
    images = configs.to_json(resolve.resolve("gan", "cifar10"))
    assert images["data"] == {"kind": "images", "image_size": 32, "channels": 3}


def test_latents_are_those_of_z_and_of_gs_noise():
    config = Config(latent_size=3, networks=MLP(generator_noise=2))
    assert config.latent_shape(5) == (5, 5)
    assert config.examples(4).shape == (4, 2)
    ali = resolve.resolve("ali", "cifar10", "paper")
    assert type(ali.networks) is ALI
    assert ali.examples().shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("networks"),
        lambda values: values["networks"].update(kind="resnet"),
        lambda values: values["networks"].pop("kind"),
        lambda values: values["networks"].update(kernels="he"),
        lambda values: values["objective"].update(pack=2),
        lambda values: values.update(generator_code=0),
    ],
)
def test_json_of_another_version_is_refused(damage):
    values = configs.to_json(resolve.resolve("gan", "ring"))
    assert configs.from_json(values, configs.Objective).method == "gan"
    damage(values)
    with pytest.raises((KeyError, TypeError, ValueError)):
        configs.from_json(values, configs.Objective)


# Ablations.


@pytest.mark.parametrize(
    ("dataset", "preset"),
    [
        *itertools.product(mixture_presets.DATASETS, ("quick", "best")),
        ("stacked_mnist", "quick"),
        ("stacked_mnist", "full"),
    ],
)
def test_each_ablation_takes_out_what_it_says(dataset, preset):
    """Each is a valid configuration that differs from the whole in its part."""
    whole = resolve.resolve("veegan_plus", dataset, preset)
    seen = set()
    for name, changes in resolve.page_of(dataset).ablations(whole).items():
        variant = resolve.resolve("veegan_plus", dataset, preset, **changes)
        assert (variant == whole) == (name == "everything")
        assert variant not in seen  # no ingredient is taken out twice
        seen.add(variant)


def test_a_description_holds_every_setting():
    text = configs.describe(resolve.resolve("gan", "stacked_digits", steps=77))
    lines = dict(line.split(": ", 1) for line in text.splitlines())
    assert list(lines) == [
        "run",
        "data (stacks)",
        "networks (dcgan)",
        "objective",
        "optimizer",
    ]
    assert lines["run"].startswith("method gan, dataset stacked_digits, steps 77")
    assert lines["objective"] == "no settings"
    assert "beta1 0.5" in lines["optimizer"]
