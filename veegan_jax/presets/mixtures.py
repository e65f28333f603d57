"""The presets of the mixture experiments.

`quick` is one small set of networks and one budget for all, and `long` the same for
five times the steps; `paper` is each method's published protocol; `best` is the
strongest VEEGAN known here.
"""

import dataclasses
from typing import Any

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.config import Config, Optimizer, Vectors
from veegan_jax.data import mixtures
from veegan_jax.methods import pacgan, rpgan, veegan, veegan_plus
from veegan_jax.networks.configs import MLP, CodeMLP
from veegan_jax.presets import families

PRESETS = ("quick", "long", "paper", "best")
DATASETS = ("ring", "grid", "high_dim")
# How steep D may be in `quick`. The published values fit other scales of data; these,
# of three or more a factor of ten apart, had the most filled modes on one or two seeds
# from 100, then the most modes, then the highest quality.
WEIGHTS = {
    "hinge": ("logit_gain", {"ring": 100.0, "grid": 100.0, "high_dim": 1.0}),
    "wgan_gp": ("slope_weight", {"ring": 1.0, "grid": 0.1, "high_dim": 10.0}),
    "meg": ("score_weight", {"ring": 1e-3, "grid": 0.1, "high_dim": 1.0}),
}
# For the help of --dataset.
DESCRIPTION = "; ".join(mixtures.describe(mixtures.get(name)) for name in DATASETS)
MORE = "or one like them, such as ring:modes=12,radius=2; or means.json"
NETWORKS = ("mlp", "code")
DATA = (Vectors,)


def preset(
    name: str, method: str, dataset: str, latent_size: int | None = None
) -> Config:
    """Return the preset `name` of a method on a mixture."""
    make = {"quick": quick, "long": long, "paper": paper, "best": best}[name]
    return make(method, dataset, latent_size)


