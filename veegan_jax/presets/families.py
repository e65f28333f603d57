"""What a method fixes of its networks, optimizer and batches, on every dataset."""

from typing import Any

from veegan_jax.config import Optimizer

PLUS = ("veegan_plus", "rpgan")  # pairs of logits, slopes penalized on every step
PENALIZED = (*PLUS, "wgan_gp", "meg")  # D's slope is, so D must not mix examples


def is_algorithm_1(method: str) -> bool:
    """Whether a method is one of the first paper's, whose G is stochastic."""
    return method.startswith("veegan") and method not in PLUS


def batch_size(size: int, objective: Any) -> int:
    """Return the batch with which D judges `size` examples, or packs, an update.

    PacGAN's authors count so, and so do those of critics with several steps.
    """
    return size * objective.batch_parts[1]


def optimizer(
    method: str,
    learning_rate: float,
    learning_rate_d: float | None = None,
    beta1: float = 0.5,
    beta2: float = 0.99,
    **values: Any,
) -> Optimizer:
    """Return Adam with the values given; the methods of `PLUS` have no momentum."""
    plus = method in PLUS
    return Optimizer(
        learning_rate,
        learning_rate_d or learning_rate,
        beta1=0.0 if plus else beta1,
        beta2=0.99 if plus else beta2,
        **values,
    )
