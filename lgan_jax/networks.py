"""The small networks of the latent samplers.

Dimension key: B batch, F features.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax


class MLP(nn.Module):
    """Dense layers with leaky ReLUs and a linear output."""

    widths: Sequence[int]
    out_size: int

    @nn.compact
    def __call__(self, x_BF: jax.Array) -> jax.Array:
        for width in self.widths:
            layer = nn.Dense(width, kernel_init=nn.initializers.he_normal())
            x_BF = nn.leaky_relu(layer(x_BF), 0.2)
        return nn.Dense(self.out_size)(x_BF)
