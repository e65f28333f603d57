"""Count the arithmetic of a program that JAX hands to XLA."""

import functools
import math
import re

_TYPES = r" : \(tensor<((?:\d+x)*)\w+>, tensor<((?:\d+x)*)\w+>\)"
_TYPES += r" -> tensor<((?:\d+x)*)(?:bf|f)\d\w*>"  # floating-point results alone
_DOT = re.compile(
    r"stablehlo\.dot_general .*contracting_dims = \[([\d, ]*)\] x .*" + _TYPES
)
_CONVOLUTION = re.compile(
    r"stablehlo\.convolution\(.*dim_numbers = \[(.*?)\]x\[(.*?)\]->\[(.*?)\], "
    r"window = \{(.*?)\} .*" + _TYPES
)


def of_products(text: str) -> int:
    """Count the floating-point operations of matrix products and convolutions.

    The text is StableHLO before XLA compiles it. Unused results are already gone. The
    body of a function counts at every call (XLA's own analysis may count it once), the
    body of a loop counts once. A convolution counts where it meets data: not in its
    padding, and not in the zeros that the gradient of a strided one puts between rows.
    Shapes are those in the text: of all devices under jit, of one under pmap. What a
    library does, such as eigenvectors, does not count.

    Args:
      text: StableHLO, as `jax.jit(f).lower(...).as_text()` prints it.

    Returns:
      The count; a multiplication with its addition counts as two.
    """
    bodies = dict(re.findall(r"func\.func \w+ @([\w.]+)\((.*?)\n  }", text, re.S))

    @functools.cache
    def total(function: str) -> int:
        body = bodies[function]
        called = re.findall(r"(?<!custom_)call @([\w.]+)\(", body)
        count = sum(total(name) for name in called)
        for dims, left, _, out in _DOT.findall(body):
            contracted = math.prod(_sizes(left)[i] for i in _sizes(dims))
            count += 2 * contracted * math.prod(_sizes(out))
        return count + sum(_convolution(*f) for f in _CONVOLUTION.findall(body))

    return total("main")


def _sizes(text: str) -> list[int]:
    """Return the numbers in "64x28x" or in "0, 1"."""
    return [int(n) for n in re.findall(r"-?\d+", text)]


def _convolution(
    data_axes: str,
    kernel_axes: str,
    out_axes: str,
    window: str,
    data: str,
    kernel: str,
    out: str,
) -> int:
    """Count one convolution from its axes ("b, 0, 1, f"), window and sizes."""
    data, kernel, out = (
        dict(zip(axes.split(", "), _sizes(sizes), strict=True))
        for axes, sizes in ((data_axes, data), (kernel_axes, kernel), (out_axes, out))
    )
    given = dict(re.findall(r"(\w+) = \[([\d, \[\]-]*)\]", window))
    spatial = [axis for axis in data if axis.isdigit()]
    count = 2 * kernel["i"] * out["b"] * out["f"]
    for axis in spatial:
        i = int(axis)
        low = _sizes(given["pad"])[2 * i] if "pad" in given else 0
        stride, between, apart = (
            _sizes(given[name])[i] if name in given else 1
            for name in ("stride", "lhs_dilate", "rhs_dilate")
        )
        reach = (data[axis] - 1) * between
        place = [
            row * stride + tap * apart - low
            for row in range(out[axis])
            for tap in range(kernel[axis])
        ]
        count *= sum(0 <= p <= reach and p % between == 0 for p in place)
    return count
