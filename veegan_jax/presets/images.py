"""The presets of single images: CIFAR-10, faces, digits, and inference on MNIST.

`quick` is small enough for minutes on two CPU cores. `paper` is DCGAN's pair of
networks, for ALI its own, at published settings where they are known; `best` is
VEEGAN+ with wide networks; both are for a GPU. `dense` is the set-up of the notebook
beside the VEEGAN authors' code, for inference on MNIST: images as vectors, networks of
one hidden layer, R trained by D as well in what is here `veegan_adversarial`.
"""

from typing import Any

from veegan_jax.common import errors
from veegan_jax.config import Config
from veegan_jax.presets import stacked_mnist as stacked_mnist_presets

PRESETS = ("quick", "paper", "best", "dense")
SHAPES = {  # height, width, channels
    "cifar10": (32, 32, 3),
    "faces": (64, 64, 3),
    "mnist": (28, 28, 1),
    "digits": (8, 8, 1),
}


def preset(name: str, method: str, dataset: str, **changes: Any) -> Config:
    """The named configuration of a method on a dataset of single images.

    Args:
      name: one of PRESETS.
      method: a registered method; yours gets the plain GAN's networks.
      dataset: one of SHAPES.
      **changes: fields that differ from the preset.

    Raises:
      InputError: for a name that does not exist; the message lists the valid ones.
    """
    if name not in PRESETS:
        raise errors.InputError(f"unknown preset {name!r}: one of {', '.join(PRESETS)}")
    if dataset not in SHAPES:
        raise errors.InputError(
            f"unknown dataset {dataset!r}: one of {', '.join(SHAPES)}"
        )
    make = {"quick": quick, "paper": paper, "best": best, "dense": dense}[name]
    height, width, channels = SHAPES[dataset]
    values = {"method": method, "dataset": dataset, "channels": channels}
    values |= {"data_size": height * width * channels, "image_size": height}
    values |= make(method, dataset)
    if "latent_size" in changes:
        values |= stacked_mnist_presets.of_latent_size(method, changes["latent_size"])
    return Config(**(values | changes))


def quick(method: str, dataset: str) -> dict[str, Any]:
    """A small pair of networks, one size and one budget for every method."""
    stages = 4 if dataset == "faces" else 3
    values = dict(
        steps=3000,
        batch_size=64,
        latent_size=64,
        generator_widths=(64, 32, 32, 16, 16)[: stages + 1],
        reconstructor_widths=(16, 32, 64, 64)[:stages],
        discriminator_widths=(16, 32, 64, 64)[:stages],
        joint_widths=(64,),
        init="normal",
        batch_norm=True,
        discriminator_norm=True,
        learning_rate=1e-3,
        learning_rate_d=1e-3,
        beta1=0.5,
        beta2=0.99,
        schedule="cosine",
        ema=0.99,
    )
    return (
        values | stacked_mnist_presets.variant(method, values) | {"joint_widths": (64,)}
    )


def paper(method: str, dataset: str) -> dict[str, Any]:
    """DCGAN's networks; ALI's own, of CIFAR-10, for ALI there."""
    values = dict(
        steps=100_000,
        batch_size=64,
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
        ema=0.999,
    )
    values |= stacked_mnist_presets.variant(method, values)
    if method == "ali" and dataset == "cifar10":
        values |= dict(
            architecture="ali",
            batch_size=100,
            latent_size=64,
            dropout=0.5,
            learning_rate=1e-4,
            learning_rate_d=1e-4,
        )
        values |= stacked_mnist_presets.of_latent_size(method, 64)
    return values


def best(method: str, dataset: str) -> dict[str, Any]:
    """The quick pair with four times the channels and twice the latent size."""
    values = quick(method, dataset)
    wider = {
        name: tuple(4 * width for width in values[name])
        for name in ("generator_widths", "reconstructor_widths", "discriminator_widths")
    }
    values |= wider | dict(
        steps=100_000, batch_size=128, latent_size=128, learning_rate=5e-4, ema=0.999
    )
    values |= dict(learning_rate_d=5e-4)
    return (
        values
        | stacked_mnist_presets.variant(method, values)
        | {"joint_widths": (256,)}
    )


def dense(method: str, dataset: str) -> dict[str, Any]:
    """Images as vectors: every network one hidden layer of 256, 50 epochs of MNIST."""
    del dataset
    values = dict(
        image_size=0,
        steps=15_000,
        batch_size=200,
        latent_size=32,
        generator_widths=(256,),
        reconstructor_widths=(256,),
        discriminator_widths=(256,),
        bounded=True,
        learning_rate=1e-3,
        learning_rate_d=1e-3,
        beta1=0.7,
    )
    values |= stacked_mnist_presets.variant(method, values)
    drops = method in ("ali", "veegan", "veegan_adversarial", "veegan_mean")
    return values | dict(dropout=0.5 if drops else 0.0)