def quick(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """The default: one small set of networks and one small budget for every method."""
    high_dim = mixtures.kind(dataset) == "high_dim"
    losses = _objective(method, dataset, latent_size or 2)
    return Config(
        method,
        dataset,
        steps=2000 if high_dim else 10_000,
        batch_size=families.batch_size(64, losses),
        latent_size=latent_size or 2,
        data=_data(method, dataset),
        networks=_code_networks(method, dataset) if high_dim else _networks(method),
        objective=losses,
        optimizer=_optimizer(method, dataset),
    )


def long(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """Five times the steps of `quick`: some rankings are another there."""
    config = quick(method, dataset, latent_size)
    return config.replace(steps=5 * config.steps)


def best(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """The strongest VEEGAN known here; other methods get its networks and budget."""
    config = quick(method, dataset, latent_size)
    batch_size = families.batch_size(128, config.objective)
    if mixtures.kind(dataset) == "high_dim":
        return config.replace(
            steps=7000,
            batch_size=batch_size,
            generator_widths=(128, 128, 128),
            discriminator_widths=(128, 128, 128),
        )
    return config.replace(
        steps={"ring": 20_000, "grid": 32_000}[mixtures.kind(dataset)],
        batch_size=batch_size,
        generator_widths=(128, 128, 128, 128),
    )


def paper(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """The published protocol of each method, on every mixture.

    VEEGAN: its authors' 2-D code. Unrolled GAN: Metz et al.'s 2-D code, and the GAN
    is the same without unrolling. ALI and PacGAN: those of PacGAN's paper, 400k steps.
    """
    data = Vectors(mixtures.get(dataset).size)
    if method in ("ali", "pacgan"):
        losses = (
            pacgan.Objective(pack=2)
            if method == "pacgan"
            else methods.ali.Objective(reconstructor_noise=2)
        )
        return Config(
            method,
            dataset,
            steps=400_000,
            batch_size=families.batch_size(100, losses),
            latent_size=latent_size or 2,
            data=data,
            networks=MLP(
                generator_widths=(400, 400, 400, 400),
                reconstructor_widths=(400, 400),
                discriminator_widths=(200, 200, 200),
                maxout=5,
                batch_norm=True,
                kernel_init="normal",
            ),
            objective=losses,
            optimizer=Optimizer(learning_rate=1e-4, learning_rate_d=1e-4, beta1=0.8),
        )
    if method.startswith("veegan"):
        latent_size = latent_size or 254
        objective = variant(method, latent_size)
        if method == "veegan_plus":
            objective = veegan_plus.Objective(
                adversarial_reconstructor=True, penalty=False
            )
        return Config(
            method,
            dataset,
            steps=100_000,
            batch_size=500,
            latent_size=latent_size,
            data=data,
            networks=MLP(
                generator_noise=0 if method == "veegan_plus" else 1,
                discriminator_widths=(128,),
            ),
            objective=objective,
        )
    losses = methods.objective_class(method)()
    return Config(
        method,
        dataset,
        steps=25_000,
        batch_size=families.batch_size(512, losses),
        latent_size=latent_size or 256,
        data=data,
        networks=MLP(
            activation="tanh",
            kernel_init="orthogonal",
            spectral_norm=method == "hinge",
        ),
        objective=losses,
        optimizer=Optimizer(learning_rate=1e-3, learning_rate_d=1e-4),
    )


def variant(method: str, latent_size: int) -> Any:
    """What Algorithm 1 fixes, what VEEGAN's named variants change, and other methods'.

    Algorithm 1 sums the reconstruction over the latent; `veegan_mean` averages it.
    """
    if method == "veegan_adversarial":
        return veegan.Objective(adversarial_reconstructor=True)
    if method == "veegan_mean":
        return veegan.Objective(reconstruction_weight=1 / latent_size)
    if method == "pacgan":
        return pacgan.Objective(pack=2)
    return methods.objective_class(method)()


def _data(method: str, dataset: str) -> Vectors:
    """VEEGAN+ and RpGAN read x in units of its root mean square, but for 1200-D."""
    scaled = method in families.PLUS and mixtures.kind(dataset) != "high_dim"
    mixture = mixtures.get(dataset)
    return Vectors(mixture.size, mixture.rms if scaled else 1.0)


def _networks(method: str) -> MLP:
    """Two layers of 128 everywhere; Algorithm 1 has a stochastic G."""
    if method in families.PLUS:
        return MLP(kernel_init="he", fourier_size=16, fourier_scale=2.0)
    return MLP(
        kernel_init="he",
        generator_noise=int(families.is_algorithm_1(method)),
        spectral_norm=method == "hinge",
    )


def _code_networks(method: str, dataset: str) -> CodeMLP:
    """As in 2-D, but noise by a linear map, modes by a code, and moments for D."""
    mixture = mixtures.get(dataset)
    return CodeMLP(
        kernel_init="he",
        activation="leaky_relu",
        generator_code=64,
        generator_noise=mixture.live_size + 4,
        bias_std=1.0,
        moment_features=True,
        latent_gain=10.0,
        reconstructor_gain=1 / mixture.rms,
        spectral_norm=method == "hinge",
    )


def _objective(method: str, dataset: str, latent_size: int) -> Any:
    """VEEGAN+'s objective, justified in results/ablations.md; others have their own."""
    kind = mixtures.kind(dataset)
    if method in WEIGHTS:
        name, of_kind = WEIGHTS[method]
        losses = methods.objective_class(method)()
        return dataclasses.replace(losses, **{name: of_kind[kind]})
    if method not in families.PLUS:
        return variant(method, latent_size)
    high_dim = kind == "high_dim"
    penalty: dict[str, Any] = dict(gamma=0.1, gamma_end=1e-4)
    if high_dim:
        mixture = mixtures.get(dataset)
        penalty = dict(
            fourier_start=0.5,
            gamma=0.5,
            gamma_end=5e-3,
            gamma_decay_start=0.35,
            gamma_decay_end=1.0,
            # Slopes per unit in which the data's norm is 4, as on the grid.
            penalty_scale=0.25 * mixture.rms * mixture.size**0.5,
        )
    if method == "rpgan":
        return rpgan.Objective(**penalty)
    return veegan_plus.Objective(
        adversarial_reconstructor=True,
        reconstruction_weight=0.1 if high_dim else 0.6,
        **penalty,
    )


def _optimizer(method: str, dataset: str) -> Optimizer:
    """Adam, annealed, G averaged."""
    return families.optimizer(
        method,
        learning_rate=1e-3,
        beta2=0.999,
        schedule="cosine",
        schedule_hold=0.4 if mixtures.kind(dataset) == "high_dim" else 0.0,
        ema=0.999,
    )


def ablations(config: Config) -> dict[str, dict[str, Any]]:
    """VEEGAN+'s ingredients: name -> the fields that take it out of `config`.

    What `config` has more of than the quick preset (steps, examples, layers) counts
    as an ingredient too.
    """
    out: dict[str, dict[str, Any]] = {
        "everything": {},
        "reconstruction": {"reconstruction_weight": 0.0},
        "adversarial R": {"adversarial_reconstructor": False},
        "relativistic loss": {"relativistic": False},
        "penalty": {"penalty": False},
        "high gamma at first": {
            "gamma": config.objective.gamma_end,
            "gamma_decay_start": 0.0,
        },
        "fall of gamma": {"gamma_end": config.objective.gamma},
        "annealed step size": {"schedule": "constant"},
        "averaging": {"ema": 0.0},
        "Adam without momentum": {"beta1": 0.5},
    }
    if config.networks.fourier_size:
        out["Fourier features"] = {"fourier_size": 0}
    if config.networks.moment_features:
        out["late sines and cosines"] = {"fourier_start": 0.0}
        out["moments in D"] = {"moment_features": False}
        out["code in G"] = {"networks": "mlp"}
        out["hold of gamma"] = {"gamma_decay_start": 0.0}
    small = quick(config.method, config.dataset)
    for name, fields in (
        ("longer run", ("steps",)),
        ("larger batch", ("batch_size",)),
        ("deeper networks", ("generator_widths", "discriminator_widths")),
    ):
        changes = {f: configs.get(small, f) for f in fields}
        if any(configs.get(config, f) != value for f, value in changes.items()):
            out[name] = changes
    return out
