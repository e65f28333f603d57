"""In which precision products are computed, in both libraries. No flags here.

float32   all 24 bits of each factor.
tf32      factors with 11 bits, sums in float32: the default on GPUs.
bfloat16  factors with 8 bits. Image networks also keep their activations so
          (`--dtype`), as PyTorch does under autocast. The networks of the mixtures keep
          float32 activations in JAX, and their products round each factor.

A CPU multiplies in float32 whatever is asked for (bfloat16 only makes it slower), so
there the others are refused, unless the networks are tiny ones that try the program.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import timing

from veegan_jax.common import errors
from veegan_jax.config import Config
from veegan_jax.networks.configs import DCGAN


class Precision(NamedTuple):
    """How to ask each library for it."""

    jax: str
    torch: str
    autocast: bool


PRECISIONS = {
    "float32": Precision("highest", "highest", False),
    "tf32": Precision("tensorfloat32", "high", False),
    "bfloat16": Precision("BF16_BF16_F32", "high", True),
}


def chosen(given: Sequence[str], *, tiny: bool) -> list[str]:
    """Return the precisions to measure; none given: the library's default.

    Raises:
      InputError: for one that does not exist, or means nothing on this device.
    """
    timing.check_names("precision", given, list(PRECISIONS))
    on_cpu = jax.default_backend() == "cpu"
    for name in given:
        if on_cpu and name != "float32" and not tiny:
            raise errors.InputError(
                f"--precision={name}: CPUs multiply in float32; leave it out"
            )
    return list(given) or ["float32" if on_cpu else "tf32"]


def config_in(config: Config, precision: str) -> Config:
    """Return a configuration whose activations have the precision, if they can."""
    if precision == "bfloat16" and isinstance(config.networks, DCGAN):
        return config.replace(dtype="bfloat16")
    return config


@contextlib.contextmanager
def products(config: Config, precision: str) -> Iterator[None]:
    """Compute JAX's products in a precision, and so compile them."""
    name = PRECISIONS[precision].jax
    if config.networks.__class__ is DCGAN and precision == "bfloat16":
        name = "default"  # the activations have it
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and precision == "float32":
        yield  # as in training
        return
    if on_cpu and precision == "bfloat16":
        name = "default"  # XLA has no such product on CPU
    with jax.default_matmul_precision(name):
        yield


def of_jax(config: Config, precision: str, runner: timing.Runner) -> timing.Runner:
    """Return a runner that works within `products`: else it would compile anew."""
    run, steps = runner

    def within() -> None:
        with products(config, precision):
            run()

    return within, steps


def of_torch(precision: str, device: str, runner: timing.Runner) -> timing.Runner:
    """Return a PyTorch runner that computes its products in a precision."""
    import torch

    run, steps = runner
    how = PRECISIONS[precision]

    def within() -> None:
        autocast = torch.autocast(device, torch.bfloat16, enabled=how.autocast)
        with torch_products(how.torch), autocast:
            run()

    return runner if device == "cpu" and precision == "float32" else (within, steps)


@contextlib.contextmanager
def torch_products(precision: str) -> Iterator[None]:
    """Compute PyTorch's products in a precision, convolutions included.

    cuDNN's convolutions have a switch of their own, which is on unless it is set.

    Args:
      precision: "highest" or "high", as PyTorch names it.
    """
    import torch

    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision != "highest"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
