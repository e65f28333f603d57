"""Anyone's samples beside real examples, in a space of features: every measure.

One half of the real examples is the reference. The other half stands for a perfect
generator: what it scores is the floor, or the ceiling, of each measure. Samples and
this half are equally many.

Dimension key: N real examples, M samples, F features, H height, W width, C channels.
"""

import dataclasses
from typing import Any

import numpy as np

from veegan_jax.common import errors, fields, records
from veegan_jax.metrics import coverage, feature_cells, feature_distances, pca

FEATURES = ("auto", "given", "pixels", "pca")
METRICS = coverage.METRICS | feature_cells.METRICS | feature_distances.METRICS


@dataclasses.dataclass(frozen=True)
class Options:
    """How samples are compared."""

    features: str = fields.field(
        "auto",
        "given (2-D arrays), pixels, or pca of the real images (default: given, or pca "
        "for images)",
        "main",
        choices=FEATURES,
    )
    components: int = fields.field(
        64, "principal components of images", "main", within="[1, 4096]"
    )
    neighbours: int = fields.field(
        5, "k of precision, recall, density, coverage", "main", within="[1, 1000]"
    )
    cells: int = fields.field(
        100, "cells of k-means for ndb and jsd", "main", within="[2, 10000]"
    )
    seed: int = fields.field(
        0, "of the halves, the cells and the subsets", "main", within="[0, 2**31)"
    )

    def __post_init__(self) -> None:
        fields.check(self)


def made(
    real: np.ndarray, fake: np.ndarray, options: Options
) -> tuple[np.ndarray, np.ndarray, str]:
    """Make features [N, F] of both sets: (real, fake, what they are).

    Raises:
      InputError: for sets that cannot be compared.
    """
    if real.ndim != fake.ndim or real.shape[1:] != fake.shape[1:]:
        raise errors.InputError(
            f"real examples have shape {real.shape[1:]} and samples {fake.shape[1:]}: "
            "make both in one way"
        )
    is_image = real.ndim == 4
    kind = options.features
    if kind == "auto":
        kind = "pca" if is_image else "given"
    if (kind == "given") == is_image:
        what = "images" if is_image else "features already"
        raise errors.InputError(
            f"--features={kind}: the files hold {what}; leave the flag out"
        )
    if not is_image:
        return real, fake, f"{real.shape[1]} features as given"
    real, fake = (x.reshape(len(x), -1) for x in (real, fake))
    if kind == "pixels":
        return real, fake, f"{real.shape[1]} pixel values"
    found = pca.fit(real, options.components)
    real, fake = ((x - found.mean_X) @ found.vector_XK for x in (real, fake))
    return real, fake, f"{real.shape[1]} principal components of the real images"


def measure(real_NF: np.ndarray, fake_MF: np.ndarray, options: Options) -> dict:
    """Score samples and the held-out half of the real examples alike.

    Returns:
      "samples" and "real": name -> value; "error": name -> standard error of the
      samples' value, over the draw of the samples; "compared": how many examples of
      each; and "missing": indices of real examples, those first that samples are
      farthest from (over the radius of their ball), "distance": that ratio.

    Raises:
      InputError: if there are too few examples.
    """
    generator = np.random.default_rng(options.seed)
    order = generator.permutation(len(real_NF))
    half = len(real_NF) // 2
    least = max(2 * options.cells, 2 * (options.neighbours + 1))
    if half < least or len(fake_MF) < options.neighbours + 1:
        raise errors.InputError(
            f"{len(real_NF)} real examples and {len(fake_MF)} samples are too few for "
            f"--cells={options.cells} and --neighbours={options.neighbours}: give at "
            f"least {2 * least} and {options.neighbours + 1}, or smaller numbers"
        )
    size = min(half, len(fake_MF))
    reference_NF = real_NF[order[:half]]
    perfect_MF = real_NF[order[half : half + size]]
    fake_MF = fake_MF[generator.permutation(len(fake_MF))[:size]]
    of_samples, error = _scores(reference_NF, fake_MF, options)
    of_real, _ = _scores(reference_NF, perfect_MF, options)
    ratio_N = coverage.distances(reference_NF, fake_MF, options.neighbours)
    worst = np.argsort(-ratio_N, kind="stable")
    return {
        "samples": of_samples,
        "real": of_real,
        "error": error,
        "compared": {"reference": half, "samples": size},
        "missing": order[:half][worst],
        "distance": ratio_N[worst],
    }


def _scores(
    real_NF: np.ndarray, fake_MF: np.ndarray, options: Options
) -> tuple[dict[str, float], dict[str, float]]:
    found = coverage.evaluate(real_NF, fake_MF, options.neighbours)
    values = {name: one.value for name, one in found.items()}
    error = {name: one.error for name, one in found.items()}
    cells = feature_cells.evaluate(real_NF, fake_MF, options.cells, options.seed)
    values["kernel"], error["kernel"] = feature_distances.kernel(
        real_NF, fake_MF, seed=options.seed
    )

    def of_some(index_M: np.ndarray) -> dict[str, float]:
        some_MF = fake_MF[index_M]
        found = [*feature_cells.compare(cells.real_K, cells.fake_cell_M[index_M])]
        found.append(feature_distances.frechet(real_NF, some_MF))
        found += feature_distances.entropies(some_MF)
        names = ("ndb", "jsd", "frechet", "vendi", "rke")
        return dict(zip(names, found, strict=True))

    index_M = np.arange(len(fake_MF))
    values |= of_some(index_M)
    return values, error | feature_distances.jackknife(of_some, index_M, options.seed)


def table(found: dict[str, Any]) -> str:
    """Return the measures as Markdown: samples, a perfect generator, and meanings."""
    rows = []
    for name, meaning in METRICS.items():
        value = records.cell(found["samples"][name], found["error"][name])
        rows.append([name, value, records.cell(found["real"][name]), meaning])
    header = ["", "samples ± standard error", "real, held out", "meaning"]
    return records.table(header, rows)
