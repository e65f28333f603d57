"""Convolutions that run on every backend, with flax's parameters and results.

XLA's strided and transposed convolutions are an order of magnitude slower on CPU than
a matrix product of the same size, so there each is written as one. A convolution is a
form that is linear in each of three arrays: the larger image x, the smaller image y
and the kernel. Three products give one of them from the other two, and each one's
gradients are the other two:

- `_down`, the convolution: the patches of x under the kernel, times the kernel;
- `_up`, the transposed convolution: y times the kernel gives patches, which are added
  up where they overlap;
- `_correlate`, the kernel's gradient: y times the patches of x.

With few channels a patch has few outputs, and the product is thin. There `_down` and
`_up` take a tile of several outputs at a time, whose patch is little larger and whose
matrix is the kernel repeated along its band.

GPUs and TPUs keep XLA's own.

Dimension key: B batch, H height, W width, C channels of x, O channels of y, k kernel
size, q tile size.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

FEW_CHANNELS = 16  # measured: with fewer, tiles are faster than patches


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
    return _down(x_BHWC, kernel_kkCO, stride)


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
    return _up(x_BHWC, kernel_kkOC, stride, size)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _down(x_BHWC: jax.Array, kernel_kkCO: jax.Array, stride: int) -> jax.Array:
    """The convolution of x: y."""
    k, _, _, features = kernel_kkCO.shape
    if features < FEW_CHANNELS:
        return _down_by_tiles(x_BHWC, kernel_kkCO, stride)
    return _patches(x_BHWC, k, stride) @ kernel_kkCO.reshape(-1, features)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _up(
    y_BHWO: jax.Array, kernel_kkCO: jax.Array, stride: int, size: tuple[int, int]
) -> jax.Array:
    """The transpose of `_down` from x of a size: x."""
    k, _, channels, features = kernel_kkCO.shape
    if stride == 1 and k % 2 and features < channels:  # patches of y are smaller
        return _down(y_BHWO, kernel_kkCO[::-1, ::-1].swapaxes(2, 3), 1)
    if channels < FEW_CHANNELS and features <= FEW_CHANNELS:
        return _up_by_tiles(y_BHWO, kernel_kkCO, stride, size)
    patches = y_BHWO @ kernel_kkCO.reshape(-1, features).T
    return _add_patches(patches, k, stride, size)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _correlate(x_BHWC: jax.Array, y_BHWO: jax.Array, k: int, stride: int) -> jax.Array:
    """The kernel's gradient [k, k, C, O] where x is the input and y the output's."""
    channels, features = x_BHWC.shape[-1], y_BHWO.shape[-1]
    if stride == 1 and k % 2 and features < channels:  # patches of y are smaller
        turned = _product_of_rows(x_BHWC, _patches(y_BHWO, k, 1))
        turned = turned.reshape(channels, k, k, features)
        return turned[:, ::-1, ::-1].transpose(1, 2, 0, 3)
    kernel = _product_of_rows(y_BHWO, _patches(x_BHWC, k, stride)).T
    return kernel.reshape(k, k, channels, features)


def _down_fwd(x, kernel, stride):
    return _down(x, kernel, stride), (x, kernel)


def _down_bwd(stride, residuals, y):
    x, kernel = residuals
    return _up(y, kernel, stride, x.shape[1:3]), _correlate(x, y, len(kernel), stride)


def _up_fwd(y, kernel, stride, size):
    return _up(y, kernel, stride, size), (y, kernel)


def _up_bwd(stride, size, residuals, x):
    del size
    y, kernel = residuals
    return _down(x, kernel, stride), _correlate(x, y, len(kernel), stride)


def _correlate_fwd(x, y, k, stride):
    return _correlate(x, y, k, stride), (x, y)


def _correlate_bwd(k, stride, residuals, kernel):
    del k
    x, y = residuals
    return _up(y, kernel, stride, x.shape[1:3]), _down(x, kernel, stride)


_down.defvjp(_down_fwd, _down_bwd)
_up.defvjp(_up_fwd, _up_bwd)
_correlate.defvjp(_correlate_fwd, _correlate_bwd)


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """SAME padding before and after."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _patches(x_BHWC: jax.Array, k: int, stride: int) -> jax.Array:
    """Gather the patch under the kernel for each output: [B, H, W, k * k * C]."""
    height, width = x_BHWC.shape[1:3]
    pads = [_padding(n, k, stride) for n in (height, width)]
    x_BHWC = jnp.pad(x_BHWC, ((0, 0), *pads, (0, 0)))
    rows, columns = (stride * (-(-n // stride) - 1) + 1 for n in (height, width))
    # First whole rows, then columns: the first copies have long runs.
    patches = jnp.stack([x_BHWC[:, i : i + rows : stride] for i in range(k)], axis=3)
    patches = jnp.stack(
        [patches[:, :, j : j + columns : stride] for j in range(k)], axis=4
    )
    return patches.reshape(*patches.shape[:3], -1)


def _add_patches(
    patches: jax.Array, k: int, stride: int, size: tuple[int, int]
) -> jax.Array:
    """Transpose `_patches`: add up what falls on each position, axis by axis."""
    batch, height, width, _ = patches.shape
    patches = patches.reshape(batch, height, width, k, k, -1)
    # Along an axis, `stride` neighbouring taps of one output fall on one block of
    # positions; the next taps fall on the next block.
    more = -(-k // stride) - 1  # blocks than outputs
    none, parts = (0, 0), []
    for n in range(more + 1):
        first, last = n * stride, min((n + 1) * stride, k)
        pad_blocks, pad_taps = (n, more - n), (0, stride - (last - first))
        parts.append((slice(first, last), pad_blocks, pad_taps))
    columns = sum(
        jnp.pad(patches[..., part, :], (none, none, pad_blocks, none, pad_taps, none))
        for part, pad_blocks, pad_taps in parts
    )
    blocks = sum(
        jnp.pad(columns[:, :, :, part], (none, pad_blocks, none, pad_taps, none, none))
        for part, pad_blocks, pad_taps in parts
    )
    whole = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(
        batch, stride * (height + more), stride * (width + more), -1
    )
    (top, _), (left, _) = (_padding(n, k, stride) for n in size)
    return whole[:, top : top + size[0], left : left + size[1]]


def _product_of_rows(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sum the outer products of two images' channels over all positions."""
    a, b = (array.reshape(-1, array.shape[-1]) for array in (a, b))
    return a.T @ b


def _output_tile(kernel: int, stride: int) -> int:
    """Outputs per tile: as many as a patch of at most twice the kernel serves."""
    return kernel // stride + 1


def _down_by_tiles(x_BHWC: jax.Array, kernel_kkCO: jax.Array, stride: int) -> jax.Array:
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


def _up_by_tiles(
    y_BHWO: jax.Array, kernel_kkCO: jax.Array, stride: int, size: tuple[int, int]
) -> jax.Array:
    """The transpose of `_down_by_tiles`, one tile of `stride` outputs per row."""
    k = kernel_kkCO.shape[0]
    windows = []
    for n in size:
        # x's row r hears y's row i through tap r + before - stride * i of the kernel.
        reach = np.arange(stride) + _padding(n, k, stride)[0]
        first, last = -((k - 1 - reach[0]) // stride), reach[-1] // stride
        tap = reach - stride * np.arange(first, last + 1)[:, None]
        windows.append(_Windows(_taps(tap, k), first, 1))
    return _product(y_BHWO, kernel_kkCO.swapaxes(2, 3), windows, size)


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
