"""The generators by name, and the stages of training that each one needs.

A latent sampler learns in one of three spaces, which ends the generator's name:

  lgan          every class has its own autoencoder, and its own sampler of encodings;
  lgan_shared   a few autoencoders of all classes, in each a sampler for every class;
  lgan_moves    the same, in each one sampler of the moves inside all classes.

`vae` needs no sampler, and `affine` no model at all.
"""

import fnmatch
from collections.abc import Iterable

from lgan_jax import samplers
from lgan_jax.config import Config
from veegan_jax.common import errors

OWN, SHARED, MOVES = "", "_shared", "_moves"
ON_TOP = "+affine"  # every image is then also moved by `samplers.affine`


def names() -> tuple[str, ...]:
    """List every generator, without those on top of another."""
    latent = (n + space for space in (OWN, SHARED, MOVES) for n in samplers.LATENT)
    return (*latent, "vae", "affine")


def base(name: str) -> str:
    """Drop `ON_TOP` from a generator's name."""
    return name.removesuffix(ON_TOP)


def split_name(name: str) -> tuple[str, str]:
    """Split a generator's name, without `ON_TOP`, into sampler and space."""
    for space in (SHARED, MOVES):
        if name.endswith(space):
            return name.removesuffix(space), space
    return name, OWN


def is_latent(name: str) -> bool:
    """Whether a generator samples encodings."""
    return split_name(base(name))[0] in samplers.LATENT


def check(name: str) -> None:
    """Refuse a generator that does not exist.

    Raises:
      InputError: naming those that do.
    """
    if base(name) not in names() or name == f"affine{ON_TOP}":
        raise errors.InputError(
            f"unknown generator {name!r}: one of {', '.join(names())}, each but affine "
            f"also followed by {ON_TOP}"
        )


# Settings of each kind, and the stages that read them: names, or how they begin or end.
_READ_BY = (
    (("latent_size", "autoencoder_widths"), ("autoencoder", "vae")),
    (
        ("autoencoder_steps", "autoencoder_batch", "autoencoder_rate"),
        ("autoencoder", "shared", "vae"),
    ),
    (("latent_noise",), ("autoencoder", "shared")),
    (("shared_autoencoders", "shared_latent_size", "shared_widths"), ("shared",)),
    (("basis_size",), ("lgan",)),
    (("shared_basis_size",), ("lgan_shared", "lgan_moves")),
    (("coefficients", "orthogonality", "offset", "acceptance", "accepted"), ("lgan*",)),
    (
        (
            *("noise_size", "sampler_widths", "sampler_steps"),
            *("sampler_batch", "sampler_rate", "sampler_beta1"),
        ),
        ("lgan*", "plain_gan*"),
    ),
    (("move_scale", "num_moves"), ("*_moves",)),
)


def unread(config: Config, names: Iterable[str]) -> dict[str, str]:
    """List the settings that a run does not read.

    Args:
      config: of the run.
      names: of its stages.

    Returns:
      Name -> why.
    """
    found = {}
    names = tuple(names)
    for settings, readers in _READ_BY:
        if not any(fnmatch.filter(names, reader) for reader in readers):
            why = f"no generator of this run reads it, only stages {', '.join(readers)}"
            found.update(dict.fromkeys(settings, why))
    if config.acceptance == "all":
        found.setdefault("accepted", "--acceptance=all does not read it")
    return found


def refuse_unread(config: Config, names: Iterable[str], changes: Iterable[str]) -> None:
    """Refuse settings that are given but that no stage of the run reads.

    Args:
      config: of the run.
      names: of its stages.
      changes: the names of the settings that the user gave.

    Raises:
      InputError: naming the flag.
    """
    why = unread(config, names)
    for name in changes:
        if name in why:
            raise errors.InputError(
                f"--{name}={getattr(config, name)}: {why[name]}; leave it out"
            )


def stages(chosen: Iterable[str], *, sample_quality: bool = False) -> tuple[str, ...]:
    """List the stages of training that generators need, in order, each once.

    Args:
      chosen: generators.
      sample_quality: whether `lgan_jax.sample_quality` measures them, which reads each
        class's own autoencoder.

    Returns:
      Names of stages, as `lgan_jax.stages.train` takes them.

    Raises:
      InputError: for a generator that does not exist.

    Example:
      >>> stages(["lgan", "lgan_moves+affine", "affine"])
      ('autoencoder', 'lgan', 'shared', 'lgan_moves')
    """
    needed: list[str] = []
    for name in chosen:
        check(name)
        if is_latent(name):
            space = split_name(base(name))[1]
            needed.append("autoencoder" if space == OWN else "shared")
        if base(name) != "affine":
            needed.append(base(name))
    if sample_quality:
        needed.append("autoencoder")
    return tuple(dict.fromkeys(needed))
