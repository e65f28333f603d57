"""The presets of the image experiments.

`paper` is the full DCGAN; `quarter` and `half` are the set-up that does not saturate
(Metz et al. 2017, appendix): a small pair, D with 1/4 or 1/2 of the channels. `quick`
is the quarter at a budget of minutes on two CPU cores, `wide` the same with a D that
can tell digits from blots. `best` is for a GPU.
"""

from typing import Any

from veegan_jax.common import errors
from veegan_jax.config import Config

PRESETS = ("quick", "wide", "paper", "quarter", "half", "best")
SIZES = {"stacked_mnist": 28, "stacked_digits": 8}  # height and width


def preset(name: str, method: str, dataset: str, **changes: Any) -> Config:
    """The named configuration of a method on a dataset of images.

    Args:
      name: one of PRESETS.
      method: a registered method; yours gets the plain GAN's networks.
      dataset: one of SIZES.
      **changes: fields that differ from the preset.

    Raises:
      InputError: for a name that does not exist; the message lists the valid ones.
    """
    if name not in PRESETS:
        raise errors.InputError(f"unknown preset {name!r}: one of {', '.join(PRESETS)}")
    if dataset not in SIZES:
        raise errors.InputError(
            f"unknown dataset {dataset!r}: one of {', '.join(SIZES)}"
        )
    make = {"quick": quick, "wide": wide, "paper": paper, "best": best}
    values = make[name](method) if name in make else small(method, name)
    values |= {"method": method, "dataset": dataset, "image_size": SIZES[dataset]}
    values |= {"data_size": 3 * SIZES[dataset] ** 2, "channels": 3}
    if "latent_size" in changes:
        values |= of_latent_size(method, changes["latent_size"])
    return Config(**(values | changes))


def paper(method: str) -> dict[str, Any]:
    """DCGAN's networks for every method, in PacGAN's set-up but for z ~ N(0, I)."""
    values = dict(
        steps=100_000,  # 50 epochs of the 128,000 stacks
        batch_size=64,
        num_stacks=128_000,
        latent_size=100,
        kernel_size=5,
        output_conv=False,
        generator_widths=(512, 256, 128, 64),
        reconstructor_widths=(64, 128, 256, 512),
        discriminator_widths=(64, 128, 256, 512),
        joint_widths=(1024,),
        init="normal",
        batch_norm=True,
        discriminator_norm=True,
        learning_rate=2e-4,
        learning_rate_d=2e-4,
        beta1=0.5,
        discriminator_every=2,
    )
    return values | variant(method, values)


def small(method: str, name: str) -> dict[str, Any]:
    """The K = 1/4 and K = 1/2 pairs of networks, 500,000 steps."""
    channels = {"quarter": (2, 4, 8), "half": (4, 8, 16)}[name]
    values = dict(
        steps=500_000,
        batch_size=128,
        latent_size=256,
        generator_widths=(64, 32, 16, 8),
        reconstructor_widths=(8, 16, 32),
        discriminator_widths=channels,
        joint_widths=(32,),
        init="normal",
        batch_norm=True,
        discriminator_norm=True,
        learning_rate=1e-4,
        learning_rate_d=2e-4,
        beta1=0.5,
        beta2=0.99,
    )
    return values | variant(method, values)


def quick(method: str) -> dict[str, Any]:
    """The quarter pair, large steps, a batch of 64, and D alike for all but its z."""
    values = small(method, "quarter") | dict(
        steps=2000,
        batch_size=64,
        latent_size=64,
        learning_rate=1e-3,
        learning_rate_d=1e-3,
    )
    return values | variant(method, values) | {"joint_widths": (32,)}


def wide(method: str) -> dict[str, Any]:
    """The quick pair with D as wide as R, twice the steps, annealed."""
    widths = dict(discriminator_widths=(8, 16, 32))
    return quick(method) | widths | dict(steps=4000, schedule="cosine")


def best(method: str) -> dict[str, Any]:
    """The quick pair with four times the channels, annealed; for a GPU."""
    values = quick(method) | dict(
        steps=50_000,
        batch_size=128,
        generator_widths=(256, 128, 64, 32),
        reconstructor_widths=(32, 64, 128),
        discriminator_widths=(32, 64, 128),
        schedule="cosine",
        ema=0.999,
    )
    return values | variant(method, values) | {"joint_widths": (256,)}


def variant(method: str, values: dict[str, Any]) -> dict[str, Any]:
    """What each method fixes, and what it changes in the shared values."""
    if method == "veegan_plus":
        # D's slope is penalised, so its batch must not mix examples: no BatchNorm.
        return dict(
            discriminator_norm=False,
            init="he",
            beta1=0.0,
            beta2=0.99,
            gamma=0.1,
            gamma_end=0.01,
        )
    if method.startswith("veegan"):
        algorithm_1 = dict(generator_noise=1, reconstructor_std=1.0)
        return {
            "veegan_adversarial": algorithm_1 | {"adversarial_reconstructor": True},
            "veegan_mean": algorithm_1 | of_latent_size(method, values["latent_size"]),
        }.get(method, algorithm_1)
    return {
        "ali": of_latent_size(method, values["latent_size"]),
        "pacgan": {"pack": 4, "joint_widths": ()},
    }.get(method, {"joint_widths": ()})


def of_latent_size(method: str, latent_size: int) -> dict[str, Any]:
    """What follows from the latent size, for the methods where something does."""
    return {
        "ali": {"reconstructor_noise": latent_size},
        "veegan_mean": {"reconstruction_weight": 1 / latent_size},
    }.get(method, {})


def ablations(config: Config) -> dict[str, dict[str, Any]]:
    """VEEGAN+'s choices: name -> the fields that undo one of them in `config`."""
    return {
        "everything": {},
        "reconstruction": {"reconstruction_weight": 0.0},
        "relativistic loss": {"relativistic": False},
        "penalty": {"gamma": 0.0},
        "fall of gamma": {"gamma_end": config.gamma},
        "R that D does not train": {"adversarial_reconstructor": True},
        "Adam without momentum": {"beta1": 0.5},
        "pairs judged alone": {"pack": 2},
        "float32": {"dtype": "bfloat16"},
    }
