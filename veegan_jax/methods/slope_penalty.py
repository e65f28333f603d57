"""What VEEGAN+ and RpGAN share: a falling weight of D's slope, and late features.

As in R3GAN (Huang et al. 2024) the weight falls over the run: a large one keeps the
first steps stable, a small one lets D be steep around narrow modes at the end.
"""

import dataclasses

import jax
import jax.numpy as jnp

from veegan_jax import config as configs
from veegan_jax.common import errors, fields
from veegan_jax.config import Config


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """The loss by pairs, the penalty's weight over the run, and D's late features."""

    relativistic: bool = fields.field(
        True, "D's logits are compared pairwise", "objective"
    )
    gamma: float = fields.field(
        0.1, "weight of the penalty at the first step", "objective", within="(0, inf)"
    )
    gamma_end: float = fields.field(
        1e-2, "weight of the penalty at the last step", "objective", within="(0, inf)"
    )
    gamma_decay_start: float = fields.field(
        0.0,
        "share of the run before the penalty begins to fall",
        "objective",
        within="[0, 1)",
    )
    gamma_decay_end: float = fields.field(
        0.7,
        "share of the run at which it reaches gamma_end",
        "objective",
        within="(0, 1]",
    )
    penalty_scale: float = fields.field(
        1.0,
        "unit of x / scale in which slopes are penalized",
        "objective",
        within="(0, inf)",
    )
    fourier_start: float = fields.field(
        0.0,
        "share of the run before D sees sines and cosines of x",
        "objective",
        within="[0, 1)",
    )

    def check(self, config: Config) -> None:
        """Refuse a penalty that rises, or that falls before it begins to."""
        del config
        if self.gamma_end > self.gamma:
            raise errors.InputError(
                f"--gamma_end={self.gamma_end} must be above 0 and at most "
                f"--gamma={self.gamma}"
            )
        if self.gamma_decay_start >= self.gamma_decay_end:
            raise errors.InputError(
                f"--gamma_decay_start={self.gamma_decay_start} must be at least 0 and "
                f"below --gamma_decay_end={self.gamma_decay_end}, that at most 1"
            )


def gamma(step: jax.Array, config: Config) -> jax.Array:
    """Return the penalty's weight: held, then falling by a constant factor a step."""
    weight = config.objective
    start, end = weight.gamma_decay_start, weight.gamma_decay_end
    progress = jnp.clip((step / config.steps - start) / (end - start), 0, 1)
    return weight.gamma * (weight.gamma_end / weight.gamma) ** progress


def fourier_gain(step: jax.Array, config: Config) -> jax.Array | float:
    """Return the gain of D's sines and cosines: 1, or rising over a fifth of T."""
    start = config.objective.fourier_start
    if start == 0:
        return 1.0
    return jnp.clip(5 * (step / config.steps - start), 0, 1)
