"""Ways to make more images of a class, behind one interface.

Each latent sampler is a module with

    init(key, encodings, config) -> state
    train_step(state, axis_name, *, config) -> (state, metrics)     if it is trained
    sample(state, key, num, *, config) -> encodings [num, d]
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
    """A latent sampler by its name.

    Raises:
      InputError: naming those that exist.
    """
    if name not in LATENT:
        raise errors.InputError(f"unknown sampler {name!r}: one of {', '.join(LATENT)}")
    return LATENT[name]
