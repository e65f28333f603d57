"""Convolutions that run on every backend, with flax's parameters and results.

XLA's strided and transposed convolutions are an order of magnitude slower on CPU than
a matrix product of the same size, so there each is written as one:

- many channels: the patches under the kernel, gathered into rows, times the kernel
  as a matrix; a transposed convolution is the linear transpose of that;
- few channels: the same for a tile of several outputs at a time, whose patch is
  little larger and whose matrix, the kernel repeated along its band, is wide enough
  for a fast product. Transposed: a tile is what one input position spreads over.

GPUs and TPUs keep XLA's own.

Dimension key: B batch, H height, W width, C channels in, O channels out, k kernel
size, q tile size.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

FEW_CHANNELS = 16  # measured: below it, tiles are faster than patches


class Conv(nn.Module):
    """nn.Conv with square kernels, SAME padding and a bias."""

    features: int
    kernel_size: int
    stride: int = 1
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    use_bias: bool = True

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        return _add_bias(self, conv(x_BHWC, _kernel(self, x_BHWC), self.stride))


class ConvTranspose(nn.Module):
    """nn.ConvTranspose with square kernels, SAME padding and a bias.

    `size` is the height and width of the result, at most flax's H * stride; the first
    rows and columns beyond it are dropped, which makes this the transpose of the
    strided convolution from `size` down to H.
    """

    features: int
    kernel_size: int
    stride: int
    size: tuple[int, int]
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    use_bias: bool = True

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        kernel = _kernel(self, x_BHWC)
        out = conv_transpose(x_BHWC, kernel, self.stride, self.size)
        return _add_bias(self, out)


def _kernel(module: Conv | ConvTranspose, x_BHWC: jax.Array) -> jax.Array:
    """A module's kernel [k, k, C, O], in the inputs' type."""
    shape = (*2 * (module.kernel_size,), x_BHWC.shape[-1], module.features)
    kernel = module.param("kernel", module.kernel_init, shape)
    return kernel.astype(x_BHWC.dtype)


def _add_bias(module: Conv | ConvTranspose, out_BHWO: jax.Array) -> jax.Array:
    if not module.use_bias:
        return out_BHWO
    bias = module.param("bias", nn.initializers.zeros, (module.features,))
    return out_BHWO + bias.astype(out_BHWO.dtype).reshape(1, 1, 1, -1)


def conv(x_BHWC: jax.Array, kernel_kkCO: jax.Array, stride: int) -> jax.Array:
    """Convolution with SAME padding: [B, H, W, C] -> [B, ceil(H / stride), ..., O]."""
    if jax.default_backend() != "cpu":
        return jax.lax.conv_general_dilated(
            x_BHWC,
            kernel_kkCO,
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
    if kernel_kkCO.shape[-1] < FEW_CHANNELS:
        return _tiled(x_BHWC, kernel_kkCO, stride)
    return _patches(x_BHWC, stride, kernel_kkCO)


def conv_transpose(
    x_BHWC: jax.Array, kernel_kkCO: jax.Array, stride: int, size: tuple[int, int]
) -> jax.Array:
    """Transposed convolution with SAME padding, to `size`: [B, *size, O]."""
    if jax.default_backend() != "cpu":
        out = jax.lax.conv_transpose(x_BHWC, kernel_kkCO, (stride, stride), "SAME")
        rows, columns = (n - m for n, m in zip(out.shape[1:3], size, strict=True))
        return out[:, rows:, columns:]
    # As the transpose of a convolution from `size`, whose kernel is this one turned
    # upside down and from O to C channels.
    kernel_kkOC = kernel_kkCO[::-1, ::-1].swapaxes(2, 3)
    if kernel_kkCO.shape[-1] < FEW_CHANNELS:
        return _tiled_transpose(x_BHWC, kernel_kkOC, stride, size)
    like = jax.ShapeDtypeStruct(
        (x_BHWC.shape[0], *size, kernel_kkCO.shape[-1]), x_BHWC.dtype
    )
    forward = functools.partial(_patches, stride=stride, kernel_kkCO=kernel_kkOC)
    return jax.linear_transpose(forward, like)(x_BHWC)[0]


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """SAME padding before and after."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _patches(x_BHWC: jax.Array, stride: int, kernel_kkCO: jax.Array) -> jax.Array:
    k = kernel_kkCO.shape[0]
    height, width = x_BHWC.shape[1:3]
    pads = [_padding(n, k, stride) for n in (height, width)]
    x_BHWC = jnp.pad(x_BHWC, ((0, 0), *pads, (0, 0)))
    rows, columns = (stride * (-(-n // stride) - 1) + 1 for n in (height, width))
    patches = [
        x_BHWC[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(k)
        for j in range(k)
    ]
    patches = jnp.concatenate(patches, axis=-1)
    return patches @ kernel_kkCO.reshape(-1, kernel_kkCO.shape[-1])


def _output_tile(kernel: int, stride: int) -> int:
    """Outputs per tile: as many as a patch of at most twice the kernel serves."""
    return kernel // stride + 1


def _down(x_BHWC: jax.Array, kernel_kkCO: jax.Array, stride: int) -> jax.Array:
    """A convolution, one tile of outputs per row of a matrix product."""
    k = kernel_kkCO.shape[0]
    out = tuple(-(-n // stride) for n in x_BHWC.shape[1:3])
    windows = []
    for size in x_BHWC.shape[1:3]:
        tile = _output_tile(k, stride)
        tap = np.arange(stride * (tile - 1) + k)[:, None] - stride * np.arange(tile)
        first = -_padding(size, k, stride)[0]
        windows.append(_Windows(_taps(tap, k), first, stride * tile))
    return _product(x_BHWC, kernel_kkCO, windows, out)


def _up(
    y_BHWO: jax.Array, kernel_kkCO: jax.Array, stride: int, size: tuple[int, int]
) -> jax.Array:
    """The transpose of `_down` from `size`, one tile of `stride` outputs per row."""
    k = kernel_kkCO.shape[0]
    windows = []
    for n in size:
        # x's row r hears y's row i through tap r + before - stride * i of the kernel.
        reach = np.arange(stride) + _padding(n, k, stride)[0]
        first, last = -((k - 1 - reach[0]) // stride), reach[-1] // stride
        tap = reach - stride * np.arange(first, last + 1)[:, None]
        windows.append(_Windows(_taps(tap, k), first, 1))
    return _product(y_BHWO, kernel_kkCO.swapaxes(2, 3), windows, size)


_tiled = jax.custom_vjp(_down, nondiff_argnums=(2,))
_tiled_transpose = jax.custom_vjp(_up, nondiff_argnums=(2, 3))


def _tiled_fwd(x, kernel, stride):
    return _tiled(x, kernel, stride), (x, kernel)


def _tiled_bwd(stride, residuals, out):
    # Each gradient is a gather, too: XLA would scatter overlapping patches.
    x, kernel = residuals
    to_kernel = jax.linear_transpose(lambda w: _down(x, w, stride), kernel)
    return _tiled_transpose(out, kernel, stride, x.shape[1:3]), *to_kernel(out)


def _tiled_transpose_fwd(y, kernel, stride, size):
    return _tiled_transpose(y, kernel, stride, size), (y, kernel)


def _tiled_transpose_bwd(stride, size, residuals, out):
    y, kernel = residuals
    to_kernel = jax.linear_transpose(lambda w: _up(y, w, stride, size), kernel)
    return _tiled(out, kernel, stride), *to_kernel(out)


_tiled.defvjp(_tiled_fwd, _tiled_bwd)
_tiled_transpose.defvjp(_tiled_transpose_fwd, _tiled_transpose_bwd)


class _Windows(NamedTuple):
    """Along one axis: where windows lie, and which tap leads from each to a tile."""

    taps_wqk: np.ndarray  # 1.0 where position w of a window meets output q by tap k
    first: int  # index of the first window's first position; negative: padding
    step: int  # from one window to the next


def _taps(tap_wq: np.ndarray, k: int) -> np.ndarray:
    return (tap_wq[:, :, None] == np.arange(k)).astype(np.float32)


def _product(
    x_BHWC: jax.Array,
    kernel_kkCO: jax.Array,
    windows: Sequence[_Windows],
    out: tuple[int, int],
) -> jax.Array:
    """Gather windows into rows, multiply, and lay the tiles side by side."""
    batch, _, _, channels = x_BHWC.shape
    features = kernel_kkCO.shape[-1]
    (taps_h, first_h, step_h), (taps_w, first_w, step_w) = windows
    size_h, tile_h, _ = taps_h.shape
    size_w, tile_w, _ = taps_w.shape
    tiles_h, tiles_w = -(-out[0] // tile_h), -(-out[1] // tile_w)

    def pad(n: int, first: int, last: int) -> tuple[int, int]:
        return max(0, -first), max(0, last - n)

    last_h = first_h + (tiles_h - 1) * step_h + size_h
    last_w = first_w + (tiles_w - 1) * step_w + size_w
    height, width = x_BHWC.shape[1:3]
    pads = pad(height, first_h, last_h), pad(width, first_w, last_w)
    x_BHWC = jnp.pad(x_BHWC, ((0, 0), *pads, (0, 0)))
    first_h, first_w = max(0, first_h), max(0, first_w)
    # A window's columns and channels lie side by side already: one slice a window.
    rows = x_BHWC.reshape(batch, x_BHWC.shape[1], -1)
    starts = [(first_w + i * step_w) * channels for i in range(tiles_w)]
    rows = jnp.stack([rows[..., i : i + size_w * channels] for i in starts], axis=2)
    stop = (tiles_h - 1) * step_h + 1
    starts = range(first_h, first_h + size_h)
    patches = jnp.concatenate([rows[:, i : i + stop : step_h] for i in starts], axis=-1)
    matrix = jnp.einsum(
        "apk,bql,klco->abcpqo",
        taps_h.astype(x_BHWC.dtype),
        taps_w.astype(x_BHWC.dtype),
        kernel_kkCO,
    ).reshape(patches.shape[-1], -1)
    tiles = (patches @ matrix).reshape(
        batch, tiles_h, tiles_w, tile_h, tile_w, features
    )
    tiles = tiles.transpose(0, 1, 3, 2, 4, 5)
    whole = tiles.reshape(batch, tiles_h * tile_h, tiles_w * tile_w, features)
    return whole[:, : out[0], : out[1]]
