"""The networks that a configuration may choose, and their sizes.

Each class is a group of `Config`: its fields size G, R and D, its methods build them.
`config` below is the whole `veegan_jax.config.Config`.

Dimension key: X data dimensions, Z latent.
"""

import dataclasses
import math
from typing import Any, ClassVar

import flax.linen as nn

from veegan_jax.common import errors, fields
from veegan_jax.networks import ali, dcgan, mlp

_COUNT, _SIZE, _SHARE = "[1, inf)", "[0, inf)", "[0, 1)"


@dataclasses.dataclass(frozen=True)
class MLP:
    """Multi-layer perceptrons; images are read and made as vectors."""

    generator_widths: tuple[int, ...] = fields.field(
        (128, 128), "hidden layers of G", "networks", within=_COUNT
    )
    generator_noise: int = fields.field(
        0, "noise inputs of G beside z, never reconstructed", "networks", within=_SIZE
    )
    reconstructor_widths: tuple[int, ...] = fields.field(
        (128, 128), "hidden layers of R", "networks", within=_COUNT
    )
    reconstructor_gain: float = fields.field(1.0, "R reads x times this", "networks")
    discriminator_widths: tuple[int, ...] = fields.field(
        (128, 128), "hidden layers of D", "networks", within=_COUNT
    )
    activation: str = fields.field(
        "relu",
        "relu, leaky_relu or tanh",
        "networks",
        choices=tuple(mlp.ACTIVATIONS),
    )
    kernel_init: str = fields.field(
        "xavier",
        "kernels: xavier, he, orthogonal or normal",
        "networks",
        choices=tuple(mlp.INITIALIZERS),
    )
    maxout: int = fields.field(
        0, "maxout pieces in D; 0: the activation", "networks", within=_SIZE
    )
    batch_norm: bool = fields.field(False, "BatchNorm in G", "networks")
    output_tanh: bool = fields.field(
        False, "G of vectors ends in a tanh, as that of images does", "networks"
    )
    dropout: float = fields.field(
        0.0, "share of D's units dropped; ali and veegan", "networks", within=_SHARE
    )
    spectral_norm: bool = fields.field(
        False, "D's kernels over their largest singular value; hinge", "networks"
    )
    bias_std: float = fields.field(
        0.0, "standard deviation of D's first hidden biases", "networks", within=_SIZE
    )
    moment_features: bool = fields.field(
        False, "D reads the mean, the centred x and its square", "networks"
    )
    latent_gain: float = fields.field(1.0, "D reads z times this", "networks")
    fourier_size: int = fields.field(
        0, "random Fourier features of x in D and R; 0: none", "networks", within=_SIZE
    )
    fourier_scale: float = fields.field(
        1.0, "standard deviation of their frequencies", "networks", within=_SIZE
    )

    def example_shape(self, data: Any) -> tuple[int, ...]:
        """Shape of one example as these networks see it."""
        return (math.prod(data.shape),)

    def generator(self, config: Any, axis_name: str | None) -> nn.Module:
        """G: (z, noise) -> x."""
        return mlp.MLP(
            self.generator_widths,
            math.prod(config.data.shape),
            activation=self.activation,
            kernel_init=self.kernel_init,
            batch_norm=self.batch_norm,
            output_tanh=self.output_tanh,
            axis_name=axis_name,
        )

    def reconstructor(self, config: Any, axis_name: str | None) -> nn.Module:
        """R: x, or (noise, x), -> the mean of z given x, or a z."""
        del axis_name  # no BatchNorm
        return mlp.MLP(
            self.reconstructor_widths,
            config.latent_size,
            activation=self.activation,
            kernel_init=self.kernel_init,
            gain=self.reconstructor_gain,
            fourier_size=self.fourier_size,
            fourier_scale=self.fourier_scale,
        )

    def discriminator(self, config: Any, axis_name: str | None) -> nn.Module:
        """D: x, or the pair (z, x), -> one logit."""
        return mlp.MLP(
            self.discriminator_widths,
            1,
            activation=self.activation,
            kernel_init=self.kernel_init,
            maxout=self.maxout,
            bias_std=self.bias_std,
            latent_gain=self.latent_gain,
            moment_features=self.moment_features,
            examples=config.objective.pack,
            fourier_size=self.fourier_size,
            fourier_scale=self.fourier_scale,
            dropout=self.dropout,
            spectral_norm=self.spectral_norm,
            axis_name=axis_name,
        )


@dataclasses.dataclass(frozen=True)
class CodeMLP(MLP):
    """As `MLP`, but G = linear map of (z, noise) + table of a code of z."""

    generator_code: int = fields.field(
        64, "units of G's code", "networks", within=_COUNT
    )

    def generator(self, config: Any, axis_name: str | None) -> nn.Module:
        """G: (z, noise) -> x."""
        del axis_name  # no BatchNorm
        return mlp.CodeGenerator(
            config.latent_size,
            self.generator_widths,
            self.generator_code,
            math.prod(config.data.shape),
            activation=self.activation,
            kernel_init=self.kernel_init,
        )


