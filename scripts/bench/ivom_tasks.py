"""Generators, and images for bench/ivom.py to come near to. No flags here.

Random weights: he initialization, and BatchNorm's moments those of a batch, as training
would leave them. Without the moments, or with the initialization of training, all
samples are nearly the same image and there is little to minimize. The targets are other
samples of the same generator, plus normal noise of 0.1, clipped to [0, 1]. They are
nearer than real images are: a trained generator needs more iterations.

Dimension key: N images, X values of an image (any shape), Z latent, B batch.
"""

import functools
import pathlib
from typing import NamedTuple

import jax
import numpy as np
from jax.tree_util import Partial

from veegan_jax.common import errors
from veegan_jax.config import Config
from veegan_jax.experiments import base, ivom_glance, ivom_targets, sampling, stored
from veegan_jax.methods import base as method_base
from veegan_jax.methods.base import TrainState
from veegan_jax.presets import resolve
from veegan_jax.runtime import parallel

PRESETS = ("quick", "paper")
NOISE = 0.1  # in the targets of random generators, pixels in [0, 1]


class Task(NamedTuple):
    """A generator, and images to come near to."""

    name: str
    config: Config
    state: TrainState  # of one seed
    sample: Partial  # z [B, Z] -> pixels in [0, 1]
    targets_NX: np.ndarray
    data: str  # where the targets come from


def random_state(config: Config) -> TrainState:
    """Initialize a state whose BatchNorm moments are those of one batch."""
    state = sampling.each_seed(base.init_seeds([0], config))[0]
    old = state.batch_stats["generator"]
    params = state.params["generator"]
    z_BZ = jax.random.normal(jax.random.key(1), config.latent_shape(256))
    train = jax.jit(
        functools.partial(method_base.apply_training, config.generator()),
        compiler_options=parallel.compile_options_of_init(),
    )
    _, new = train(params, old, z_BZ)
    # flax keeps 0.9 of the old ones.
    moments = jax.tree.map(lambda a, b: (b - 0.9 * a) / 0.1, old, new)
    return state.replace(batch_stats=state.batch_stats | {"generator": moments})


def from_preset(preset: str, num: int, *, tiny: bool) -> Task:
    """Make a task of a preset's generator and noisy samples of its own."""
    changes, dataset = {}, "cifar10"
    if tiny:
        dataset = "digits"
        changes = dict(latent_size=4, discriminator_widths=(3, 4))
        changes["generator_widths"] = (6,) if preset == "paper" else (6, 5)
    config = resolve.resolve("gan", dataset, preset, kernel_init="he", **changes)
    state = random_state(config)
    sample = ivom_glance.sampler(state, config)
    z_NZ = jax.random.normal(jax.random.key(2), (num, config.latent_size))
    shape = num, *sampling.shape(config)
    noise_NX = np.random.default_rng(0).normal(0, NOISE, shape)
    targets_NX = np.clip(np.asarray(sample(z_NZ)) + noise_NX, 0, 1).astype(np.float32)
    data = f"samples of the generator with noise of {NOISE}"
    return Task(preset, config, state, sample, targets_NX, data)


def from_run(workdir: pathlib.Path, num: int, data_dir: str) -> Task:
    """Make a task of a run's first seed and test images of its data.

    Args:
      workdir: of the run.
      num: how many images.
      data_dir: tensorflow-datasets' folder; empty: TFDS_DATA_DIR.

    Raises:
      InputError: if the folder holds no run on images of a named data set.
    """
    config, seeds, done, state = stored.restore(workdir)
    if config.dataset == "faces" or ivom_targets.image_shape(config) is None:
        raise errors.InputError(
            f"--run={workdir} was trained on {config.dataset}; give a run on cifar10, "
            "mnist, digits or their stacks"
        )
    found = ivom_targets.load(config, num, data_dir=data_dir or None)
    state = sampling.each_seed(state)[0]
    sample = ivom_glance.sampler(state, config)
    name = f"{config.method} on {config.dataset}, seed {seeds[0]}, {done} steps"
    return Task(name, config, state, sample, found.test_NX, found.name)


def spread(task: Task) -> float:
    """Measure a pixel's standard deviation over samples, mean over the pixels."""
    z_BZ = jax.random.normal(jax.random.key(3), (256, task.config.latent_size))
    return float(np.asarray(task.sample(z_BZ)).std(axis=0).mean())
