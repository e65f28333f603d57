"""Flax modules, how a `Config` sizes them, and the one way to generate.

Dimension key: B batch, Z latent (with G's noise inputs), X data dimensions.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from veegan_jax.config import Config
from veegan_jax.networks import ali, dcgan, mlp


def generator(config: Config, axis_name: str | None = None) -> nn.Module:
    """G: (z, noise) -> x."""
    if config.image_size and config.architecture == "ali":
        return ali.Generator(config.channels, axis_name)
    if config.image_size:
        return dcgan.Generator(
            data_shape(config),
            config.generator_widths,
            config.kernel_size,
            config.output_conv,
            kernels=config.init,
            batch_norm=config.batch_norm,
            dtype=config.dtype,
            axis_name=axis_name,
        )
    if config.generator_code:
        return mlp.CodeGenerator(
            config.latent_size,
            config.generator_widths,
            config.generator_code,
            config.data_size,
            activation=config.activation,
            kernels=config.init,
        )
    return mlp.MLP(
        config.generator_widths,
        config.data_size,
        activation=config.activation,
        kernels=config.init,
        batch_norm=config.batch_norm,
        bounded=config.bounded,
        axis_name=axis_name,
    )


def reconstructor(config: Config, axis_name: str | None = None) -> nn.Module:
    """R: x, or (noise, x), -> the mean of z given x, or a z."""
    if config.image_size and config.architecture == "ali":
        return ali.Encoder(config.latent_size, axis_name)
    if config.image_size:
        return dcgan.Encoder(
            config.reconstructor_widths,
            (),
            config.latent_size,
            config.kernel_size,
            kernels=config.init,
            batch_norm=config.batch_norm,
            running=True,
            dtype=config.dtype,
            axis_name=axis_name,
        )
    return mlp.MLP(
        config.reconstructor_widths,
        config.latent_size,
        activation=config.activation,
        kernels=config.init,
        gain=config.reconstructor_gain,
        fourier_size=config.fourier_size,
        fourier_scale=config.fourier_scale,
    )


def discriminator(config: Config, axis_name: str | None = None) -> nn.Module:
    """D: x, or the pair (z, x), -> one logit."""
    if config.image_size and config.architecture == "ali":
        return ali.Discriminator(config.dropout, axis_name)
    if config.image_size:
        return dcgan.Encoder(
            config.discriminator_widths,
            config.joint_widths,
            1,
            config.kernel_size,
            kernels=config.init,
            batch_norm=config.discriminator_norm,
            dtype=config.dtype,
            axis_name=axis_name,
        )
    return mlp.MLP(
        config.discriminator_widths,
        1,
        activation=config.activation,
        kernels=config.init,
        maxout=config.maxout,
        bias_std=config.bias_std,
        latent_gain=config.latent_gain,
        moments=config.moments,
        examples=config.pack,
        fourier_size=config.fourier_size,
        fourier_scale=config.fourier_scale,
        dropout=config.dropout,
        axis_name=axis_name,
    )


def data_shape(config: Config) -> tuple[int, ...]:
    """Shape of one example: [X], or [H, W, C] of an image."""
    if config.image_size:
        return config.image_size, config.image_size, config.channels
    return (config.data_size,)


def example(config: Config, batch: int = 1) -> jax.Array:
    """Zeros in the shape of a batch of data, to initialize networks with."""
    return jnp.zeros((batch, *data_shape(config)))


def train(
    network: nn.Module, params: Any, batch_stats: Any, *inputs: jax.Array
) -> tuple[jax.Array, Any]:
    """Applies a network in training mode: (output, running BatchNorm moments)."""
    output, updates = network.apply(
        {"params": params, "batch_stats": batch_stats},
        *inputs,
        train=True,
        mutable=["batch_stats"],
    )
    return output, updates.get("batch_stats", {})


def pack(x_B: jax.Array, degree: int) -> jax.Array:
    """Joins `degree` consecutive examples on the last axis: [B/m, ..., m C].

    What D sees under packing (Lin et al. 2018): samples of one kind, side by side.
    """
    batch, *middle, channels = x_B.shape
    x_B = x_B.reshape(batch // degree, degree, *middle, channels)
    return jnp.moveaxis(x_B, 1, -2).reshape(batch // degree, *middle, degree * channels)


def latent_shape(config: Config, batch: int) -> tuple[int, int]:
    """Shape of G's whole input for a batch: z's columns, then the noise's."""
    return batch, config.latent_size + config.generator_noise