@dataclasses.dataclass(frozen=True)
class DCGAN:
    """DCGAN's networks (Radford et al. 2016), and R and the joint D alike."""

    generator_widths: tuple[int, ...] = fields.field(
        (64, 32, 16, 8),
        "channels of G, from its first layer on",
        "networks",
        within=_COUNT,
    )
    generator_noise: int = fields.field(
        0, "noise inputs of G beside z, never reconstructed", "networks", within=_SIZE
    )
    reconstructor_widths: tuple[int, ...] = fields.field(
        (8, 16, 32), "channels of R", "networks", within=_COUNT
    )
    discriminator_widths: tuple[int, ...] = fields.field(
        (8, 16, 32), "channels of D", "networks", within=_COUNT
    )
    joint_widths: tuple[int, ...] = fields.field(
        (), "hidden layers of D where features of x meet z", "networks", within=_COUNT
    )
    kernel_size: int = fields.field(
        3, "of every convolution", "networks", within="[1, 99]"
    )
    output_conv: bool = fields.field(
        True, "G ends in a convolution, not in a transposed one", "networks"
    )
    kernel_init: str = fields.field(
        "normal",
        "kernels: xavier, he, orthogonal or normal",
        "networks",
        choices=tuple(mlp.INITIALIZERS),
    )
    batch_norm: bool = fields.field(True, "BatchNorm in G and R", "networks")
    discriminator_norm: bool = fields.field(True, "BatchNorm in D", "networks")
    spectral_norm: bool = fields.field(
        False, "D's kernels over their largest singular value; hinge", "networks"
    )
    dtype: str = fields.field(
        "float32",
        "of activations: float32 or bfloat16",
        "networks",
        choices=("float32", "bfloat16"),
    )
    dropout: ClassVar[float] = 0.0

    def check(self, config: Any) -> None:
        """Refuse vectors."""
        if len(config.data.shape) != 3:
            raise errors.InputError(
                f"--networks=dcgan is for images, {config.dataset} has vectors: leave "
                "the flag out"
            )

    def example_shape(self, data: Any) -> tuple[int, ...]:
        """Shape of one example as these networks see it."""
        return data.shape

    def generator(self, config: Any, axis_name: str | None) -> nn.Module:
        """G: (z, noise) -> x."""
        return dcgan.Generator(
            config.data.shape,
            self.generator_widths,
            self.kernel_size,
            self.output_conv,
            kernel_init=self.kernel_init,
            batch_norm=self.batch_norm,
            dtype=self.dtype,
            axis_name=axis_name,
        )

    def reconstructor(self, config: Any, axis_name: str | None) -> nn.Module:
        """R: x, or (noise, x), -> the mean of z given x, or a z."""
        return dcgan.Encoder(
            self.reconstructor_widths,
            (),
            config.latent_size,
            self.kernel_size,
            kernel_init=self.kernel_init,
            batch_norm=self.batch_norm,
            running=True,
            dtype=self.dtype,
            axis_name=axis_name,
        )

    def discriminator(self, config: Any, axis_name: str | None) -> nn.Module:
        """D: x, or the pair (z, x), -> one logit."""
        del config
        return dcgan.Encoder(
            self.discriminator_widths,
            self.joint_widths,
            1,
            self.kernel_size,
            kernel_init=self.kernel_init,
            batch_norm=self.discriminator_norm,
            spectral_norm=self.spectral_norm,
            dtype=self.dtype,
            axis_name=axis_name,
        )


@dataclasses.dataclass(frozen=True)
class ALI:
    """ALI's networks of CIFAR-10 (Dumoulin et al. 2017), for 32 x 32 images."""

    generator_noise: int = fields.field(
        0, "noise inputs of G beside z, never reconstructed", "networks", within=_SIZE
    )
    dropout: float = fields.field(
        0.5, "share of D's units dropped; ali and veegan", "networks", within=_SHARE
    )
    spectral_norm: ClassVar[bool] = False

    def check(self, config: Any) -> None:
        """Refuse images of another size."""
        if config.data.shape[:2] != (32, 32):
            raise errors.InputError(
                f"--networks=ali has layers for 32 x 32 pixels, {config.dataset} has "
                f"{' x '.join(map(str, config.data.shape))}: leave the flag out"
            )

    def example_shape(self, data: Any) -> tuple[int, ...]:
        """Shape of one example as these networks see it."""
        return data.shape

    def generator(self, config: Any, axis_name: str | None) -> nn.Module:
        """G: (z, noise) -> x."""
        return ali.Generator(config.data.channels, axis_name)

    def reconstructor(self, config: Any, axis_name: str | None) -> nn.Module:
        """R: (noise, x) -> z."""
        return ali.Encoder(config.latent_size, axis_name)

    def discriminator(self, config: Any, axis_name: str | None) -> nn.Module:
        """D: (z, x) -> one logit."""
        del config
        return ali.Discriminator(self.dropout, axis_name)


NETWORKS = {"mlp": MLP, "code": CodeMLP, "dcgan": DCGAN, "ali": ALI}
