"""Plots of the amplification experiment, from its models and its record.

Dimension key: K classes, N images, G generated images, X numbers of an image, H height,
W width, C channels, d encoding, E shared autoencoders, A shares.
"""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lgan_jax import autoencoder, generators, report, samplers, statistics
from lgan_jax.generators import OWN
from lgan_jax.options import ALL, NONE, SHARES
from lgan_jax.stages import Models
from lgan_jax.train_state import TrainState, to_uint8
from veegan_jax.common import plots

_SEED = 0  # the place of the seed that is shown: the first
_SHOWN = 8  # the class shown by itself, as in the blog post


def draw(
    models: Models,
    record: dict[str, Any],
    made: dict[str, np.ndarray],
    folder: pathlib.Path,
) -> list[str]:
    """Draw every plot that the run has models for.

    Args:
      models: of the run, trained.
      record: the run's.
      made: generator -> the first images of every class, uint8 [K, G, H, W, C].
      folder: gets the PNGs.

    Returns:
      Their names.
    """
    names = list(made)
    folder.mkdir(exist_ok=True)
    plot_of = {
        "random-eights": functools.partial(random_of_class, models, made),
        "all-classes": functools.partial(all_classes, models, made),
    }
    if names:
        plot_of["accuracy"] = functools.partial(accuracy, record, names)
    latent = [name for name in names if generators.is_latent(name)]
    used = {generators.split_name(generators.base(name))[1] for name in latent}
    own = [name for name in names if name in samplers.LATENT]
    known = models.task.count_SK[_SEED].min()
    if own and models.config.latent_size > 1 and known > 2:  # there is a plane
        plot_of["latents"] = functools.partial(latents, models, own)
    if used - {OWN}:
        plot_of["movement"] = functools.partial(movement, models)
    if OWN in used and used - {OWN}:
        plot_of["reconstructions"] = functools.partial(reconstructions, models)
    for name, plot in plot_of.items():
        plot(folder / f"{name}.png")
    return list(plot_of)


def random_of_class(
    models: Models, made: dict[str, np.ndarray], path: pathlib.Path
) -> None:
    """Draw the first images of one class by the first generator, under real ones."""
    k = min(_SHOWN, models.task.num_classes - 1)
    rows = {"real": _known(models, k, 64)} | {w: made[w][k] for w in list(made)[:1]}
    plots.image_grid(rows, path, f"class {k}: the first images, none picked")


def all_classes(
    models: Models, made: dict[str, np.ndarray], path: pathlib.Path
) -> None:
    """Draw the first three images of every class by every generator."""
    num = min([3, *models.task.count_SK[_SEED], *(x.shape[1] for x in made.values())])
    classes = range(models.task.num_classes)
    real = np.stack([_known(models, k, num) for k in classes])
    rows = {  # a class in each column
        label: x[:, :num].swapaxes(0, 1).reshape(-1, *models.task.shape)
        for label, x in ({"real": real} | made).items()
    }
    title = "the first images of every class, none picked"
    plots.image_grid(rows, path, title, columns=models.task.num_classes)


def movement(models: Models, path: pathlib.Path) -> None:
    """Draw images between a five and a nine, in a shared latent space."""
    classes = models.task.num_classes
    start, end = (5, 9) if classes > 9 else (0, classes - 1)
    config = models.config.shared()
    encode = functools.partial(autoencoder.encode, config=config)
    decode = functools.partial(autoencoder.decode, config=config)
    shared = jax.tree.map(lambda a: a[_SEED, 0], models.states["shared"])
    t_T1 = jnp.linspace(0, 1, 12)[:, None]
    rows = {}
    ends = zip(_pixels(models, start, 5), _pixels(models, end, 5), strict=True)
    for number, pair in enumerate(ends):
        y_2d = encode(shared, jnp.stack(pair))
        x_TX = decode(shared, (1 - t_T1) * y_2d[:1] + t_T1 * y_2d[1:])
        rows[f"pair {number}"] = _images(models, to_uint8(x_TX))
    plots.image_grid(rows, path, f"from the encoding of a {start} to that of a {end}")


