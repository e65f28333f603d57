"""The presets of the mixture experiments.

`paper` is each method's published protocol; `quick` is one small set of networks and
one budget for all; `best` is the strongest VEEGAN known here.
"""

from typing import Any

import numpy as np

from veegan_jax.common import errors
from veegan_jax.config import Config
from veegan_jax.data import mixtures

PRESETS = ("quick", "paper", "best")
DATASETS = ("ring", "grid", "high_dim")


def preset(name: str, method: str, dataset: str, **changes: Any) -> Config:
    """The named configuration of a method on a dataset.

    Args:
      name: one of PRESETS.
      method: a registered method; the ones without a protocol of their own (yours)
        get the plain GAN's networks.
      dataset: one of DATASETS.
      **changes: fields that differ from the preset.

    Raises:
      InputError: for a name that does not exist; the message lists the valid ones.

    Example:
      >>> preset("paper", "veegan", "ring").latent_size
      254
    """
    if name not in PRESETS:
        raise errors.InputError(f"unknown preset {name!r}: one of {', '.join(PRESETS)}")
    if dataset not in DATASETS:
        raise errors.InputError(
            f"unknown dataset {dataset!r}: one of {', '.join(DATASETS)}"
        )
    values = {"quick": quick, "paper": paper, "best": best}[name](method, dataset)
    values |= {
        "method": method,
        "dataset": dataset,
        "data_size": mixtures.get(dataset).size,
    }
    return Config(**(values | changes))


def paper(method: str, dataset: str) -> dict[str, Any]:
    """The published protocol of each method, on every mixture.

    VEEGAN: its authors' 2-D code. Unrolled GAN: Metz et al.'s 2-D code, and the GAN
    is the same without unrolling. ALI: PacGAN's 2-D networks for it, 400k steps.
    """
    del dataset  # the published protocols do not depend on it
    if method == "ali":
        return dict(
            steps=400_000,
            batch_size=100,
            latent_size=2,
            generator_widths=(400, 400, 400, 400),
            reconstructor_widths=(400, 400),
            reconstructor_noise=2,
            discriminator_widths=(200, 200, 200),
            maxout=5,
            batch_norm=True,
            init="normal",
            learning_rate=1e-4,
            learning_rate_d=1e-4,
            beta1=0.8,
        )
    if method.startswith("veegan"):
        values = dict(
            steps=100_000,
            batch_size=500,
            latent_size=254,
            discriminator_widths=(128,),
        )
        return values | _variant(method, values["latent_size"])
    return dict(
        steps=25_000,
        batch_size=512,
        latent_size=256,
        activation="tanh",
        init="orthogonal",
        learning_rate=1e-3,
        learning_rate_d=1e-4,
    )


def quick(method: str, dataset: str) -> dict[str, Any]:
    """What a newcomer runs: one small set of networks and budget for every method."""
    if dataset == "high_dim":
        values = _networks_1200d() | dict(steps=2000)
    else:
        values = _networks_2d() | dict(steps=10_000)
    return values | _objective(method, dataset)


def best(method: str, dataset: str) -> dict[str, Any]:
    """The strongest VEEGAN known here; other methods get its networks and budget."""
    if dataset == "high_dim":
        values = _networks_1200d() | dict(
            steps=7000,
            batch_size=128,
            generator_widths=(128, 128, 128),
            discriminator_widths=(128, 128, 128),
        )
    else:
        values = _networks_2d() | dict(
            steps={"ring": 20_000, "grid": 32_000}[dataset],
            batch_size=128,
            generator_widths=(128, 128, 128, 128),
        )
    return values | _objective(method, dataset)


def _networks_2d() -> dict[str, Any]:
    """Two layers of 128 everywhere, averaging, annealing."""
    return dict(
        batch_size=64,
        latent_size=2,
        init="he",
        schedule="cosine",
        ema=0.999,
    )


