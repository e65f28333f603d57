"""ALI's networks of CIFAR-10 (Dumoulin et al. 2017, appendix, table 3): 32 x 32.

Its convolutions are not padded: 32 rows become 28, 13, 10, 4 and 1, and the other way
round. They are XLA's own, which are slow on CPU: the sizes are a GPU's in any case.

Dimension key: B batch, Z latent, E noise inputs, F features, H height, W width,
C channels.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from veegan_jax.networks import mlp

SIZE = 32  # height and width of the images
LEAK = 0.1
PIECES = 2  # of a maxout unit
INPUT_DROPOUT = 0.2  # of x and z; `dropout` is that of hidden units
INIT = nn.initializers.normal(0.01)

# Kernel, stride, channels.
ENCODER = ((5, 1, 32), (4, 2, 64), (4, 1, 128), (4, 2, 256), (4, 1, 512), (1, 1, 512))
DECODER = ((4, 1, 256), (4, 2, 128), (4, 1, 64), (4, 2, 32), (5, 1, 32), (1, 1, 32))
JUDGE = ((5, 1, 32), (4, 2, 64), (4, 1, 128), (4, 2, 256), (4, 1, 512))


def _normalise(h: jax.Array, train: bool, axis_name: str | None) -> jax.Array:
    """BatchNorm, then a leaky ReLU; called inside a module."""
    norm = nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        axis_name=axis_name if train else None,
    )
    return nn.leaky_relu(norm(h), LEAK)


class Generator(nn.Module):
    """z -> transposed convolutions -> tanh (ALI's sigmoid, for pixels in [-1, 1])."""

    channels: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z_BF: jax.Array, train: bool = False) -> jax.Array:
        h = z_BF.reshape(len(z_BF), 1, 1, -1)
        for kernel, stride, width in DECODER:
            layer = nn.ConvTranspose(
                width,
                (kernel, kernel),
                (stride, stride),
                padding="VALID",
                kernel_init=INIT,
                use_bias=False,
            )
            h = _normalise(layer(h), train, self.axis_name)
        return jnp.tanh(nn.Conv(self.channels, (1, 1), kernel_init=INIT)(h))


class Encoder(nn.Module):
    """x -> the mean of z; (noise, x) -> a z ~ N(mean(x), std(x)^2) by that noise."""

    latent_size: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, *inputs: jax.Array, train: bool = False) -> jax.Array:
        h = inputs[-1]
        for kernel, stride, width in ENCODER:
            layer = nn.Conv(
                width,
                (kernel, kernel),
                (stride, stride),
                padding="VALID",
                kernel_init=INIT,
                use_bias=False,
            )
            h = _normalise(layer(h), train, self.axis_name)
        h = nn.Conv(2 * self.latent_size, (1, 1), kernel_init=INIT)(h)
        mean_BZ, log_std_BZ = jnp.split(h.reshape(len(h), -1), 2, axis=1)
        if len(inputs) == 1:
            return mean_BZ
        return mean_BZ + jnp.exp(log_std_BZ) * inputs[0]


class Discriminator(nn.Module):
    """Maxout features of x, joined by those of z where there is one -> a logit."""

    dropout: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, *inputs: jax.Array, train: bool = False) -> jax.Array:
        del train  # no BatchNorm; dropout is by the keys given
        features_BF = self._features(inputs[-1], JUDGE)
        if len(inputs) == 2:
            z_BHWC = inputs[0].reshape(len(inputs[0]), 1, 1, -1)
            of_z_BF = self._features(z_BHWC, ((1, 1, 512), (1, 1, 512)))
            features_BF = jnp.concatenate([of_z_BF, features_BF], axis=1)
        h = features_BF
        for width in (1024, 1024):
            h = self._drop(h, self.dropout)
            h = _maxout(nn.Dense(width * PIECES, kernel_init=INIT)(h))
        return nn.Dense(1, kernel_init=INIT)(self._drop(h, self.dropout))

    def _features(
        self, h: jax.Array, layers: Sequence[tuple[int, int, int]]
    ) -> jax.Array:
        """Convolutions down to one position: [B, F]."""
        for i, (kernel, stride, width) in enumerate(layers):
            rate = self.dropout if i or not self.dropout else INPUT_DROPOUT
            layer = nn.Conv(
                width * PIECES,
                (kernel, kernel),
                (stride, stride),
                padding="VALID",
                kernel_init=INIT,
            )
            h = _maxout(layer(self._drop(h, rate)))
        return h.reshape(len(h), -1)

    def _drop(self, h: jax.Array, rate: float) -> jax.Array:
        return mlp.Dropout(rate, self.axis_name)(h)


def _maxout(h: jax.Array) -> jax.Array:
    return jnp.max(h.reshape(*h.shape[:-1], -1, PIECES), axis=-1)