def latents(models: Models, names: list[str], path: pathlib.Path) -> None:
    """Draw encodings of one class, real and sampled, in the plane of most variance."""
    k = min(_SHOWN, models.task.num_classes - 1)
    encodings = jax.tree.map(lambda a: a[_SEED, k], models.encodings[OWN])
    real_Nd = encodings.restore(encodings.unit[: encodings.count])
    center_1d = jnp.mean(real_Nd, axis=0, keepdims=True)
    _, _, basis_dd = jnp.linalg.svd(real_Nd - center_1d, full_matrices=False)

    def project(y_Nd: jax.Array) -> np.ndarray:
        return np.asarray((y_Nd - center_1d) @ basis_dd[:2].T)

    panels = {"real": project(real_Nd)}
    key = models.task.keys("sample")[_SEED]
    for name in names:
        state = jax.tree.map(lambda a: a[_SEED, k], models.states[name])
        y_Gd = samplers.get(name).sample(state, key, 600, config=models.config)
        panels[name] = project(y_Gd)
    plots.samples_and_density(
        panels,
        panels["real"],
        path,
        axes=("first direction", "second"),
        title=f"encodings of class {k}",
    )


def reconstructions(models: Models, path: pathlib.Path) -> None:
    """Draw known images and their reconstructions by both kinds of autoencoder."""
    classes = range(models.task.num_classes)
    x_NX = np.stack([_pixels(models, k, 1)[0] for k in classes])
    own, config = models.states["autoencoder"], models.config

    def one(state: TrainState, x_X: jax.Array, config: Any) -> jax.Array:
        y_1d = autoencoder.encode(state, x_X[None], config=config)
        return autoencoder.decode(state, y_1d, config=config)[0]

    by_own = [
        one(jax.tree.map(lambda a, k=k: a[_SEED, k], own), x_NX[k], config)
        for k in classes
    ]
    shared = jax.tree.map(lambda a: a[_SEED, 0], models.states["shared"])
    by_shared = [one(shared, x_NX[k], config.shared()) for k in classes]
    rows = {"real": x_NX, "own": jnp.stack(by_own), "shared": jnp.stack(by_shared)}
    rows = {label: _images(models, to_uint8(x)) for label, x in rows.items()}
    plots.image_grid(rows, path, "reconstructions, by each class's own and by a shared")


def accuracy(record: dict[str, Any], names: list[str], path: pathlib.Path) -> None:
    """Draw accuracy against the generated share, with intervals of the difference."""
    none_S = report.accuracies(record, NONE)[:, 0, -1]
    lines = {}
    for generator in names:
        found_SA = report.accuracies(record, generator)[:, :, -1]
        gains = [statistics.paired(found_SA[:, a], none_S) for a in range(len(SHARES))]
        lines[generator] = none_S.mean() + np.array(gains).T
    levels = {NONE: none_S.mean(), ALL: report.accuracies(record, ALL)[..., -1].mean()}
    plots.with_intervals(
        lines,
        [100 * share for share in SHARES],
        path,
        levels=levels,
        axes=("% of every batch generated", f"accuracy on {record['judged_by']}, %"),
        title=f"{record['known']:,} known images, {len(none_S)} seeds; "
        "95 % intervals of the paired differences to none",
    )


def _pixels(models: Models, k: int, num: int) -> np.ndarray:
    """Return the first known images of a class, in [0, 1], [num, X]."""
    rows = models.task.rows_SKN[_SEED, k, :num]
    return models.task.image_MX[rows].astype(np.float32) / 255


def _known(models: Models, k: int, num: int) -> np.ndarray:
    count = min(num, int(models.task.count_SK[_SEED, k]))
    return _images(models, models.task.image_MX[models.task.rows_SKN[_SEED, k, :count]])


def _images(models: Models, x_NX: Any) -> np.ndarray:
    """uint8 [N, H, W, C]."""
    return np.asarray(x_NX).reshape(-1, *models.task.shape)
