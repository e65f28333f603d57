"""Samplers of a class's encodings, behind one interface.

Each is a module with

    init(key, encodings, config) -> state
    train_step(state, y_Bd, *, config, axis_name=None) -> (state, metrics)  if trained
    sample(state, key, n, *, config) -> encodings [n, d]
"""

from types import ModuleType

from lgan_jax.samplers import decoded, gaussian, lgan, mixup, plain_gan
from veegan_jax.common import errors

LATENT: dict[str, ModuleType] = {
    "lgan": lgan,
    "plain_gan": plain_gan,
    "gaussian": gaussian,
    "mixup": mixup,
    "decoded": decoded,
}


def get(name: str) -> ModuleType:
    """Look up a latent sampler by its name.

    Raises:
      InputError: naming those that exist.
    """
    if name not in LATENT:
        raise errors.InputError(f"unknown sampler {name!r}: one of {', '.join(LATENT)}")
    return LATENT[name]
