"""Sizes of a run, compared with the memory before any work."""

import dataclasses
import functools
import math

import jax

from veegan_jax import methods
from veegan_jax.common import memory
from veegan_jax.config import Config
from veegan_jax.runtime import rng


def check(config: Config, seeds: int, samples: int = 0) -> None:
    """Refuse a run whose samples, batches or networks the memory cannot hold.

    The estimate is a lower bound: it counts each array once.

    Args:
      config: what to train.
      seeds: how many are trained at once.
      samples: drawn of each, float32 vectors or uint8 images.

    Raises:
      InputError: naming the flags and what they need.
    """
    values = math.prod(config.data.shape)
    each = values * (4 if len(config.data.shape) == 1 else 1)
    memory.check(seeds * samples * each, f"--seeds={seeds} x --samples={samples}")
    batch = config.batch_size
    memory.check(seeds * batch * values * 4, f"--seeds={seeds} x --batch_size={batch}")
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
