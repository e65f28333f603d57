"""Mixtures by name, by description, and from a file of means.

    ring                                       the paper's
    ring:modes=12,radius=2,sigma=.02           one like it
    grid:side=7,spacing=2,sigma=.05
    high_dim:size=100,live=50
    ring:imbalance=10                          the first mode 10 times the last
    my_modes.json                              {"means": [[0, 0], ...], "sigma": 0.1}

A file may give "sigmas" and "weights", one a mode, instead of the same for all. The
name that a run keeps ends in a digest of the file, so that a changed file is noticed.

Dimension key: K modes, X data dimensions.
"""

import dataclasses
import functools
import hashlib
import inspect
import json
import math
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from veegan_jax.common import errors, fields


@dataclasses.dataclass(frozen=True)
class Mixture:
    """A mixture of K isotropic Gaussians, equally weighted and wide unless told so.

    Only the first `live_size` of the `size` dimensions carry noise; in the others a
    sample equals its mean exactly.
    """

    name: str
    means: tuple[tuple[float, ...], ...]  # [K, X]
    sigma: float  # standard deviation of every live dimension; of the first mode
    live_size: int  # dimensions with noise, the first ones
    quality_radius: float  # a sample this many sigma from its mean is high quality
    where: str  # the means, in words
    sigmas: tuple[float, ...] = ()  # [K], where the modes differ in theirs
    weights: tuple[float, ...] = ()  # [K], where they differ; the sum is 1

    @property
    def size(self) -> int:
        return len(self.means[0])

    @property
    def num_modes(self) -> int:
        return len(self.means)

    @property
    def means_KX(self) -> np.ndarray:
        return np.asarray(self.means, np.float32)

    @property
    def sigma_K(self) -> np.ndarray:
        return np.asarray(self.sigmas or (self.sigma,) * self.num_modes, np.float32)

    @property
    def weight_K(self) -> np.ndarray:
        equal = (1 / self.num_modes,) * self.num_modes
        return np.asarray(self.weights or equal, np.float32)

    @property
    def rms(self) -> float:
        """Root mean square of the coordinates of a sample."""
        weight_K = np.asarray(self.weights or (1,) * self.num_modes, np.float64)
        sigma_K = np.asarray(self.sigmas or (self.sigma,) * self.num_modes)
        noise_K = sigma_K**2 * self.live_size / self.size
        square_K = (self.means_KX**2).mean(axis=1) + noise_K
        return float(np.sqrt(np.average(square_K, weights=weight_K)))


_CENTRES = (-1.0, -0.5, 0.0, 0.5, -2.0, -2.5, 10.0, 0.25, -13.0, -5.5)


def ring(
    modes: int = 8, radius: float = 1.0, sigma: float = 0.01, imbalance: float = 1.0
) -> Mixture:
    """Return modes on a circle; by default eight on the unit circle, sigma 0.01.

    VEEGAN paper, section 4.1. `linspace(0, 2 pi, 8)` would give seven: the
    angles here are multiples of 2 pi / 8. Metz et al. have radius 2 and sigma 0.02.
    """
    angles = 2 * np.pi * np.arange(modes) / modes
    means = tuple(
        (float(radius * np.cos(a)), float(radius * np.sin(a))) for a in angles
    )
    weights = _falling(modes, imbalance)
    where = f"on the circle of radius {radius:g}"
    return Mixture("ring", means, sigma, 2, 3.0, where, weights=weights)


def grid(
    side: int = 5, spacing: float = 2.0, sigma: float = 0.05, imbalance: float = 1.0
) -> Mixture:
    """Return modes on a square grid; by default 25 on {-4, ..., 4}^2. VEEGAN paper."""
    ticks = tuple(float(spacing * (i - (side - 1) / 2)) for i in range(side))
    means = tuple((x, y) for x in ticks for y in ticks)
    where = f"(x, y) with x and y of {_listed(ticks)}"
    weights = _falling(side**2, imbalance)
    return Mixture("grid", means, sigma, 2, 3.0, where, weights=weights)


def high_dim(
    size: int = 1200, live: int = 700, sigma: float = 1.0, imbalance: float = 1.0
) -> Mixture:
    """Return ten 700-D unit Gaussians in 1200 dimensions, the paper's mixture.

    The means are c * ones(1200) with c from PacGAN's release of this set; the last
    500 dimensions carry no noise.
    """
    means = tuple((c,) * size for c in _CENTRES)
    where = f"(c, c, ..., c) with c of {_listed(_CENTRES)}"
    weights = _falling(len(means), imbalance)
    return Mixture("high_dim", means, sigma, live, 10.0, where, weights=weights)


