"""From names to a configuration: method, dataset, preset, and what is changed in it."""

import dataclasses
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors, fields
from veegan_jax.config import Config
from veegan_jax.data import mixtures as kinds
from veegan_jax.networks.configs import MLP, NETWORKS, CodeMLP
from veegan_jax.presets import families, images, mixtures, stacked_mnist

METHOD = "veegan_plus"  # the scripts' default
ROWS = (  # --method=all
    *("gan", "pacgan", "ali", "unrolled", "wgan_gp", "hinge", "topk", "gdpp", "bures"),
    *("rpgan", "mdgan", "alice", "meg", "veegan", "veegan_plus"),
)
_FIXED = ("size", "scale", "image_size", "channels")  # they follow from the dataset
PAGES: tuple[ModuleType, ...] = (mixtures, stacked_mnist, images)


def page_of(dataset: str) -> ModuleType:
    """Return the page of presets of a dataset.

    Raises:
      InputError: for a dataset that does not exist; the message lists the valid ones.
    """
    for page in PAGES:
        if dataset in page.DATASETS:
            return page
    if kinds.is_mixture(dataset) and kinds.kind(dataset) in mixtures.DATASETS:
        return mixtures
    known = [name for page in PAGES for name in page.DATASETS]
    raise errors.InputError(
        f"unknown dataset {dataset!r}: one of {', '.join(known)}, {mixtures.MORE}"
    )


def resolve(method: str, dataset: str, preset: str = "quick", **changes: Any) -> Config:
    """Make the named configuration of a method on a dataset.

    Args:
      method: a registered method. One without settings of its own (yours) gets the
        plain GAN's networks.
      dataset: see `DATASETS` of the pages in veegan_jax/presets.
      preset: see `PRESETS` of the dataset's page.
      **changes: fields that differ from the preset, by their own names: steps,
        learning_rate, generator_widths, ... What follows from the latent size follows
        from a changed one, too, and the batch from changed packs or critic steps.

    Raises:
      InputError: for a name that does not exist, a field that the method does not
        have, or a value out of range; the message says what there is.

    Example:
      >>> resolve("veegan", "ring", "paper").latent_size
      254
    """
    module = methods.get(method)
    page = page_of(dataset)
    if preset not in page.PRESETS:
        raise errors.InputError(
            f"unknown preset {preset!r}: one of {', '.join(page.PRESETS)}"
        )
    for name in changes:
        if name in _FIXED and (name, dataset) != ("image_size", "faces"):
            raise errors.InputError(
                f"--{name}={changes[name]}: it follows from --dataset={dataset}; leave "
                "it out"
            )
    if page is mixtures:
        dataset = kinds.canonical(dataset)
    made = page.preset(preset, method, dataset, changes.get("latent_size"))
    config = made.replace(**changes)
    if "batch_size" not in changes:
        fields.check(config.objective)  # before the batch is multiplied by its parts
        packs = made.batch_size // made.objective.batch_parts[1]
        config = config.replace(batch_size=families.batch_size(packs, config.objective))
    configs.check(config)
    if config.networks.spectral_norm and not getattr(module, "SPECTRAL_NORM", False):
        raise errors.InputError(
            f"--spectral_norm: {method} keeps no state of D for it; give "
            "--spectral_norm=false, or --method=hinge"
        )
    if config.networks.dropout and not getattr(module, "DROPS_UNITS", False):
        raise errors.InputError(
            f"--dropout={config.networks.dropout}: {method} drops no units; give "
            "--dropout=0"
        )
    return config


def unread(config: Config) -> dict[str, str]:
    """List the settings that a run of this configuration has but does not read.

    Returns:
      Name -> why. Of a method in a file of its own it is not known what that reads.
    """
    found: dict[str, str] = {}

    def add(why: str, *names: str) -> None:
        found.update(dict.fromkeys(names, why))

    networks, method = config.networks, methods.get(config.method)
    ours = getattr(method, "__package__", None) == methods.__name__
    no_r = ours and not methods.has_reconstructor(config.method)
    if no_r:
        add(f"{config.method} has no R", "reconstructor_widths", "reconstructor_gain")
    if ours and not methods.sees_latents(config.method):
        add(f"D of {config.method} sees no z", "latent_gain")
    if isinstance(networks, CodeMLP):
        add("the G of --networks=code has neither", "batch_norm", "output_tanh")
    if isinstance(networks, MLP):
        if no_r and networks.moment_features:
            add("D reads moments instead", "fourier_size", "fourier_scale")
        if not networks.fourier_size:
            add("--fourier_size is 0", "fourier_scale")
    inputs = ("fourier_size", "moment_features")
    if not any(getattr(networks, name, 0) for name in inputs):
        add("D sees no sines and cosines", "fourier_start")
    if config.optimizer.schedule == "constant":
        add("--schedule is constant", "schedule_hold")
    gamma = "gamma", "gamma_end", "gamma_decay_start", "gamma_decay_end"
    if not getattr(config.objective, "penalty", True):
        add("--penalty is false", *gamma)
    parts = (getattr(config.objective, f"penalty_{x}", True) for x in ("real", "fake"))
    if not any(parts):
        add("--penalty_real and --penalty_fake are false", *gamma)
    return found


def refuse_unread(config: Config, changes: Iterable[str]) -> None:
    """Refuse settings that are given but not read.

    Args:
      config: what to train.
      changes: the names of the settings that the user gave.

    Raises:
      InputError: naming the flag, and why it is not read.
    """
    why = unread(config)
    for name in changes:
        if name in why:
            raise errors.InputError(
                f"--{name}={configs.get(config, name)}: {config.method} on "
                f"{config.dataset} does not read it, since {why[name]}; leave it out"
            )


@dataclasses.dataclass(frozen=True)
class _Family:
    """The class of the networks, by its name."""

    networks: str = fields.field(
        "", "family of networks", "networks", choices=tuple(NETWORKS)
    )


def settings(page: ModuleType) -> tuple[type, ...]:
    """Return the dataclasses whose fields are the settings of a page's presets."""

    networks = [cls for name, cls in NETWORKS.items() if name in page.NETWORKS]
    objectives = [methods.objective_class(name) for name in methods.METHODS]
    return Config, *page.DATA, _Family, *networks, *objectives, configs.Optimizer
