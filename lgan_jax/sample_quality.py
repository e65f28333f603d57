"""Sample quality, beside accuracy: are generated images right, new and different?

Dimension key: G generated images, N real ones, H held-out real ones, D numbers of an
image or an encoding, K classes, X numbers of an image, J judged images of a class.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lgan_jax import autoencoder
from lgan_jax.stages import Models
from veegan_jax.classifier import network as pinned_classifiers
from veegan_jax.common import errors, records

METRICS = {
    "fidelity": "% of images that the pinned classifier assigns to their own class",
    "nearest": "median distance to a known image, over that of held-out real images",
    "vendi": "effective number of different images among 200 of a class",
    "coverage": "% of 200 known encodings with a generated one among their neighbours",
}
NEIGHBOURS = 5
_JUDGED = 200  # images of each class that are measured


def check(known_K: np.ndarray, every_K: np.ndarray, generated: int) -> None:
    """Refuse a run with too few images for a metric to exist.

    Args:
      known_K: number of known images of each class.
      every_K: number of all images of each class.
      generated: number of generated images of each class.

    Raises:
      InputError: naming what there are too few of.
    """
    least = NEIGHBOURS + 1
    for num, name in ((generated, "--generated"), (known_K.min(), "known images")):
        if num < least:
            raise errors.InputError(
                f"{name}: {num} of a class, and sample quality needs {least}; give "
                "more, or --nosample_quality"
            )
    if (known_K >= every_K).any():
        raise errors.InputError(
            "sample quality compares with images that are not known, and a class has "
            "none: give a smaller --fraction, or --nosample_quality"
        )


def measure(
    models: Models,
    label_M: np.ndarray,
    pinned: pinned_classifiers.Classifier,
    s: int,
    x_KGX: np.ndarray,
) -> dict[str, float]:
    """Average each of `METRICS` over the classes.

    Args:
      models: with the stage "autoencoder".
      label_M: of the whole data set.
      pinned: the classifier that judges labels.
      s: the place of the seed.
      x_KGX: generated images, uint8.
    """
    task, config = models.task, models.config
    states_K = jax.tree.map(lambda a: a[s], models.states["autoencoder"])
    judged_KJX = x_KGX[:, :_JUDGED]
    labels = np.repeat(np.arange(len(judged_KJX)), judged_KJX.shape[1])
    found = pinned_classifiers.classify(pinned, judged_KJX.reshape(-1, *task.shape))
    metrics = []
    for k, (rows, count) in enumerate(zip(*task.splits[s], strict=True)):
        state = jax.tree.map(lambda a, k=k: a[k], states_K)
        encode = functools.partial(autoencoder.encode, state, config=config)
        others = np.setdiff1d(np.flatnonzero(label_M == k), rows)
        known, held, made = (
            x.astype(np.float32) / 255
            for x in (
                task.image_MX[rows[:count]],
                task.image_MX[others[:_JUDGED]],
                judged_KJX[k],
            )
        )
        codes = (np.asarray(encode(x)) for x in (made, known))
        metrics.append(class_metrics(made, known, held, *codes))
    mean: dict[str, Any] = {n: np.mean([m[n] for m in metrics]) for n in metrics[0]}
    mean["fidelity"] = 100 * np.mean(found == labels)
    return {name: records.number(mean[name]) for name in METRICS}


def class_metrics(
    image_GD: np.ndarray,
    known_ND: np.ndarray,
    held_HD: np.ndarray,
    y_GD: np.ndarray,
    y_ND: np.ndarray,
) -> dict[str, float]:
    """Measure one class: all of `METRICS` but the fidelity.

    Args:
      image_GD: generated, pixels in [0, 1].
      known_ND: the known images.
      held_HD: real images that are not known.
      y_GD: encodings of the generated images.
      y_ND: encodings of the known images.
    """
    from scipy.spatial import distance  # takes a quarter of a second

    # The width is half the median distance: a median pair has a similarity of 0.14.
    width = 0.5 * np.median(distance.pdist(known_ND[:200]))
    far = np.median(nearest(held_HD, known_ND))
    num = min(len(y_GD), len(y_ND))
    return {
        "nearest": float(np.median(nearest(image_GD, known_ND)) / far),
        "vendi": vendi(image_GD[:200], width),
        "coverage": coverage(y_GD[:num], y_ND[:num]),
    }


def nearest(x_GD: np.ndarray, real_ND: np.ndarray) -> np.ndarray:
    """Return the distance of each image to the nearest real one, [G]: 0 is a copy."""
    square_G = jnp.sum(jnp.asarray(x_GD) ** 2, axis=1)
    square_N = jnp.sum(jnp.asarray(real_ND) ** 2, axis=1)
    square_GN = square_G[:, None] + square_N[None] - 2 * x_GD @ real_ND.T
    return np.sqrt(np.maximum(np.asarray(square_GN).min(axis=1), 0))


def vendi(x_GD: np.ndarray, width: float) -> float:
    """Return the Vendi score, 1 to G: exp of the entropy of similarity eigenvalues.

    Args:
      x_GD: images or encodings.
      width: of the Gaussian similarity exp(-|x - y|^2 / (2 width^2)).

    Source: Friedman and Dieng 2023.
    """
    from scipy.spatial import distance

    square_GG = distance.squareform(distance.pdist(x_GD, "sqeuclidean"))
    value_G = np.linalg.eigvalsh(np.exp(-square_GG / (2 * width**2)) / len(x_GD))
    value_G = value_G[value_G > 1e-12]
    return float(np.exp(-np.sum(value_G * np.log(value_G))))


def coverage(
    y_GD: np.ndarray, real_ND: np.ndarray, neighbours: int = NEIGHBOURS
) -> float:
    """Return the % of real points with a generated one within their k-th neighbour.

    Args:
      y_GD: generated. Give as many as real ones, to compare several generators.
      real_ND: more than `neighbours` of them.
      neighbours: k.

    Source: Naeem et al. 2020, "Reliable fidelity and diversity metrics", equation 8.
    """
    from scipy.spatial import distance

    radius_N = np.sort(distance.cdist(real_ND, real_ND), axis=1)[:, neighbours]
    closest_N = distance.cdist(real_ND, y_GD).min(axis=1)
    return 100 * float(np.mean(closest_N <= radius_N))