def two_modes() -> Mixture:
    """Return two 1-D Gaussians at -2 and 2, sigma 0.2: the paper's first figure."""
    return Mixture("two_modes", ((-2.0,), (2.0,)), 0.2, 1, 3.0, "at -2 and 2")


KINDS: dict[str, Callable[..., Mixture]] = {
    "ring": ring,
    "grid": grid,
    "high_dim": high_dim,
    "two_modes": two_modes,
}
_WITHIN = {
    "modes": "[1, 10_000]",
    "side": "[1, 100]",
    "size": "[1, 100_000]",
    "live": "[1, 100_000]",
    "radius": "(0, inf)",
    "spacing": "(0, inf)",
    "sigma": "(0, inf)",
    "imbalance": "[1, inf)",
}


def is_mixture(name: str) -> bool:
    """Whether a dataset is a mixture: its kind is known, or it is a JSON file's."""
    return name.partition(":")[0] in KINDS or _is_file(name)


def kind(name: str) -> str:
    """Return the kind whose presets fit a mixture: ring, grid, high_dim, ..."""
    if not _is_file(name):
        return name.partition(":")[0]
    return "grid" if get(name).size <= 3 else "high_dim"


def folder(name: str) -> str:
    """Return a name for a folder: without the signs of a description."""
    if _is_file(name):
        return pathlib.Path(name.partition("#")[0]).stem
    return re.sub("[:,]", "-", name).replace("=", "")


def canonical(name: str) -> str:
    """Return the one name of a mixture: only what differs from its kind, in order.

    A file's name gets the digest of its content.

    Raises:
      InputError: see `get`.

    Example:
      >>> canonical("ring:sigma=.02,modes=8")
      'ring:sigma=0.02'
    """
    if _is_file(name):
        path = os.path.expanduser(name.partition("#")[0])
        return f"{path}#{_digest(path)}"
    base, values = _parsed(name)
    defaults = _parameters(base)
    changed = [f"{k}={values[k]:g}" for k in defaults if values[k] != defaults[k]]
    return base + (f":{','.join(changed)}" if changed else "")


@functools.lru_cache
def get(name: str) -> Mixture:
    """Return the mixture of a name, a description or a file.

    Raises:
      InputError: if there is none; the message says what there is, or what is wrong.
    """
    if _is_file(name):
        return _read(name)
    base, values = _parsed(name)
    mixture = KINDS[base](**values)
    if mixture.live_size > mixture.size:
        raise errors.InputError(
            f"--dataset={name}: live={mixture.live_size} of size={mixture.size} "
            "dimensions carry noise: give at most as many"
        )
    return dataclasses.replace(mixture, name=canonical(name))


def describe(mixture: Mixture) -> str:
    """Describe a mixture in a line: its means, and sigma in the same unit.

    Example:
      >>> describe(get("ring"))
      'ring: 8 means on the circle of radius 1, sigma 0.01'
    """
    more = ""
    if mixture.live_size < mixture.size:
        more = f" in the first {mixture.live_size} of {mixture.size} dimensions, else 0"
    if mixture.weights:
        low, high = min(mixture.weights), max(mixture.weights)
        more += f", weights {low:.3g} to {high:.3g}"
    sigma = f"{mixture.sigma:g}"
    if mixture.sigmas:
        sigma = f"{min(mixture.sigmas):g} to {max(mixture.sigmas):g}"
    means = f"{mixture.num_modes} means {mixture.where}"
    return f"{mixture.name}: {means}, sigma {sigma}{more}"


def _is_file(name: str) -> bool:
    return name.partition("#")[0].endswith(".json")


def _parameters(base: str) -> dict[str, Any]:
    return {n: p.default for n, p in inspect.signature(KINDS[base]).parameters.items()}


