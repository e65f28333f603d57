"""Our step on given noise and the comparison, shared by the checks of all peers."""

import functools
from collections.abc import Mapping
from typing import Any
from unittest import mock

import jax
import numpy as np

from veegan_jax import methods
from veegan_jax.config import Config
from veegan_jax.runtime import rng


class Mismatch(ValueError):
    """A peer does not compute what its JAX method computes."""


@functools.cache  # compiling is most of a check's time
def step_on_given_noise(config: Config) -> Any:
    """Make the JAX step a function of (state, batch, *noise)."""
    train_step = methods.get(config.method).train_step

    def step(state, x_BX, *noise):
        unused = list(noise)

        def normal(key, shape, *, axis_name=None):
            del key, axis_name
            if not unused or unused[0].shape != tuple(shape):
                raise Mismatch(f"{config.method} draws {shape}, the peer does not")
            return unused.pop(0)

        def uniform(key, rows, *, axis_name=None):
            return normal(key, (rows,), axis_name=axis_name)

        # Every method draws by these; only tracing sees the substitutes.
        with mock.patch.multiple(rng, normal=normal, uniform=uniform):
            result = train_step(state, x_BX, config=config)
        if unused:
            raise Mismatch(f"{config.method} never draws {unused[0].shape}")
        return result

    return jax.jit(step)


def compare_losses(
    config: Config, theirs: Mapping[str, Any], ours: Mapping[str, Any]
) -> list[float]:
    """Return the losses' relative errors.

    Below 0.1 they count as 0.1: a loss near 0 is a difference, of numbers near one, and
    has their rounding.

    Raises:
      Mismatch: if one is above 1e-5 (for each update of D, if a step has several).
    """
    if set(theirs) != set(ours):
        raise Mismatch(f"{config.method}: losses {set(theirs)}, in JAX {set(ours)}")
    errors, limit = [], 1e-5 * getattr(config.objective, "critic_steps", 1)
    for name, loss in theirs.items():
        value, expected = loss.item(), float(ours[name])
        errors.append(abs(value - expected) / max(abs(expected), 0.1))
        if not errors[-1] <= limit:
            raise Mismatch(
                f"{config.method}: {name} is {value:.8g}, in JAX {expected:.8g}"
            )
    return errors


def compare_moves(what: str, there: np.ndarray, *, start: Any, end: Any) -> None:
    """Refuse parameters that did not move as JAX's did.

    Args:
      what: method and network, for the message.
      there: the peer's parameters at the end, flat.
      start, end: of JAX's, flat, in the same order.

    Raises:
      Mismatch: if they are, on average, further away than 5 % of the movement.
    """
    # The mean, not the maximum: where a gradient is only rounding (D's last bias
    # under a relativistic loss), Adam turns the rounding into whole steps.
    moved, apart = np.abs(end - start).mean(), np.abs(end - there).mean()
    if not apart <= 0.05 * moved + 1e-7 * np.abs(end).mean():  # 1e-7: float32
        raise Mismatch(
            f"{what} moved by {moved:.3g} in JAX, but the peer's is {apart:.3g} away "
            "(mean over its parameters)"
        )
