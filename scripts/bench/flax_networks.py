"""The networks of the public JAX way, by flax's own layers; see flax_peers.py.

Dimension key: B batch, F features, Z latent.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp

from veegan_jax.config import Config
from veegan_jax.networks import configs, dcgan


class MLP(nn.Module):
    """Hidden layers, then a linear output."""

    widths: Sequence[int]
    out_size: int
    activation: Callable

    @nn.compact
    def __call__(self, *inputs_BF):
        h = jnp.concatenate(inputs_BF, axis=-1)
        for width in self.widths:
            h = self.activation(nn.Dense(width)(h))
        return nn.Dense(self.out_size)(h)


class Generator(nn.Module):
    """DCGAN's generator, to images [B, H, W, C]."""

    widths: Sequence[int]
    kernel: int
    output_conv: bool
    size: int
    channels: int

    @nn.compact
    def __call__(self, z_BZ):
        stages = len(self.widths) - self.output_conv
        sizes = [-(-self.size // 2**i) for i in range(stages, -1, -1)]
        kernel = self.kernel, self.kernel

        def normalize(h):
            return nn.relu(nn.BatchNorm(use_running_average=False, momentum=0.9)(h))

        h = nn.Dense(self.widths[0] * sizes[0] ** 2, use_bias=False)(z_BZ)
        h = normalize(h.reshape(len(z_BZ), sizes[0], sizes[0], self.widths[0]))
        outs = [*self.widths[1:]] + [self.channels] * (not self.output_conv)
        for i, (width, size) in enumerate(zip(outs, sizes[1:], strict=True)):
            last = i == stages - 1 and not self.output_conv
            h = nn.ConvTranspose(width, kernel, (2, 2), use_bias=last)(h)
            h = h[:, -size:, -size:]  # 7 of 8 rows
            h = h if last else normalize(h)
        if self.output_conv:
            h = nn.Conv(self.channels, kernel)(h)
        return jnp.tanh(h)


class Discriminator(nn.Module):
    """DCGAN's discriminator: one logit for an image."""

    widths: Sequence[int]
    kernel: int

    @nn.compact
    def __call__(self, h):
        for i, width in enumerate(self.widths):
            h = nn.Conv(width, (self.kernel, self.kernel), (2, 2), use_bias=not i)(h)
            if i:
                h = nn.BatchNorm(use_running_average=False)(h)
            h = nn.leaky_relu(h, dcgan.LEAK)
        return nn.Dense(1)(h.reshape(len(h), -1))


def make(config: Config) -> dict[str, nn.Module]:
    """Build the networks of a configuration, in the form of `methods.base`."""
    sizes = config.networks
    if isinstance(sizes, configs.DCGAN):
        widths, k = sizes.generator_widths, sizes.kernel_size
        _, image_size, channels = (*config.data.shape[:2], config.data.channels)
        return {
            "generator": Generator(widths, k, sizes.output_conv, image_size, channels),
            "discriminator": Discriminator(sizes.discriminator_widths, k),
        }
    activation = getattr(nn, sizes.activation)
    found = {
        "generator": MLP(sizes.generator_widths, config.data.size, activation),
        "discriminator": MLP(sizes.discriminator_widths, 1, activation),
    }
    if config.method == "veegan":
        widths = sizes.reconstructor_widths
        found["reconstructor"] = MLP(widths, config.latent_size, activation)
    return found
