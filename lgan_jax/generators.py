"""The generators by name, and the stages of training that each one needs.

A latent sampler learns in one of three spaces, which ends the generator's name:

  lgan          every class has its own autoencoder, and its own sampler of encodings;
  lgan_shared   a few autoencoders of all classes, in each a sampler for every class;
  lgan_moves    the same, in each one sampler of the moves inside all classes.

`vae` needs no sampler, and `affine` no model at all.
"""

from collections.abc import Iterable

from lgan_jax import samplers
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
