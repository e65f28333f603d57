"""Multi-layer perceptrons: the only network the mixtures need.

Dimension key: B batch, F features.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.2),
    "tanh": jnp.tanh,
}
INITIALISERS: dict[str, nn.initializers.Initializer] = {
    "xavier": nn.initializers.xavier_uniform(),
    "he": nn.initializers.he_normal(),
    "orthogonal": nn.initializers.orthogonal(1.4),  # gain of Metz et al.'s 2-D code
    "normal": nn.initializers.normal(0.02),
}


class MLP(nn.Module):
    """Hidden layers of Dense, BatchNorm (optional), activation; a linear output.

    Called with several inputs it reads their concatenation, so one class serves the
    generator, the reconstructor and the joint discriminator.
    """

    widths: Sequence[int]  # hidden layer sizes
    out_size: int
    activation: str = "relu"  # a key of ACTIVATIONS; unused with maxout
    kernels: str = "xavier"  # a key of INITIALISERS, for every kernel; biases are zero
    maxout: int = 0  # pieces per hidden unit (Goodfellow et al. 2013); 0: activation
    batch_norm: bool = False  # before each activation
    skip: bool = False  # add a linear map of the inputs to the output
    fourier_size: int = 0  # random frequencies of the last input; 0: none
    fourier_scale: float = 1.0  # their standard deviation, radians per unit of input
    axis_name: str | None = None  # BatchNorm's moments are averaged over it

    @nn.compact
    def __call__(self, *inputs_BF: jax.Array, train: bool = False) -> jax.Array:
        init = INITIALISERS[self.kernels]
        h_BF = inputs_BF[-1]
        if self.fourier_size:
            features = FourierFeatures(self.fourier_size, self.fourier_scale)
            h_BF = features(h_BF)
        h_BF = first_BF = jnp.concatenate([*inputs_BF[:-1], h_BF], axis=-1)
        for width in self.widths:
            h_BF = nn.Dense(width * max(self.maxout, 1), kernel_init=init)(h_BF)
            if self.batch_norm:
                h_BF = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=0.99,
                    axis_name=self.axis_name if train else None,
                )(h_BF)
            if self.maxout:
                pieces = h_BF.reshape(*h_BF.shape[:-1], width, self.maxout)
                h_BF = jnp.max(pieces, axis=-1)
            else:
                h_BF = ACTIVATIONS[self.activation](h_BF)
        out_BF = nn.Dense(self.out_size, kernel_init=init)(h_BF)
        if self.skip:
            out_BF += nn.Dense(self.out_size, use_bias=False, kernel_init=init)(
                first_BF
            )
        return out_BF


class FourierFeatures(nn.Module):
    """Concatenates x with sin(Wx) and cos(Wx), W fixed and Gaussian.

    An MLP learns low frequencies first; these let it be sharp at the scale of a
    narrow mode (Tancik et al. 2020).
    """

    size: int  # number of frequencies
    scale: float  # standard deviation of W, radians per unit of x

    @nn.compact
    def __call__(self, x_BF: jax.Array) -> jax.Array:
        shape = (x_BF.shape[-1], self.size)
        frequencies = self.param(
            "frequencies", nn.initializers.normal(self.scale), shape
        )
        angle_BF = x_BF @ jax.lax.stop_gradient(frequencies)
        return jnp.concatenate([x_BF, jnp.sin(angle_BF), jnp.cos(angle_BF)], axis=-1)
