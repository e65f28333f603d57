"""The ways to make more images, all behind `generate`.

    own, shared:  y ~ sampler of the class's encodings,  x' = S(y)
    moves:        i ~ the class's images, v ~ sampler of moves,  x' = S(E(x_i) + s v)

Of several shared autoencoders each makes as many images.

Dimension key: E shared autoencoders, K classes, M images of the data set, N images of a
class, G generated images of a class, X numbers of an image, d encoding.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lgan_jax import autoencoder, samplers, vae
from lgan_jax.config import Config
from lgan_jax.models import MOVES, OWN, SHARED, Models
from lgan_jax.samplers import affine
from veegan_jax.common import errors
from veegan_jax.runtime import rng

ON_TOP = "+affine"  # what is generated is then moved by `affine` as well


def names() -> tuple[str, ...]:
    """Every way, without those on top of another."""
    latent = tuple(samplers.LATENT)
    spaces = (OWN, SHARED, MOVES)
    return (*(n + space for space in spaces for n in latent), "vae", "affine")


def split_name(base: str) -> tuple[str, str]:
    """A latent sampler's name and the space it samples."""
    for space in (SHARED, MOVES):
        if base.endswith(space):
            return base.removesuffix(space), space
    return base, OWN


def check(way: str) -> None:
    """Refuses a way that does not exist.

    Raises:
      InputError: naming those that do.
    """
    base = way.removesuffix(ON_TOP)
    if base not in names() or way == f"affine{ON_TOP}":
        raise errors.InputError(
            f"unknown way to generate {way!r}: one of {', '.join(names())}, each but "
            f"affine also followed by {ON_TOP}"
        )


def generate(
    models: Models, way: str, s: int, num: int, *, draw: int = 0
) -> np.ndarray:
    """Generates from the models of one seed, which are trained if need be.

    Args:
      models: of all seeds.
      way: one of `names`, also followed by `ON_TOP`.
      s: the place of the seed.
      num: G, images of each class.
      draw: another number gives other images of the same models.

    Returns:
      uint8 [K, G, X].

    Raises:
      InputError: for an unknown way.
      loop.Interrupted, loop.NonFinite: see `Models`.
    """
    check(way)
    base = way.removesuffix(ON_TOP)
    task, config = models.task, models.config
    key, key_affine = (task.keys(use)[s] for use in ("sample", "affine"))
    if draw:
        other = jax.random.fold_in(task.keys("draw")[s], draw)
        key, key_affine = jax.random.split(other)
    keys_K = jax.random.split(key, models.num_classes)
    rows = task.rows_SKN[s], task.count_SK[s]
    if base == "affine":
        x = _known(keys_K, task.image_MX, *rows, num=num)
    elif base == "vae":
        params = _at(models.vaes.params, s)
        x = _from_vae(keys_K, params, config=config, num=num)
    else:
        x = _from_latents(models, base, keys_K, s, num)
    if base == "affine" or way.endswith(ON_TOP):
        x = _affine(key_affine, x, shape=task.shape)
    return np.asarray(x)


def _from_latents(
    models: Models, base: str, keys_K: jax.Array, s: int, num: int
) -> Any:
    name, space = split_name(base)
    sampler = _at(models.sampler(name, space), s)
    options = {"name": name, "config": models.space_config(space)}
    if space == OWN:
        params = _at(models.autoencoders.params, s)
        return _decoded(keys_K, sampler, params, **options, num=num)
    params, y_EKNd = _at((models.shared.params, models.shared_encodings), s)
    options["num"] = -(-num // len(y_EKNd))
    parts = []
    for e in range(len(y_EKNd)):
        of_e = jax.tree.map(lambda a, e=e: a[e], (sampler, params))
        keys_eK = jax.vmap(jax.random.fold_in, (0, None))(keys_K, e)
        if space == SHARED:
            every = jax.tree.map(
                lambda a: jnp.broadcast_to(a, (models.num_classes, *a.shape)), of_e[1]
            )
            parts.append(_decoded(keys_eK, of_e[0], every, **options))
        else:
            count_K = models.task.count_SK[s]
            parts.append(_moved(keys_eK, *of_e, y_EKNd[e], count_K, **options))
    x_KGEX = np.stack([np.asarray(part) for part in parts], axis=2)  # taking turns
    return x_KGEX.reshape(len(x_KGEX), -1, x_KGEX.shape[-1])[:, :num]


def _at(tree: Any, s: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[s], tree)


# One class after the other: what is decoded of one is many times its images.


@functools.partial(jax.jit, static_argnames=("name", "config", "num"))
def _decoded(
    keys_K: Any, sampler: Any, params: Any, *, name: str, config: Config, num: int
) -> jax.Array:
    def one(class_: Any) -> jax.Array:
        key, state, params = class_
        y_Gd = samplers.get(name).sample(state, key, num, config=config)
        return autoencoder.to_uint8(autoencoder.decode(params, y_Gd, config=config))

    return jax.lax.map(one, (keys_K, sampler, params))


@functools.partial(jax.jit, static_argnames=("name", "config", "num"))
def _moved(
    keys_K: Any,
    sampler: Any,
    params: Any,
    y_KNd: jax.Array,
    count_K: jax.Array,
    *,
    name: str,
    config: Config,
    num: int,
) -> jax.Array:
    def one(class_: Any) -> jax.Array:
        key, y_Nd, count = class_
        key_row, key_move = jax.random.split(key)
        start_Gd = y_Nd[rng.index(key_row, num, count)]
        move_Gd = samplers.get(name).sample(sampler, key_move, num, config=config)
        y_Gd = start_Gd + config.move_scale * move_Gd
        return autoencoder.to_uint8(autoencoder.decode(params, y_Gd, config=config))

    return jax.lax.map(one, (keys_K, y_KNd, jnp.asarray(count_K)))


@functools.partial(jax.jit, static_argnames=("config", "num"))
def _from_vae(keys_K: Any, params: Any, *, config: Config, num: int) -> jax.Array:
    def one(class_: Any) -> jax.Array:
        key, params = class_
        return autoencoder.to_uint8(vae.sample(params, key, num, config=config))

    return jax.lax.map(one, (keys_K, params))


@functools.partial(jax.jit, static_argnames="num")
def _known(
    keys_K: Any, image_MX: Any, rows_KN: Any, count_K: Any, *, num: int
) -> jax.Array:
    def one(class_: Any) -> jax.Array:
        key, rows_N, count = class_
        return jnp.asarray(image_MX)[rows_N[rng.index(key, num, count)]]

    return jax.lax.map(one, (keys_K, jnp.asarray(rows_KN), jnp.asarray(count_K)))


@functools.partial(jax.jit, static_argnames="shape")
def _affine(key: Any, x_KGX: jax.Array, *, shape: tuple[int, ...]) -> jax.Array:
    def one(class_: Any) -> jax.Array:
        key, x_GX = class_
        x_GHWC = autoencoder.to_unit(x_GX).reshape(-1, *shape)
        moved_GHWC = affine.sample(key, x_GHWC)
        return autoencoder.to_uint8(moved_GHWC.reshape(x_GX.shape))

    return jax.lax.map(one, (jax.random.split(key, len(x_KGX)), x_KGX))
