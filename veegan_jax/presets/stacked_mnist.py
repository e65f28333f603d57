"""The presets of Stacked MNIST.

`paper` is the full DCGAN; `quarter` and `half` are the set-up that does not saturate
(Metz et al. 2017, appendix): a small pair, D with 1/4 or 1/2 of the channels. `quick`
is the quarter at a budget of minutes on two CPU cores, `wide` the same with a D that
can tell digits from blots. `best` is for a GPU.
"""

from typing import Any

from veegan_jax import methods
from veegan_jax.config import Config, Optimizer, Stacks
from veegan_jax.methods import ali, pacgan, veegan, veegan_plus
from veegan_jax.networks.configs import DCGAN

PRESETS = ("quick", "wide", "paper", "quarter", "half", "best")
SIZES = {"stacked_mnist": 28, "stacked_digits": 8}  # height and width
DATASETS = tuple(SIZES)
NETWORKS = ("dcgan",)
DATA = (Stacks,)


def preset(
    name: str, method: str, dataset: str, latent_size: int | None = None
) -> Config:
    """Return the preset `name` of a method on stacks of digits."""
    if name in ("quarter", "half"):
        return small(method, dataset, name, latent_size)
    make = {"quick": quick, "wide": wide, "paper": paper, "best": best}[name]
    return make(method, dataset, latent_size)


def paper(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """DCGAN's networks for every method, in PacGAN's set-up but for z ~ N(0, I)."""
    latent_size = latent_size or 100
    return Config(
        method,
        dataset,
        steps=100_000,  # 50 epochs of the 128,000 stacks
        batch_size=64,
        latent_size=latent_size,
        data=Stacks(SIZES[dataset], 3, num_stacks=128_000),
        networks=networks(
            method,
            kernel_size=5,
            output_conv=False,
            generator_widths=(512, 256, 128, 64),
            reconstructor_widths=(64, 128, 256, 512),
            discriminator_widths=(64, 128, 256, 512),
            joint_widths=(1024,) if sees_latents(method) else (),
        ),
        objective=objective(method, latent_size),
        optimizer=optimizer(
            method, learning_rate=2e-4, beta2=0.999, discriminator_every=2
        ),
    )


def small(
    method: str, dataset: str, name: str, latent_size: int | None = None
) -> Config:
    """The K = 1/4 and K = 1/2 pairs of networks, 500,000 steps."""
    latent_size = latent_size or 256
    return Config(
        method,
        dataset,
        steps=500_000,
        batch_size=128,
        latent_size=latent_size,
        data=Stacks(SIZES[dataset], 3),
        networks=networks(
            method,
            generator_widths=(64, 32, 16, 8),
            reconstructor_widths=(8, 16, 32),
            discriminator_widths={"quarter": (2, 4, 8), "half": (4, 8, 16)}[name],
            joint_widths=(32,) if sees_latents(method) else (),
        ),
        objective=objective(method, latent_size),
        optimizer=optimizer(method, learning_rate=1e-4, learning_rate_d=2e-4),
    )


def quick(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """The quarter pair, large steps, a batch of 64, and D alike for all but its z."""
    return small(method, dataset, "quarter", latent_size or 64).replace(
        steps=2000,
        batch_size=64,
        joint_widths=(32,),
        learning_rate=1e-3,
        learning_rate_d=1e-3,
    )


def wide(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """The quick pair with D as wide as R, twice the steps, annealed."""
    return quick(method, dataset, latent_size).replace(
        discriminator_widths=(8, 16, 32), steps=4000, schedule="cosine"
    )


def best(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """The quick pair with four times the channels, annealed; for a GPU."""
    return quick(method, dataset, latent_size).replace(
        steps=50_000,
        batch_size=128,
        generator_widths=(256, 128, 64, 32),
        reconstructor_widths=(32, 64, 128),
        discriminator_widths=(32, 64, 128),
        joint_widths=(256,),
        schedule="cosine",
        ema=0.999,
    )


def networks(method: str, **sizes: Any) -> DCGAN:
    """Return networks of the sizes given, with what the method fixes of them.

    VEEGAN+ penalizes D's slope, so D must not mix the examples of a batch: it has no
    BatchNorm. Algorithm 1 has a stochastic G.
    """
    if method == "veegan_plus":
        return DCGAN(discriminator_norm=False, kernel_init="he", **sizes)
    algorithm_1 = method.startswith("veegan")
    return DCGAN(generator_noise=1 if algorithm_1 else 0, **sizes)


def sees_latents(method: str) -> bool:
    """Whether D judges pairs (z, x)."""
    return methods.has_reconstructor(method)


def objective(method: str, latent_size: int) -> Any:
    """Return the settings of a method's losses. Algorithm 1 sums over the latent."""
    if method == "veegan_plus":
        return veegan_plus.Objective(gamma=0.1, gamma_end=0.01)
    if method == "veegan_adversarial":
        return veegan.Objective(adversarial_reconstructor=True)
    if method == "veegan_mean":
        return veegan.Objective(reconstruction_weight=1 / latent_size)
    if method == "ali":
        return ali.Objective(reconstructor_noise=latent_size)
    if method == "pacgan":
        return pacgan.Objective(pack=4)
    return methods.objective_class(method)()


def optimizer(
    method: str,
    learning_rate: float,
    learning_rate_d: float | None = None,
    beta1: float = 0.5,
    beta2: float = 0.99,
    **values: Any,
) -> Optimizer:
    """Return Adam with the values given; VEEGAN+ has no momentum."""
    plus = method == "veegan_plus"
    return Optimizer(
        learning_rate,
        learning_rate_d or learning_rate,
        beta1=0.0 if plus else beta1,
        beta2=0.99 if plus else beta2,
        **values,
    )


def ablations(config: Config) -> dict[str, dict[str, Any]]:
    """VEEGAN+'s choices: name -> the fields that undo one of them in `config`."""
    return {
        "everything": {},
        "reconstruction": {"reconstruction_weight": 0.0},
        "relativistic loss": {"relativistic": False},
        "penalty": {"penalty": False},
        "fall of gamma": {"gamma_end": config.objective.gamma},
        "R that D does not train": {"adversarial_reconstructor": True},
        "Adam without momentum": {"beta1": 0.5},
        "pairs judged alone": {"pack": 2},
        "float32": {"dtype": "bfloat16"},
    }
