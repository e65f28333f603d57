"""What a run computes, as one frozen dataclass, and the named presets.

A `Config` is hashable (it is a static argument of jit) and holds everything that
changes the numbers; where and how to run is no part of it.
"""

import dataclasses
from typing import Any

import numpy as np

from veegan_jax.common import errors
from veegan_jax.data import mixtures

PRESETS = ("quick", "paper", "best")
DATASETS = ("ring", "grid", "high_dim")


def _field(default: Any, group: str, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"group": group, "help": text})


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyper-parameters. Each field is also a flag of the training scripts."""

    method: str = _field(
        "veegan",
        "main",
        "a method of the README, or all: its table (default: veegan_plus)",
    )
    dataset: str = _field(
        "ring", "main", "ring, grid, high_dim, or all (default: ring)"
    )
    steps: int = _field(10_000, "main", "training steps")
    batch_size: int = _field(500, "main", "examples per step, over all devices")
    latent_size: int = _field(2, "main", "dimensions of z ~ N(0, I)")

    data_size: int = _field(2, "networks", "dimensions of x; set by the dataset")
    data_scale: float = _field(
        1.0, "networks", "G's unit of x; veegan_plus reads x / this, too"
    )
    generator_widths: tuple[int, ...] = _field(
        (128, 128), "networks", "hidden layers of G"
    )
    generator_noise: int = _field(
        0, "networks", "noise inputs of G beside z, never reconstructed"
    )
    generator_code: int = _field(
        0, "networks", "G = linear map of (z, noise) + table of this many units; 0: MLP"
    )
    reconstructor_widths: tuple[int, ...] = _field(
        (128, 128), "networks", "hidden layers of R"
    )
    reconstructor_gain: float = _field(1.0, "networks", "R reads x times this")
    reconstructor_noise: int = _field(
        0, "networks", "noise inputs of R beside x (ALI's stochastic encoder)"
    )
    reconstructor_std: float = _field(
        0.0, "networks", "standard deviation of z around R(x), as D sees it"
    )
    discriminator_widths: tuple[int, ...] = _field(
        (128, 128), "networks", "hidden layers of D"
    )
    activation: str = _field("relu", "networks", "relu, leaky_relu or tanh")
    init: str = _field(
        "xavier", "networks", "kernels: xavier, he, orthogonal or normal"
    )
    maxout: int = _field(0, "networks", "maxout pieces in D; 0: the activation")
    batch_norm: bool = _field(False, "networks", "BatchNorm in G")
    bias_std: float = _field(
        0.0, "networks", "standard deviation of D's first hidden biases"
    )
    moments: bool = _field(
        False, "networks", "D reads the mean, the centred x and its square"
    )
    latent_gain: float = _field(1.0, "networks", "D reads z times this")
    fourier_size: int = _field(
        0, "networks", "random Fourier features of x in D and R; 0: none"
    )
    fourier_scale: float = _field(
        1.0, "networks", "standard deviation of their frequencies"
    )

    image_size: int = _field(
        0, "images", "height and width of x; 0: vectors; set by the dataset"
    )
    channels: int = _field(3, "images", "of x; set by the dataset")
    num_stacks: int = _field(
        0, "images", "stacks in a fixed list to train on; 0: fresh ones every step"
    )
    kernel_size: int = _field(3, "images", "of every convolution")
    output_conv: bool = _field(
        True, "images", "G ends in a convolution, not in a transposed one"
    )
    discriminator_norm: bool = _field(False, "images", "BatchNorm in D")
    joint_widths: tuple[int, ...] = _field(
        (), "images", "hidden layers of D where features of x meet z"
    )
    dtype: str = _field("float32", "images", "of activations: float32 or bfloat16")

    pack: int = _field(1, "objective", "pacgan, veegan_plus: samples D sees at once")
    wave_start: float = _field(
        0.0, "networks", "share of the run before D sees sines and cosines of x"
    )

    reconstruction_weight: float = _field(
        1.0, "objective", "weight of 1/2 sum (z - R(G(z)))^2"
    )
    adversarial_reconstructor: bool = _field(
        False, "objective", "R is also trained to fool D, through (R(x), x)"
    )
    relativistic: bool = _field(
        True, "objective", "veegan_plus: D's logits are compared pairwise"
    )
    gamma: float = _field(0.0, "objective", "gradient penalty at the first step")
    gamma_end: float = _field(0.0, "objective", "gradient penalty at the last step")
    gamma_hold: float = _field(
        0.0, "objective", "share of the run before the penalty begins to fall"
    )
    gamma_fraction: float = _field(
        0.7, "objective", "share of the run at which it reaches gamma_end"
    )
    penalty_scale: float = _field(
        1.0, "objective", "unit of x / data_scale in which slopes are penalised"
    )
    unrolled_steps: int = _field(5, "objective", "updates of D unrolled for G's loss")

    learning_rate: float = _field(1e-3, "optimiser", "Adam step size of G and R")
    learning_rate_d: float = _field(1e-3, "optimiser", "Adam step size of D")
    beta1: float = _field(0.5, "optimiser", "Adam beta1")
    beta2: float = _field(0.999, "optimiser", "Adam beta2")
    discriminator_every: int = _field(1, "optimiser", "steps of G and R to one of D")
    schedule: str = _field("constant", "optimiser", "constant, or cosine down to 0")
    schedule_hold: float = _field(
        0.0, "optimiser", "share of the run before the cosine begins"
    )
    ema: float = _field(0.0, "optimiser", "decay of G's average; 0: none")

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "latent_size",
            "data_size",
            "pack",
            "discriminator_every",
        ):
            if getattr(self, name) <= 0:
                raise errors.InputError(
                    f"--{name}={getattr(self, name)} must be at least 1"
                )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise errors.InputError(
                    f"--{name}={getattr(self, name)!r} must be one of "
                    f"{', '.join(choices)}"
                )
        if self.batch_size % self.pack:
            raise errors.InputError(
                f"--batch_size={self.batch_size} must be a multiple of "
                f"--pack={self.pack}"
            )
        if self.gamma and not 0 < self.gamma_end <= self.gamma:
            raise errors.InputError(
                f"--gamma_end={self.gamma_end} must be above 0 and at most "
                f"--gamma={self.gamma}"
            )
        if not 0 <= self.gamma_hold < self.gamma_fraction <= 1:
            raise errors.InputError(
                f"--gamma_hold={self.gamma_hold} must be at least 0 and below "
                f"--gamma_fraction={self.gamma_fraction}, that at most 1"
            )
        if not 0 <= self.schedule_hold < 1:
            raise errors.InputError(
                f"--schedule_hold={self.schedule_hold} must be in [0, 1)"
            )


_CHOICES = {
    "activation": ("relu", "leaky_relu", "tanh"),
    "init": ("xavier", "he", "orthogonal", "normal"),
    "schedule": ("constant", "cosine"),
    "dtype": ("float32", "bfloat16"),
}


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
            wave_start=0.5,
            gamma=0.5,
            gamma_end=5e-3,
            gamma_hold=0.35,
            gamma_fraction=1.0,
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
        "high gamma at first": {"gamma": config.gamma_end, "gamma_hold": 0.0},
        "fall of gamma": {"gamma_end": config.gamma},
        "annealed step size": {"schedule": "constant"},
        "averaging": {"ema": 0.0},
        "Adam without momentum": {"beta1": 0.5},
    }
    if config.fourier_size:
        out["Fourier features"] = {"fourier_size": 0}
    if config.moments:
        out["late sines and cosines"] = {"wave_start": 0.0}
        out["moments in D"] = {"moments": False}
        out["code in G"] = {"generator_code": 0}
        out["hold of gamma"] = {"gamma_hold": 0.0}
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
