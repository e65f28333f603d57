"""What a run computes, as one frozen dataclass.

A `Config` is hashable (it is a static argument of jit) and holds everything that
changes the numbers; where and how to run is no part of it.
"""

import dataclasses
from typing import Any

from veegan_jax.common import errors


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
    bounded: bool = _field(
        False, "networks", "G of vectors ends in a tanh, as that of images does"
    )
    dropout: float = _field(
        0.0,
        "networks",
        "share of D's units dropped; ali and the veegans of Algorithm 1",
    )
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
    architecture: str = _field(
        "dcgan",
        "images",
        "dcgan, whose sizes the fields set, or ali: ALI's of CIFAR-10",
    )
    num_stacks: int = _field(
        0, "images", "stacks in a fixed list to train on; 0: fresh ones every step"
    )
    streamed: bool = _field(
        False,
        "images",
        "train_celeba: all seeds see one stream of batches, epoch by epoch, instead of "
        "batches of their own from memory",
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
    fourier_start: float = _field(
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
    gamma_decay_start: float = _field(
        0.0, "objective", "share of the run before the penalty begins to fall"
    )
    gamma_decay_end: float = _field(
        0.7, "objective", "share of the run at which it reaches gamma_end"
    )
    penalty_scale: float = _field(
        1.0, "objective", "unit of x / data_scale in which slopes are penalised"
    )
    unrolled_steps: int = _field(5, "objective", "updates of D unrolled for G's loss")

    learning_rate: float = _field(1e-3, "optimizer", "Adam step size of G and R")
    learning_rate_d: float = _field(1e-3, "optimizer", "Adam step size of D")
    beta1: float = _field(0.5, "optimizer", "Adam beta1")
    beta2: float = _field(0.999, "optimizer", "Adam beta2")
    discriminator_every: int = _field(1, "optimizer", "steps of G and R to one of D")
    schedule: str = _field("constant", "optimizer", "constant, or cosine down to 0")
    schedule_hold: float = _field(
        0.0, "optimizer", "share of the run before the cosine begins"
    )
    ema: float = _field(0.0, "optimizer", "decay of G's average; 0: none")

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
        if not 0 <= self.gamma_decay_start < self.gamma_decay_end <= 1:
            raise errors.InputError(
                f"--gamma_decay_start={self.gamma_decay_start} must be at least 0 and "
                f"below --gamma_decay_end={self.gamma_decay_end}, that at most 1"
            )
        if not 0 <= self.dropout < 1:
            raise errors.InputError(f"--dropout={self.dropout} must be in [0, 1)")
        if self.dropout and self.method in _NO_DROPOUT:
            raise errors.InputError(
                f"--dropout={self.dropout}: {self.method} drops no units; give "
                "--dropout=0"
            )
        if not 0 <= self.schedule_hold < 1:
            raise errors.InputError(
                f"--schedule_hold={self.schedule_hold} must be in [0, 1)"
            )


_NO_DROPOUT = ("gan", "pacgan", "unrolled", "veegan_plus")
_CHOICES = {
    "architecture": ("dcgan", "ali"),
    "activation": ("relu", "leaky_relu", "tanh"),
    "init": ("xavier", "he", "orthogonal", "normal"),
    "schedule": ("constant", "cosine"),
    "dtype": ("float32", "bfloat16"),
}
