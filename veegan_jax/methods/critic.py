"""What WGAN-GP and MEG share: several updates of D, the critic, to one of G.

A batch of B examples makes n minibatches of B / n, one for each update of D; G's loss
has B / n samples, too.

Dimension key: B batch, n critic steps.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax

from veegan_jax import config as configs
from veegan_jax.common import errors, fields
from veegan_jax.config import Config
from veegan_jax.methods import base
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import parallel


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """The updates of D to one of G."""

    critic_steps: int = fields.field(
        5,
        "updates of D to one of G, on parts of the batch",
        "objective",
        within="[1, 100]",
    )

    @property
    def batch_parts(self) -> tuple[str, int]:
        """The setting that a batch must be a multiple of, and its value."""
        return "critic_steps", self.critic_steps

    def check(self, config: Config) -> None:
        """Refuse a second rule of how often D moves."""
        every = config.optimizer.discriminator_every
        if every != 1:
            raise errors.InputError(
                f"--discriminator_every={every}: {config.method} moves D "
                f"--critic_steps={self.critic_steps} times a step; leave it out"
            )


def update(
    state: TrainState,
    loss: Callable[..., tuple[jax.Array, Metrics]],
    *examples: jax.Array,
    config: Config,
    axis_name: str | None,
) -> tuple[TrainState, Metrics]:
    """Update D alone, once for each part of the batch.

    Args:
      state: before the step.
      loss: D's parameters and a part of each of the examples -> (loss, metrics).
      *examples: [B, ...], this device's.
      config: the run's.
      axis_name: the mapped batch axis, or None.

    Returns:
      The state with the new D, and the metrics of its last update.
    """
    steps = config.objective.critic_steps
    optimizer = base.optimizer(config, "discriminator", updates_a_step=steps)

    def update_once(carry: Any, minibatch: Any) -> tuple[Any, Metrics]:
        params_d, opt_state = carry
        grad, metrics = jax.grad(loss, has_aux=True)(params_d, *minibatch)
        grad, metrics = parallel.mean((grad, metrics), axis_name)
        updates, opt_state = optimizer.update(grad, opt_state)
        return (optax.apply_updates(params_d, updates), opt_state), metrics

    minibatches = [base.parts(a_B, steps) for a_B in examples]
    carry = state.params["discriminator"], state.opt_state["discriminator"]
    (params_d, opt_state), metrics = jax.lax.scan(
        update_once, carry, minibatches, unroll=True
    )
    state = dataclasses.replace(
        state,
        params=state.params | {"discriminator": params_d},
        opt_state=state.opt_state | {"discriminator": opt_state},
    )
    return state, {name: value[-1] for name, value in metrics.items()}
