"""The networks of autoencoders and latent samplers: dense layers.

Dimension key: B batch, F features, X pixels, d encoding.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax

he_normal = nn.initializers.he_normal()


class MLP(nn.Module):
    """Dense layers with leaky ReLUs and a linear output."""

    widths: Sequence[int]
    out_size: int

    @nn.compact
    def __call__(self, x_BF: jax.Array) -> jax.Array:
        for width in self.widths:
            x_BF = nn.leaky_relu(nn.Dense(width, kernel_init=he_normal)(x_BF), 0.2)
        return nn.Dense(self.out_size)(x_BF)


class DenseAutoencoder(nn.Module):
    """Dense layers with ReLUs down to a code, and the same layers up to the pixels."""

    widths: tuple[int, ...]
    latent_size: int  # d
    data_size: int  # X
    code_name: str = "code"  # of the layer that emits the code
    code_size: int | None = None  # None: d

    def setup(self) -> None:
        self.down = [nn.Dense(w, kernel_init=he_normal) for w in self.widths]
        self.code = nn.Dense(self.code_size or self.latent_size, name=self.code_name)
        self.up = [nn.Dense(w, kernel_init=he_normal) for w in reversed(self.widths)]
        self.pixels = nn.Dense(self.data_size)

    def encode(self, x_BX: jax.Array) -> jax.Array:
        """Pixels [B, X] -> codes [B, code_size]."""
        for layer in self.down:
            x_BX = nn.relu(layer(x_BX))
        return self.code(x_BX)

    def decode(self, y_Bd: jax.Array) -> jax.Array:
        """Encodings [B, d] -> logits of the pixels [B, X]."""
        for layer in self.up:
            y_Bd = nn.relu(layer(y_Bd))
        return self.pixels(y_Bd)

    def __call__(self, x_BX: jax.Array) -> jax.Array:
        """Encode and decode; only `init` needs it."""
        return self.decode(self.encode(x_BX)[:, : self.latent_size])
