"""Convolutional networks: DCGAN (Radford et al. 2016) and its small relatives.

All sizes follow from the image's: each stride-2 layer maps n rows to ceil(n / 2), the
generator the other way round, so one class serves 28 x 28 and 8 x 8.

Dimension key: B batch, F features, H height, W width, C channels.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from veegan_jax.networks import conv, mlp

LEAK = 0.2


class BatchMoments(nn.Module):
    """BatchNorm by the batch's own moments, for a network that is never used alone.

    A discriminator is only ever trained, so it keeps no running averages.
    """

    axis_name: str | None = None  # the moments are averaged over it

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        axes = tuple(range(x.ndim - 1))
        # In bfloat16 the difference of the moments below would be lost to rounding.
        exact = x.astype(jnp.float32)
        moments = jnp.stack([exact.mean(axes), jnp.square(exact).mean(axes)])
        if self.axis_name is not None:
            moments = jax.lax.pmean(moments, self.axis_name)
        mean, square = moments
        scale *= jax.lax.rsqrt(square - mean**2 + 1e-5)
        shape = (1,) * (x.ndim - 1) + (-1,)
        bias = (bias - mean * scale).astype(x.dtype).reshape(shape)
        return x * scale.astype(x.dtype).reshape(shape) + bias


class Generator(nn.Module):
    """z -> a small image of many channels -> transposed convolutions -> tanh.

    `widths` are the channels from the first, dense layer on. With `output_conv` a
    last convolution makes the image; without, the last transposed one does.
    """

    shape: tuple[int, int, int]  # [H, W, C] of the image
    widths: Sequence[int]
    kernel_size: int
    output_conv: bool
    kernel_init: str  # a key of mlp.INITIALIZERS
    batch_norm: bool = True
    dtype: str = "float32"  # of activations; parameters are float32
    axis_name: str | None = None  # BatchNorm's moments are averaged over it

    @nn.compact
    def __call__(self, z_BF: jax.Array, train: bool = False) -> jax.Array:
        init = mlp.INITIALIZERS[self.kernel_init]
        k = self.kernel_size
        *size, channels = self.shape
        stages = len(self.widths) - self.output_conv
        sizes = [tuple(-(-n // 2**i) for n in size) for i in range(stages, -1, -1)]

        def normalize(h):
            if self.batch_norm:
                norm = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=0.9,
                    dtype=self.dtype,
                    axis_name=self.axis_name if train else None,
                )
                h = norm(h)
            return nn.relu(h)

        rows, columns = sizes[0]
        z_BF = z_BF.astype(self.dtype)
        dense = nn.Dense(
            rows * columns * self.widths[0],
            kernel_init=init,
            use_bias=not self.batch_norm,  # BatchNorm would take a bias away again
            dtype=self.dtype,
        )
        h = normalize(dense(z_BF).reshape(-1, rows, columns, self.widths[0]))
        outs = [*self.widths[1:]] + ([] if self.output_conv else [channels])
        for i, (width, size) in enumerate(zip(outs, sizes[1:], strict=True)):
            last = i == stages - 1 and not self.output_conv
            h = conv.ConvTranspose(
                width,
                k,
                2,
                size,
                kernel_init=init,
                use_bias=last or not self.batch_norm,
            )(h)
            h = h if last else normalize(h)
        if self.output_conv:
            h = conv.Conv(channels, k, kernel_init=init)(h)
        return jnp.tanh(h.astype(jnp.float32))


class Encoder(nn.Module):
    """Strided convolutions, then hidden layers, then a linear output.

    Called with several inputs, the last is the image; the others join its features
    before the hidden layers. So one class serves the discriminators of x and of
    (z, x), and the reconstructor.
    """

    widths: Sequence[int]  # channels of the convolutions
    joint_widths: Sequence[int]  # hidden layers after them
    out_size: int
    kernel_size: int
    kernel_init: str  # a key of mlp.INITIALIZERS
    batch_norm: bool  # after every convolution but the first
    running: bool = False  # BatchNorm keeps running averages, for inference
    spectral_norm: bool = False  # every kernel over its largest singular value
    dtype: str = "float32"
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self,
        *inputs: jax.Array,
        train: bool = False,
        fourier_gain: jax.Array | float = 1.0,
    ) -> jax.Array:
        del fourier_gain  # for the features of an MLP
        init = mlp.INITIALIZERS[self.kernel_init]

        def normalize(h):
            if not self.running:
                return BatchMoments(axis_name=self.axis_name)(h)
            return nn.BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                dtype=self.dtype,
                axis_name=self.axis_name if train else None,
            )(h)

        h = inputs[-1].astype(self.dtype)
        for i, width in enumerate(self.widths):
            normed = self.batch_norm and i > 0
            layer = conv.Conv(
                width, self.kernel_size, 2, kernel_init=init, use_bias=not normed
            )
            h = mlp.normalized(layer, h, self.spectral_norm, train)
            h = nn.leaky_relu(normalize(h) if normed else h, LEAK)
        others = [other.astype(self.dtype) for other in inputs[:-1]]
        h = jnp.concatenate([*others, h.reshape(h.shape[0], -1)], axis=-1)
        for width in self.joint_widths:
            layer = nn.Dense(width, kernel_init=init, dtype=self.dtype)
            h = nn.leaky_relu(mlp.normalized(layer, h, self.spectral_norm, train), LEAK)
        if self.kernel_init == "he":  # no ReLU follows
            init = nn.initializers.lecun_normal()
        self.sow("intermediates", "features", h.astype(jnp.float32))
        layer = nn.Dense(self.out_size, kernel_init=init, dtype=self.dtype)
        h = mlp.normalized(layer, h, self.spectral_norm, train)
        return h.astype(jnp.float32)
