"""Multi-layer perceptrons: the only network the mixtures need.

Dimension key: B batch, F features; N, M the larger and smaller side of a kernel.
"""

import functools
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from veegan_jax.runtime import rng

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.2),
    "tanh": jnp.tanh,
}


def orthogonal(
    key: jax.Array, shape: Sequence[int], dtype: jax.typing.DTypeLike = jnp.float32
) -> jax.Array:
    """Draw an orthogonal kernel, with the gain 1.4 of Metz et al.'s 2-D code.

    It is flax's up to rounding, by Gram-Schmidt instead of LAPACK's QR. In jaxlib 0.10
    that QR waits, in a thread of XLA's pool, for another thread of the pool: two layers
    at once stop a machine of two cores for ever.
    """
    rows, columns = math.prod(shape[:-1]), shape[-1]
    size = max(rows, columns), min(rows, columns)
    normal_NM = jax.random.normal(key, size, dtype)

    def add_column(m: jax.Array, found_NM: jax.Array) -> jax.Array:
        column_N = normal_NM[:, m]
        for _ in range(2):  # the second time takes out the rounding of the first
            share_M = jnp.dot(found_NM.T, column_N, precision="highest")
            column_N -= jnp.dot(found_NM, share_M, precision="highest")
        return found_NM.at[:, m].set(column_N / jnp.linalg.norm(column_N))

    found_NM = jax.lax.fori_loop(0, size[1], add_column, jnp.zeros_like(normal_NM))
    kernel = found_NM if rows >= columns else found_NM.T
    return 1.4 * kernel.reshape(shape)


INITIALIZERS: dict[str, nn.initializers.Initializer] = {
    "xavier": nn.initializers.xavier_uniform(),
    "he": nn.initializers.he_normal(),
    "orthogonal": orthogonal,
    "normal": nn.initializers.normal(0.02),
}


def normalized(
    layer: nn.Module, x: jax.Array, spectral_norm: bool, train: bool
) -> jax.Array:
    """Apply a layer, its kernel over its largest singular value if that is asked for.

    The value is that of one more power iteration; in training its vectors are kept.
    """
    if not spectral_norm:
        return layer(x)
    return nn.SpectralNorm(layer)(x, update_stats=train)


