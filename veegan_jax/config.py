"""The configuration of a run: a frozen dataclass of small groups.

    config.steps, config.batch_size, ...   the run
    config.data                            Vectors, Images, Stacks or Photos
    config.networks                        MLP, CodeMLP, DCGAN or ALI
    config.objective                       the method's own: veegan.Objective, ...
    config.optimizer                       Adam, its schedule, the average of G

The class of a group says what a run has: a configuration whose networks are `DCGAN`
builds convolutions. A `Config` is hashable (it is a static argument of jit) and holds
everything that changes the numbers. Where and how to run is not in it.

Dimension key: B batch, Z latent, E noise inputs of G, X data dimensions.
"""

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from veegan_jax.common import errors, fields
from veegan_jax.networks import configs


def _fixed(default: Any, within: str) -> Any:
    """Declare a field that follows from the dataset and so is no flag."""
    return dataclasses.field(default=default, metadata={"within": within})


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Examples are vectors, [X]."""

    size: int = _fixed(dataclasses.MISSING, "[1, inf)")  # X
    scale: float = _fixed(1.0, "(0, inf)")  # G's unit of x; veegan_plus reads x / scale

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return (self.size,)


@dataclasses.dataclass(frozen=True)
class Images:
    """Examples are square images, [H, W, C], in [-1, 1]."""

    image_size: int = _fixed(32, "[1, inf)")  # H and W
    channels: int = _fixed(3, "[1, inf)")
    scale: ClassVar[float] = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.image_size, self.image_size, self.channels


@dataclasses.dataclass(frozen=True)
class Stacks(Images):
    """Images whose channels are digits, drawn anew or from a fixed list."""

    num_stacks: int = fields.field(
        0,
        "stacks in a fixed list to train on; 0: fresh ones every step",
        "data",
        within="[0, inf)",
    )


@dataclasses.dataclass(frozen=True)
class Photos(Images):
    """Images of a folder or of CelebA."""

    image_size: int = fields.field(
        64, "height and width of x, pixels", "data", within="[1, 4096]"
    )
    streamed: bool = fields.field(
        False,
        "all seeds see one stream of batches, epoch by epoch, instead of batches of "
        "their own from memory",
        "data",
    )


@dataclasses.dataclass(frozen=True)
class Objective:
    """The settings of a method's losses: none here; each method's file has its own.

    Other code reads the names below for every method, so all methods have a value.
    """

    pack: ClassVar[int] = 1  # samples that D judges at once
    reconstructor_noise: ClassVar[int] = 0  # noise inputs of R beside x
    reconstructor_std: ClassVar[float] = 0.0  # of z around R(x)

    @property
    def batch_parts(self) -> tuple[str, int]:
        """The setting that a batch must be a multiple of, and its value."""
        return "pack", self.pack


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Adam for every network, its step sizes over the run, and the average of G."""

    learning_rate: float = fields.field(
        1e-3, "Adam step size of G and R", "optimizer", within="(0, inf)"
    )
    learning_rate_d: float = fields.field(
        1e-3, "Adam step size of D", "optimizer", within="(0, inf)"
    )
    beta1: float = fields.field(0.5, "Adam beta1", "optimizer", within="[0, 1)")
    beta2: float = fields.field(0.999, "Adam beta2", "optimizer", within="[0, 1)")
    discriminator_every: int = fields.field(
        1, "steps of G and R to one of D", "optimizer", within="[1, inf)"
    )
    schedule: str = fields.field(
        "constant",
        "constant, or cosine down to 0",
        "optimizer",
        choices=("constant", "cosine"),
    )
    schedule_hold: float = fields.field(
        0.0, "share of the run before the cosine begins", "optimizer", within="[0, 1)"
    )
    ema: float = fields.field(
        0.0, "decay of G's average; 0: none", "optimizer", within="[0, 1)"
    )


_DEFAULT_NETWORKS = configs.MLP()


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyper-parameters; `presets.resolve` makes them, `check` judges them."""

    method: str = fields.field("veegan_plus", "a method of the README", "main")
    dataset: str = fields.field("ring", "what to train on", "main")
    steps: int = fields.field(10_000, "training steps", "main", within="[1, inf)")
    batch_size: int = fields.field(
        64, "examples per step, over all devices", "main", within="[1, inf)"
    )
    latent_size: int = fields.field(
        2, "dimensions of z ~ N(0, I)", "main", within="[1, inf)"
    )
    data: Any = Vectors(2)
    networks: Any = _DEFAULT_NETWORKS
    objective: Any = Objective()
    optimizer: Optimizer = Optimizer()

    def generator(self, axis_name: str | None = None) -> nn.Module:
        """G: (z, noise) -> x."""
        return self.networks.generator(self, axis_name)

    def reconstructor(self, axis_name: str | None = None) -> nn.Module:
        """R: x, or (noise, x), -> the mean of z given x, or a z."""
        return self.networks.reconstructor(self, axis_name)

    def discriminator(self, axis_name: str | None = None) -> nn.Module:
        """D: x, or the pair (z, x), -> one logit."""
        return self.networks.discriminator(self, axis_name)

    def example_shape(self) -> tuple[int, ...]:
        """Shape of one example as the networks see it: [X] or [H, W, C]."""
        return self.networks.example_shape(self.data)

    def examples(self, batch: int = 1) -> jax.Array:
        """Zeros in the shape of a batch of data, to initialize networks with."""
        return jnp.zeros((batch, *self.example_shape()))

    def latent_shape(self, batch: int) -> tuple[int, int]:
        """Shape of G's whole input for a batch: z's columns, then the noise's."""
        return batch, self.latent_size + self.networks.generator_noise

    def replace(self, **changes: Any) -> "Config":
        """Change fields by their own names, in whichever group they are.

        `networks="dcgan"` changes the class of the networks; what both have is kept.

        Raises:
          InputError: for a field that this configuration does not have.
        """
        new = self
        changes = {name: _plain(value) for name, value in changes.items()}
        if "networks" in changes:
            new = _with_networks(new, changes.pop("networks"))
        for name, value in changes.items():
            group = _group_of(new, name)
            if group is None:
                new = dataclasses.replace(new, **{name: value})
            else:
                changed = dataclasses.replace(getattr(new, group), **{name: value})
                new = dataclasses.replace(new, **{group: changed})
        return new


