"""The presets of single images: CIFAR, faces, digits, and inference on MNIST.

`quick` and `full` train the small networks of Stacked MNIST, `quick` for minutes on two
CPU cores. `paper` is DCGAN's pair of networks, for ALI its own, at published settings
where they are known, and is for a GPU. `dense` is the set-up of the notebook
beside the VEEGAN authors' code, for inference on MNIST: images as vectors, networks of
one hidden layer, R trained by D as well in what is here `veegan_adversarial`.
"""

from typing import Any

from veegan_jax import methods
from veegan_jax.config import Config, Images, Optimizer, Photos
from veegan_jax.methods import rpgan, veegan_plus
from veegan_jax.networks.configs import ALI, MLP
from veegan_jax.presets import families, stacked_mnist

PRESETS = ("quick", "full", "paper", "dense")
SHAPES = {  # height, width, channels
    "cifar10": (32, 32, 3),
    "cifar100": (32, 32, 3),
    "faces": (64, 64, 3),
    "mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "digits": (8, 8, 1),
}
DATASETS = tuple(SHAPES)
NETWORKS = ("mlp", "dcgan", "ali")
DATA = (Images,)


def preset(
    name: str, method: str, dataset: str, latent_size: int | None = None
) -> Config:
    """Return the preset `name` of a method on a dataset of single images."""
    make = {"quick": quick, "full": full, "paper": paper, "dense": dense}[name]
    return make(method, dataset, latent_size)


def full(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """The small networks of Stacked MNIST, with a stage more for faces."""
    stages = 4 if dataset == "faces" else 3
    data = _data(dataset)
    return stacked_mnist.small_images(method, dataset, data, latent_size, stages)


def quick(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """The same networks, fewer steps of small batches: the most in a few minutes."""
    return stacked_mnist.hurry(full(method, dataset, latent_size))


def paper(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """DCGAN's networks; ALI's own, of CIFAR-10, for ALI there."""
    if method == "ali" and dataset.startswith("cifar"):
        latent_size = latent_size or 64
        return Config(
            method,
            dataset,
            steps=100_000,
            batch_size=100,
            latent_size=latent_size,
            data=_data(dataset),
            networks=ALI(dropout=0.5),
            objective=_objective(method, latent_size),
            optimizer=Optimizer(
                learning_rate=1e-4, learning_rate_d=1e-4, beta1=0.5, ema=0.999
            ),
        )
    latent_size = latent_size or 100
    losses = _objective(method, latent_size)
    return Config(
        method,
        dataset,
        steps=100_000,
        batch_size=families.batch_size(64, losses),
        latent_size=latent_size,
        data=_data(dataset),
        networks=stacked_mnist.networks(
            method,
            kernel_size=5,
            output_conv=False,
            generator_widths=(512, 256, 128, 64),
            reconstructor_widths=(64, 128, 256, 512),
            discriminator_widths=(64, 128, 256, 512),
            joint_widths=(1024,) if methods.sees_latents(method) else (),
        ),
        objective=losses,
        optimizer=families.optimizer(
            method, learning_rate=2e-4, beta2=0.999, ema=0.999
        ),
    )


def dense(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """Images as vectors: every network one hidden layer of 256, 50 epochs of MNIST."""
    latent_size = latent_size or 32
    drops = getattr(methods.get(method), "DROPS_UNITS", False)
    losses = _objective(method, latent_size)
    return Config(
        method,
        dataset,
        steps=15_000,
        batch_size=families.batch_size(200, losses),
        latent_size=latent_size,
        data=_data(dataset),
        networks=MLP(
            generator_widths=(256,),
            generator_noise=int(families.is_algorithm_1(method)),
            reconstructor_widths=(256,),
            discriminator_widths=(256,),
            kernel_init="he" if method in families.PLUS else "xavier",
            output_tanh=True,
            spectral_norm=method == "hinge",
            dropout=0.5 if drops else 0.0,
        ),
        objective=losses,
        optimizer=families.optimizer(
            method, learning_rate=1e-3, beta1=0.7, beta2=0.999
        ),
    )


def _objective(method: str, latent_size: int) -> Any:
    """Return the settings of a method's losses on single images."""
    if method == "veegan_plus":
        return veegan_plus.Objective(gamma=0.1, gamma_end=0.01)
    if method == "rpgan":
        return rpgan.Objective(gamma=0.1, gamma_end=0.01)
    return stacked_mnist.objective(method, latent_size)


def _data(dataset: str) -> Any:
    height, _, channels = SHAPES[dataset]
    return (Photos if dataset == "faces" else Images)(height, channels)
