"""Counts the arithmetic of a program that JAX hands to XLA."""

import functools
import math
import re

_DOT = re.compile(
    r"stablehlo\.dot_general .*contracting_dims = \[([\d, ]*)\] x .*"
    r": \(tensor<([\dx]+)xf32>, .*-> tensor<([\dx]+)xf32>"
)


def of_products(text: str) -> int:
    """Floating-point operations of a program's float32 matrix products.

    StableHLO is read before XLA compiles it: unused results are gone from it, and
    the bodies of functions, which XLA's own analysis may count once, count at every
    call. The body of a loop counts once.

    Args:
      text: StableHLO, as `jax.jit(f).lower(...).as_text()` prints it.

    Returns:
      Two for each multiplication with its addition.
    """
    bodies = dict(re.findall(r"func\.func \w+ @([\w.]+)\((.*?)\n  }", text, re.S))

    @functools.cache
    def total(function: str) -> int:
        body = bodies[function]
        count = sum(total(name) for name in re.findall(r"call @([\w.]+)\(", body))
        for dims, left, out in _DOT.findall(body):
            left = [int(n) for n in left.split("x")]
            contracted = math.prod(left[int(i)] for i in dims.split(", "))
            count += 2 * contracted * math.prod(int(n) for n in out.split("x"))
        return count

    return total("main")
