"""The public face: a method and a configuration, bound into pure functions.

Dimension key: B batch, N samples, Z latent, X data dimensions.
"""

import dataclasses
from typing import Any

import jax

from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.config import Config
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.presets import resolve
from veegan_jax.runtime import numerics, rng


@dataclasses.dataclass(frozen=True)
class GAN:
    """A method with its configuration. It holds no arrays: the state holds them all."""

    config: Config

    @property
    def method(self) -> Any:
        """The method's module, whose functions these are."""
        return methods.get(self.config.method)

    @numerics.standard
    def init(self, key: jax.Array) -> TrainState:
        """Initialize all networks from a typed key (`jax.random.key`)."""
        return self.method.init(rng.typed(key), self.config)

    @numerics.standard
    def train_step(
        self, state: TrainState, x_BX: jax.Array, *, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Update every network on a batch of real examples: the body of a scan.

        Args:
          state: before the step.
          x_BX: float [B, X], or [B, H, W, C] in [-1, 1]; under a mapped axis, this
            device's share of the batch.
          axis_name: the mapped batch axis, under pmap or shard_map.

        Returns:
          The state after the step and the metrics, scalars by name.
        """
        return self.method.train_step(
            state, x_BX, config=self.config, axis_name=axis_name
        )

    @numerics.standard
    def sample(self, state: TrainState, key: jax.Array, num_samples: int) -> jax.Array:
        """Draw samples: float [N, X], or [N, H, W, C] in [-1, 1]."""
        return self.method.sample(
            state, rng.typed(key), num_samples, config=self.config
        )

    @numerics.standard
    def generate(self, state: TrainState, z_BZ: jax.Array) -> jax.Array:
        """Map latents [B, Z] to samples, differentiably in z.

        Raises:
          InputError: for a method of yours without `generate`.
        """
        if not methods.has_generator(self.config.method):
            raise errors.InputError(
                f"{self.config.method} has no generate(state, z, *, config); add it"
            )
        return self.method.generate(state, z_BZ, config=self.config)

    @numerics.standard
    def reconstruct(self, state: TrainState, x_BX: jax.Array) -> jax.Array:
        """Map examples to latents [B, Z].

        Raises:
          InputError: for a method without a reconstructor.
        """
        if not methods.has_reconstructor(self.config.method):
            raise errors.InputError(
                f"{self.config.method} has no reconstructor; these have: "
                + ", ".join(filter(methods.has_reconstructor, methods.METHODS))
            )
        return self.method.reconstruct(state, x_BX, config=self.config)


def make(method: str, dataset: str, preset: str = "quick", **changes: Any) -> GAN:
    """Bind a method to the named configuration of a dataset.

    Args:
      method: a registered method: gan, pacgan, ali, unrolled, veegan, veegan_plus, ...
      dataset: ring, grid, high_dim, stacked_mnist, stacked_digits (each also with a 4
        at its end: stacks of four), cifar10, cifar100, mnist,
        fashion_mnist, digits or faces.
      preset: quick, paper, best, ...: see the dataset's page in veegan_jax/presets.
      **changes: settings that differ from the preset, by their own names:
        steps=500, learning_rate=1e-4, generator_widths=(64, 64), ...

    Raises:
      InputError: for a name that does not exist or a value out of range; the message
        says what there is.

    Example:
      >>> make("veegan", "grid", preset="paper").config.latent_size
      254
    """
    return GAN(resolve.resolve(method, dataset, preset, **changes))