class Dropout(nn.Module):
    """Drop units at random; which ones depend on the example's global index.

    So the noise is the same on any number of devices, unlike flax's own. The key comes
    from `rngs={"dropout": key}`.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        if not self.rate or self.is_initializing():
            return h
        shape = h.shape[0], h.size // h.shape[0]
        kept = rng.keep(
            self.make_rng("dropout"), shape, self.rate, axis_name=self.axis_name
        )
        return jnp.where(kept.reshape(h.shape), h / (1 - self.rate), 0)


class MLP(nn.Module):
    """Hidden layers of Dense, BatchNorm (optional), activation; a linear output.

    Called with several inputs it reads their concatenation, so one class serves the
    generator, the reconstructor and the joint discriminator.
    """

    widths: Sequence[int]  # hidden layer sizes
    out_size: int
    activation: str = "relu"  # a key of ACTIVATIONS; unused with maxout
    kernel_init: str = "xavier"  # a key of INITIALIZERS, for every kernel
    bias_std: float = 0.0  # of the hidden biases at first; the output's is zero
    maxout: int = 0  # pieces per hidden unit (Goodfellow et al. 2013); 0: activation
    batch_norm: bool = False  # before each activation
    gain: float = 1.0  # multiplies the last input
    latent_gain: float = 1.0  # multiplies the others
    moment_features: bool = False  # of the last input, of each of its examples
    examples: int = 1  # side by side in the last input (a pack of PacGAN)
    fourier_size: int = 0  # random frequencies of the last input; 0: none
    fourier_scale: float = 1.0  # their standard deviation, radians per unit of input
    dropout: float = 0.0  # share of the hidden units dropped
    spectral_norm: bool = False  # every kernel over its largest singular value
    output_tanh: bool = False  # a tanh after the output
    axis_name: str | None = None  # BatchNorm's moments are averaged over it

    @nn.compact
    def __call__(
        self,
        *inputs_BF: jax.Array,
        train: bool = False,
        fourier_gain: jax.Array | float = 1.0,  # multiplies sines and cosines
    ) -> jax.Array:
        init = INITIALIZERS[self.kernel_init]
        h_BF = self.gain * inputs_BF[-1]
        if self.moment_features:
            each = jnp.split(h_BF, self.examples, axis=-1)
            h_BF = jnp.concatenate(
                [moment_inputs(x, fourier_gain) for x in each], axis=-1
            )
        elif self.fourier_size:
            features = FourierFeatures(self.fourier_size, self.fourier_scale)
            h_BF = features(h_BF, fourier_gain)
        others = [self.latent_gain * h for h in inputs_BF[:-1]]
        h_BF = jnp.concatenate([*others, h_BF], axis=-1)
        for width in self.widths:
            dense = nn.Dense(
                width * max(self.maxout, 1),
                kernel_init=init,
                bias_init=nn.initializers.normal(self.bias_std),
            )
            h_BF = normalized(dense, h_BF, self.spectral_norm, train)
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
            h_BF = Dropout(self.dropout, self.axis_name)(h_BF)
        if self.kernel_init == "he":  # no ReLU follows
            init = nn.initializers.lecun_normal()
        self.sow("intermediates", "features", h_BF)
        dense = nn.Dense(self.out_size, kernel_init=init)
        h_BF = normalized(dense, h_BF, self.spectral_norm, train)
        return jnp.tanh(h_BF) if self.output_tanh else h_BF


class CodeGenerator(nn.Module):
    """x = h W + tanh(3 MLP(2 z)) M for h = (z, noise): many dimensions, few modes.

    The linear map carries noise of hundreds of dimensions. The saturated code picks
    a mode from z and the table M says where it lies: between two codes it is steep,
    and on either side it is flat, so that a mode once found stays where it is.
    """

    latent_size: int  # the first columns of h are z
    widths: Sequence[int]  # hidden layers of the code's MLP
    code_size: int  # rows of M
    out_size: int
    activation: str
    kernel_init: str

    @nn.compact
    def __call__(self, h_BF: jax.Array, train: bool = False) -> jax.Array:
        del train  # no BatchNorm
        code_BF = MLP(
            self.widths, self.code_size, self.activation, self.kernel_init, bias_std=1.0
        )(2 * h_BF[:, : self.latent_size])
        linear = functools.partial(nn.Dense, self.out_size, use_bias=False)
        spread = nn.initializers.normal(h_BF.shape[-1] ** -0.5)
        table = nn.initializers.normal(0.06)
        return linear(kernel_init=spread)(h_BF) + linear(kernel_init=table)(
            jnp.tanh(3 * code_BF)
        )


def moment_inputs(x_BF: jax.Array, fourier_gain: jax.Array | float) -> jax.Array:
    """Return features that tell Gaussians apart: [mean, centred x, its square].

    The mean over an example's own coordinates is one input among thousands, so it is
    multiplied by about the root of their number over its own range, and comes with
    sines and cosines of octaves, as FourierFeatures do for few dimensions.
    """
    mean_B1 = jnp.mean(x_BF, axis=-1, keepdims=True)
    centred_BF = x_BF - mean_B1
    octaves = jnp.asarray([[0.125, 0.25, 0.5, 1.0, 2.0, 4.0]])
    angle_BF = mean_B1 * octaves
    return jnp.concatenate(
        [
            3.5 * mean_B1,
            fourier_gain * jnp.sin(angle_BF),
            fourier_gain * jnp.cos(angle_BF),
            centred_BF,
            0.5 * (centred_BF**2 - 0.5),
        ],
        axis=-1,
    )


class FourierFeatures(nn.Module):
    """Concatenate x with sin(Wx) and cos(Wx), W fixed and Gaussian.

    An MLP learns low frequencies first; these let it be sharp at the scale of a
    narrow mode (Tancik et al. 2020).
    """

    size: int  # number of frequencies
    scale: float  # standard deviation of W, radians per unit of x

    @nn.compact
    def __call__(self, x_BF: jax.Array, fourier_gain: jax.Array | float) -> jax.Array:
        shape = (x_BF.shape[-1], self.size)
        frequencies = self.param(
            "frequencies", nn.initializers.normal(self.scale), shape
        )
        frequencies = jax.lax.stop_gradient(frequencies)
        angle_BF = jnp.dot(x_BF, frequencies, precision="highest")
        waves = [fourier_gain * jnp.sin(angle_BF), fourier_gain * jnp.cos(angle_BF)]
        return jnp.concatenate([x_BF, *waves], axis=-1)
