"""Sizes of a run, compared with the memory before any work."""

import dataclasses
import functools
import math

import jax

from veegan_jax import methods
from veegan_jax.common import memory
from veegan_jax.config import Config
from veegan_jax.runtime import rng


def check_samples(config: Config, seeds: int, samples: int) -> None:
    """Refuse samples that the memory cannot hold; a lower bound, as that of `check`.

    Args:
      config: what draws them: float32 vectors or uint8 images.
      seeds: whose samples are in the memory at once.
      samples: of each.

    Raises:
      InputError: naming the flags and what they need.
    """
    each = math.prod(config.data.shape) * (4 if len(config.data.shape) == 1 else 1)
    what = f"--seeds={seeds} x --samples={samples}"
    memory.check(seeds * samples * each, what if seeds > 1 else f"--samples={samples}")


def check(config: Config, seeds: int) -> None:
    """Refuse a run whose batches or networks the memory cannot hold.

    The estimate is a lower bound: it counts each array once.

    Args:
      config: what to train.
      seeds: how many are trained at once.

    Raises:
      InputError: naming the flags and what they need.
    """
    values = math.prod(config.data.shape)
    found = [config.latent_size, config.objective.pack, 1]
    for value in dataclasses.asdict(config.networks).values():
        found += value if isinstance(value, tuple) else [value]
    widest = max(size for size in found if isinstance(size, int))
    # Tracing takes a moment; only where one matrix takes 1 % of the memory.
    if 100 * seeds * widest * max(widest, values) * 4 > memory.total():
        init = functools.partial(methods.get(config.method).init, config=config)
        state = jax.eval_shape(init, rng.key(0))
        needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        memory.check(seeds * needed, f"--seeds={seeds} of networks of these sizes")
    # An example takes at least what the widest layer of G returns.
    layers, batch = getattr(config.networks, "generator_widths", ()), config.batch_size
    needed = seeds * batch * 4 * max(values, config.latent_size, *layers)
    memory.check(needed, f"--seeds={seeds} x --batch_size={batch}")