def _parsed(name: str) -> tuple[str, dict[str, Any]]:
    """Split a description into its kind and all its parameters."""
    base, colon, rest = name.partition(":")
    if base not in KINDS:
        raise errors.InputError(
            f"unknown dataset {name!r}: one of {', '.join(KINDS)}, such as "
            "ring:modes=12,radius=2, or means.json"
        )
    values = _parameters(base)
    for part in rest.split(",") if colon else ():
        key, equals, text = part.partition("=")
        if not equals or key not in values:
            raise errors.InputError(
                f"--dataset={name}: {part!r} is no setting of {base}; it has "
                f"{', '.join(f'{k}={v:g}' for k, v in values.items()) or 'none'}"
            )
        values[key] = _number(text, type(values[key]), f"--dataset={name}: {key}")
        if refused := fields.refusal(values[key], _WITHIN[key].replace("_", "")):
            raise errors.InputError(f"--dataset={name}: {key}={text} {refused}")
    return base, values


def _number(text: str, kind_of: type, where: str) -> Any:
    try:
        value = kind_of(text)
    except ValueError:
        what = "a whole number" if kind_of is int else "a number"
        raise errors.InputError(f"{where}={text} must be {what}") from None
    if not math.isfinite(value):
        raise errors.InputError(f"{where}={text} must be finite")
    return value


def _falling(num: int, imbalance: float) -> tuple[float, ...]:
    """Weights that fall by a constant factor, the first `imbalance` times the last."""
    if imbalance == 1 or num == 1:
        return ()
    share = imbalance ** -(np.arange(num) / (num - 1))
    return tuple(float(s) for s in share / share.sum())


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(values))


def _digest(path: str) -> str:
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise errors.InputError(
            f"--dataset={path} cannot be read: {error.strerror}"
        ) from error
    return hashlib.sha256(content).hexdigest()[:8]


def _read(name: str) -> Mixture:
    """Read a file of means; a name with a digest refuses another content."""
    path, _, digest = name.partition("#")
    found = _digest(path)
    if digest and digest != found:
        raise errors.InputError(
            f"{path} has changed since this run began (it was {digest}, now {found}): "
            "put the earlier file back, or begin in another --workdir"
        )
    try:
        content = json.loads(pathlib.Path(path).read_text())
    except ValueError as error:
        raise errors.InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict) or "means" not in content:
        raise errors.InputError(
            f'{path} must hold {{"means": [[...], ...], "sigma": ...}}'
        )
    if unknown := set(content) - {"means", "sigma", "sigmas", "weights"}:
        raise errors.InputError(
            f"{path}: unknown {', '.join(sorted(unknown))}; it may hold means, sigma "
            "or sigmas, and weights"
        )
    means_KX = _array(content["means"], path, "means", 2)
    num, size = means_KX.shape
    if len(np.unique(means_KX.astype(np.float32), axis=0)) < num:
        raise errors.InputError(f"{path}: two means are at one place; leave one out")
    if ("sigma" in content) == ("sigmas" in content):
        raise errors.InputError(f"{path}: give sigma, or sigmas with one a mode")
    width = "sigma" if "sigma" in content else "sigmas"
    given = content[width] if width == "sigmas" else [content[width]] * num
    sigma_K = _array(given, path, width, 1)
    weight_K = _array(content.get("weights", [1 / num] * num), path, "weights", 1)
    for what, values in ((width, sigma_K), ("weights", weight_K)):
        if len(values) != num:
            raise errors.InputError(
                f"{path}: {len(values)} {what} for {num} means; give one a mode"
            )
        if not (values > 0).all():
            raise errors.InputError(f"{path}: {what} must be above 0")
    if abs(weight_K.sum() - 1) > 1e-6:
        raise errors.InputError(
            f"{path}: the weights sum to {weight_K.sum():g}, not to 1"
        )
    return Mixture(
        name,
        tuple(map(tuple, means_KX.tolist())),
        float(sigma_K[0]),
        size,
        # As many true samples lie within as within 3 sigma in the plane.
        float(np.sqrt(scipy.special.chdtri(size, math.exp(-(3.0**2) / 2)))),
        f"of {pathlib.Path(path).name}",
        sigmas=tuple(sigma_K.tolist()) if "sigmas" in content else (),
        weights=tuple(weight_K.tolist()) if "weights" in content else (),
    )


def _array(value: Any, path: str, what: str, ndim: int) -> np.ndarray:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.ndim != ndim or not array.size or not np.isfinite(array).all():
        shape = "a list of lists of equal length" if ndim == 2 else "a list"
        raise errors.InputError(f"{path}: {what} must be {shape}, of finite numbers")
    return array
