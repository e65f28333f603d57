"""More images of every class, by each generator, all behind `generate`.

    own, shared:  y ~ sampler of the class's encodings,  x' = S(y)
    moves:        i ~ the class's images, v ~ sampler of moves,  x' = S(E(x_i) + s v)

Where several autoencoders are shared, each makes equally many images.

Dimension key: E shared autoencoders, K classes, M images of the data set, N images of a
class, G generated images of a class, X numbers of an image, d encoding.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lgan_jax import autoencoder, generators, samplers, vae
from lgan_jax.config import Config
from lgan_jax.generators import OWN, SHARED
from lgan_jax.samplers import affine
from lgan_jax.stages import Models, space_config
from lgan_jax.train_state import to_uint8, to_unit
from veegan_jax.runtime import numerics, rng


@numerics.standard
def generate(
    models: Models, generator: str, s: int, num: int, *, draw: int = 0
) -> np.ndarray:
    """Generate images by the models of one seed.

    Args:
      models: with the stages that `generators.stages` lists for the generator.
      generator: one of `generators.names`, also followed by `generators.ON_TOP`.
      s: the place of the seed.
      num: G, images of each class.
      draw: another number gives other images of the same models.

    Returns:
      uint8 [K, G, X].

    Raises:
      InputError: for an unknown generator.
    """
    generators.check(generator)
    base = generators.base(generator)
    task, config = models.task, models.config
    key, key_affine = (task.keys(use)[s] for use in ("sample", "affine"))
    if draw:
        other = jax.random.fold_in(task.keys("draw")[s], draw)
        key, key_affine = jax.random.split(other)
    keys_K = jax.random.split(key, task.num_classes)
    rows = task.rows_SKN[s], task.count_SK[s]
    if base == "affine":
        x = _known(keys_K, task.image_MX, *rows, num=num)
    elif base == "vae":
        x = _from_vae(keys_K, _at(models.states["vae"], s), config=config, num=num)
    else:
        x = _from_latents(models, base, keys_K, s, num)
    if base == "affine" or generator.endswith(generators.ON_TOP):
        x = _affine(key_affine, x, shape=task.shape)
    return np.asarray(x)


def _from_latents(
    models: Models, base: str, keys_K: jax.Array, s: int, num: int
) -> Any:
    name, space = generators.split_name(base)
    sampler = _at(models.states[base], s)
    options = {"name": name, "config": space_config(models.config, space)}
    if space == OWN:
        autoencoder_K = _at(models.states["autoencoder"], s)
        return _decoded(keys_K, sampler, autoencoder_K, **options, num=num)
    shared_E, y_EKNd = _at((models.states["shared"], models.shared_encodings), s)
    options["num"] = -(-num // len(y_EKNd))
    classes, count_K = models.task.num_classes, models.task.count_SK[s]
    parts = []
    for e in range(len(y_EKNd)):
        sampler_e, shared_e = _at((sampler, shared_E), e)
        keys_eK = jax.vmap(jax.random.fold_in, (0, None))(keys_K, e)
        if space == SHARED:
            every = jax.tree.map(
                lambda a: jnp.broadcast_to(a, (classes, *a.shape)), shared_e
            )
            parts.append(_decoded(keys_eK, sampler_e, every, **options))
        else:
            parts.append(
                _moved(keys_eK, sampler_e, shared_e, y_EKNd[e], count_K, **options)
            )
    x_KGEX = np.stack([np.asarray(part) for part in parts], axis=2)  # taking turns
    return x_KGEX.reshape(len(x_KGEX), -1, x_KGEX.shape[-1])[:, :num]


def _at(tree: Any, s: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[s], tree)


# One class after the other: the decoded images of one already take much memory.


@functools.partial(jax.jit, static_argnames=("name", "config", "num"))
def _decoded(
    keys_K: Any, sampler: Any, state: Any, *, name: str, config: Config, num: int
) -> jax.Array:
    def one(class_: Any) -> jax.Array:
        key, sampler, state = class_
        y_Gd = samplers.get(name).sample(sampler, key, num, config=config)
        return to_uint8(autoencoder.decode(state, y_Gd, config=config))

    return jax.lax.map(one, (keys_K, sampler, state))


@functools.partial(jax.jit, static_argnames=("name", "config", "num"))
def _moved(
    keys_K: Any,
    sampler: Any,
    state: Any,
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
        return to_uint8(autoencoder.decode(state, y_Gd, config=config))

    return jax.lax.map(one, (keys_K, y_KNd, jnp.asarray(count_K)))


@functools.partial(jax.jit, static_argnames=("config", "num"))
def _from_vae(keys_K: Any, state: Any, *, config: Config, num: int) -> jax.Array:
    def one(class_: Any) -> jax.Array:
        key, state = class_
        return to_uint8(vae.sample(state, key, num, config=config))

    return jax.lax.map(one, (keys_K, state))


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
        x_GHWC = to_unit(x_GX).reshape(-1, *shape)
        moved_GHWC = affine.sample(key, x_GHWC)
        return to_uint8(moved_GHWC.reshape(x_GX.shape))

    return jax.lax.map(one, (jax.random.split(key, len(x_KGX)), x_KGX))