def _networks_1200d() -> dict[str, Any]:
    """As in 2-D, but noise by a linear map, modes by a code, and moments for D."""
    return dict(
        batch_size=64,
        latent_size=2,
        init="he",
        activation="leaky_relu",
        generator_code=64,
        generator_noise=704,
        bias_std=1.0,
        moments=True,
        latent_gain=10.0,
        reconstructor_gain=1 / _rms("high_dim"),
        schedule="cosine",
        schedule_hold=0.4,
        ema=0.999,
    )


def _objective(method: str, dataset: str) -> dict[str, Any]:
    """VEEGAN+'s objective, each entry justified in results/README.md; others' own."""
    if method != "veegan_plus":
        noise = 704 if dataset == "high_dim" else 1
        return dict(beta1=0.5, beta2=0.999) | _variant(method, 2, generator_noise=noise)
    values = dict(adversarial_reconstructor=True, beta1=0.0, beta2=0.99)
    if dataset == "high_dim":
        return values | dict(
            reconstruction_weight=0.1,
            fourier_start=0.5,
            gamma=0.5,
            gamma_end=5e-3,
            gamma_decay_start=0.35,
            gamma_decay_end=1.0,
            # Slopes per unit in which the data's norm is 4, as on the grid.
            penalty_scale=0.25 * _rms(dataset) * 1200**0.5,
        )
    return values | dict(
        data_scale=_rms(dataset),
        fourier_size=16,
        fourier_scale=2.0,
        reconstruction_weight=0.6,
        gamma=0.1,
        gamma_end=1e-4,
    )


def _rms(dataset: str) -> float:
    """Root mean square of the data's coordinates, from its known means and sigma."""
    mixture = mixtures.get(dataset)
    noise = mixture.sigma**2 * mixture.live_size / mixture.size
    return float(np.sqrt((mixture.means_KX**2).mean() + noise))


def _variant(
    method: str, latent_size: int, *, generator_noise: int = 1
) -> dict[str, Any]:
    """What Algorithm 1 fixes, and what VEEGAN's named variants change in it."""
    algorithm_1 = dict(generator_noise=generator_noise, reconstructor_std=1.0)
    return {
        "veegan": algorithm_1,
        "veegan_adversarial": algorithm_1 | {"adversarial_reconstructor": True},
        "veegan_mean": algorithm_1 | {"reconstruction_weight": 1 / latent_size},
        "veegan_plus": {"adversarial_reconstructor": True},
        "ali": {"reconstructor_noise": 2},
        "pacgan": {"pack": 2},
    }.get(method, {})


def ablations(config: Config) -> dict[str, dict[str, Any]]:
    """VEEGAN+'s ingredients: name -> the fields that take it out of `config`.

    What `config` has more of than the quick preset (steps, examples, layers) counts
    as an ingredient too.
    """
    out = {
        "everything": {},
        "reconstruction": {"reconstruction_weight": 0.0},
        "adversarial R": {"adversarial_reconstructor": False},
        "relativistic loss": {"relativistic": False},
        "penalty": {"gamma": 0.0},
        "high gamma at first": {"gamma": config.gamma_end, "gamma_decay_start": 0.0},
        "fall of gamma": {"gamma_end": config.gamma},
        "annealed step size": {"schedule": "constant"},
        "averaging": {"ema": 0.0},
        "Adam without momentum": {"beta1": 0.5},
    }
    if config.fourier_size:
        out["Fourier features"] = {"fourier_size": 0}
    if config.moments:
        out["late sines and cosines"] = {"fourier_start": 0.0}
        out["moments in D"] = {"moments": False}
        out["code in G"] = {"generator_code": 0}
        out["hold of gamma"] = {"gamma_decay_start": 0.0}
    small = preset("quick", config.method, config.dataset)
    for name, fields in (
        ("longer run", ("steps",)),
        ("larger batch", ("batch_size",)),
        ("deeper networks", ("generator_widths", "discriminator_widths")),
    ):
        changes = {f: getattr(small, f) for f in fields}
        if any(getattr(config, f) != value for f, value in changes.items()):
            out[name] = changes
    return out