def _plain(value: Any) -> Any:
    """Return Python's number for NumPy's, and a tuple for a list: JSON values."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


GROUPS = ("data", "networks", "objective", "optimizer")
DATA = {"vectors": Vectors, "images": Images, "stacks": Stacks, "photos": Photos}


def get(config: Config, name: str) -> Any:
    """Return the value of a field by its own name, in whichever group it is.

    Raises:
      InputError: for a field that this configuration does not have.
    """
    group = _group_of(config, name)
    return getattr(config if group is None else getattr(config, group), name)


def names(config: Config) -> list[str]:
    """All fields that a configuration has, by their own names."""
    own = [f.name for f in dataclasses.fields(config) if f.name not in GROUPS]
    parts = (dataclasses.fields(getattr(config, group)) for group in GROUPS)
    return own + [f.name for part in parts for f in part]


def _settable(config: Config) -> list[str]:
    """List the fields that do not follow from the dataset: those that are flags."""
    parts = [config, *(getattr(config, group) for group in GROUPS)]
    found = (dataclasses.fields(part) for part in parts)
    return [f.name for part in found for f in part if "help" in f.metadata]


def check(config: Config) -> None:
    """Refuse values out of range, and values that do not fit each other.

    Raises:
      InputError: naming the flag, its value and what is allowed.
    """
    fields.check(config)
    for group in GROUPS:
        part = getattr(config, group)
        fields.check(part)
        if hasattr(part, "check"):
            part.check(config)
    name, parts = config.objective.batch_parts
    if config.batch_size % parts:
        raise errors.InputError(
            f"--batch_size={config.batch_size} must be a multiple of --{name}={parts}"
        )


def describe(config: Config) -> str:
    """Return every setting as text: a line for the run and one for each group."""
    values = to_json(config)
    run = {name: value for name, value in values.items() if name not in GROUPS}
    lines = [_settings("run", run)]
    lines += [_settings(group, values[group]) for group in GROUPS]
    return "\n".join(lines)


def _settings(title: str, values: dict[str, Any]) -> str:
    kind = f" ({values['kind']})" if "kind" in values else ""
    shown = ", ".join(f"{n} {v}" for n, v in values.items() if n != "kind")
    return f"{title}{kind}: {shown or 'no settings'}"


def to_json(config: Config) -> dict[str, Any]:
    """A configuration as JSON values; `from_json` reads it."""
    values = dataclasses.asdict(config)
    for group, kinds in (("data", DATA), ("networks", configs.NETWORKS)):
        kind = type(getattr(config, group))
        values[group] = {"kind": _kind(kinds, kind), **values[group]}
    return values


def from_json(values: dict[str, Any], objective: type) -> Config:
    """Make the configuration that `to_json` wrote.

    Args:
      values: what it wrote.
      objective: the class of the method's objective.

    Raises:
      InputError: for a value of another type or out of range.
      ValueError, KeyError, TypeError: if another version wrote the values.
    """
    values = dict(values)
    for group, kinds in (("data", DATA), ("networks", configs.NETWORKS)):
        part = dict(values[group])
        values[group] = kinds[part.pop("kind")](**_tuples(part))
    values["objective"] = objective(**_tuples(values["objective"]))
    values["optimizer"] = Optimizer(**values["optimizer"])
    config = Config(**values)
    check(config)
    return config


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _kind(kinds: dict[str, type], kind: type) -> str:
    return next(name for name, cls in kinds.items() if cls is kind)


def _with_networks(config: Config, kind: str) -> Config:
    if kind not in configs.NETWORKS:
        raise errors.InputError(
            f"--networks={kind!r} must be one of {', '.join(configs.NETWORKS)}"
        )
    cls = configs.NETWORKS[kind]
    shared = {f.name for f in dataclasses.fields(cls)}
    old = dataclasses.fields(config.networks)
    kept = {f.name: getattr(config.networks, f.name) for f in old if f.name in shared}
    return dataclasses.replace(config, networks=cls(**kept))


def _group_of(config: Config, name: str) -> str | None:
    """The group that has a field; None if the configuration itself has it."""
    if name in (f.name for f in dataclasses.fields(config)):
        return None
    for group in GROUPS:
        if name in (f.name for f in dataclasses.fields(getattr(config, group))):
            return group
    raise errors.InputError(
        f"--{name}: {config.method} on {config.dataset} has no such setting; it has "
        f"{', '.join(_settable(config))}"
    )
