"""Adam as every method here uses it, and the average of a network."""

from typing import Any

import optax


def adam(
    learning_rate: float,
    *,
    steps: int,
    schedule: str,
    beta1: float,
    beta2: float,
) -> optax.GradientTransformation:
    """Adam with a constant step size, or one that falls to 0 along half a cosine.

    Args:
      learning_rate: the initial step size.
      steps: length of the run, for the cosine.
      schedule: "constant" or "cosine".
      beta1: decay of the first moment, in [0, 1).
      beta2: decay of the second moment, in [0, 1).

    Returns:
      An optax transformation. eps_root is eps squared: it does not change an update
      above rounding, and keeps the gradient THROUGH an update finite where a
      parameter's own gradient is 0 (unrolled GAN).
    """
    rate: Any = learning_rate
    if schedule == "cosine":
        rate = optax.cosine_decay_schedule(learning_rate, steps)
    return optax.adam(rate, b1=beta1, b2=beta2, eps=1e-8, eps_root=1e-16)


def average(old: Any, new: Any, decay: float) -> Any:
    """Exponential moving average of a parameter tree; None stays None."""
    return None if old is None else optax.incremental_update(new, old, 1 - decay)
