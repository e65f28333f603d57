"""Adam as every method here uses it, and the moving average of parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def adam(
    learning_rate: float,
    *,
    steps: int,
    schedule: str,
    beta1: float,
    beta2: float,
    hold: float = 0.0,
    eps_root: float = 0.0,
) -> optax.GradientTransformation:
    """Return Adam with a constant step size, or one that falls to 0 by a cosine.

    Args:
      learning_rate: the initial step size.
      steps: length of the run, for the cosine.
      schedule: "constant" or "cosine".
      beta1: decay of the first moment, in [0, 1).
      beta2: decay of the second moment, in [0, 1).
      hold: share of the run before the cosine begins, in [0, 1).
      eps_root: added under the root. If it is above 0, the gradient THROUGH an update
        is finite where a parameter's own gradient is 0.

    Returns:
      An optax transformation.
    """
    rate: Any = learning_rate
    if schedule == "cosine":
        start = int(hold * steps)
        cosine = optax.cosine_decay_schedule(learning_rate, steps - start)
        constant = optax.constant_schedule(learning_rate)
        rate = optax.join_schedules([constant, cosine], [start]) if start else cosine
    return optax.adam(rate, b1=beta1, b2=beta2, eps=1e-8, eps_root=eps_root)


def average(old: Any, new: Any, decay: float, step: jax.Array) -> Any:
    """Update the exponential moving average of a parameter tree.

    Args:
      old: the average so far; None stays None.
      new: the parameters after this step.
      decay: the decay of a long run.
      step: steps taken before this one. The decay is at most (1 + step) / (10 + step),
        so that the initial parameters do not dominate a short run.

    Returns:
      The average after this step.
    """
    if old is None:
        return None
    decay = jnp.minimum(decay, (1 + step) / (10 + step))
    return optax.incremental_update(new, old, 1 - decay)
