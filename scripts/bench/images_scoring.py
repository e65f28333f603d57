"""The speed of drawing samples of Stacked MNIST and of scoring them. No flags here."""

import dataclasses
import functools
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import timing

from veegan_jax.classifier import network as classifiers
from veegan_jax.classifier import training as classifier_training
from veegan_jax.config import Config
from veegan_jax.data import images
from veegan_jax.experiments import base, sampling
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.metrics import stacked_mnist as stacked_mnist_metrics


def measure(
    plan: Sequence[tuple[str, Config]],
    num_samples: int,
    *,
    repeats: int,
    min_seconds: float,
) -> list[dict[str, Any]]:
    """Measure drawing from the GAN at each size of the plan, and scoring, in images/s.

    Args:
      plan: names of presets, and configurations.
      num_samples: drawn, or scored, in one call.
      repeats: measurements of each number, in turns.
      min_seconds: the least length of a measurement.

    Returns:
      A row for each; `images_per_second` lists the single measurements.
    """
    runners = {}
    for preset, config in plan:
        if config.method == "gan":
            state = base.init_seeds([0], config)
            draw = functools.partial(
                sampling.draw, state, config=config, num_samples=num_samples
            )
            runners["draw", preset] = draw, num_samples
    _, config = plan[0]
    runners["score", ""] = _scoring(config, num_samples), num_samples
    for run, _ in runners.values():
        run()  # compiles
    rates = timing.rates(runners, repeats, min_seconds)
    return [
        {
            "what": what,
            "preset": preset,
            "images": num_samples,
            "images_per_second": rates[what, preset],
            "median": statistics.median(rates[what, preset]),
        }
        for what, preset in runners
    ]


def _scoring(config: Config, num_samples: int) -> Callable[[], Any]:
    """Return a function that scores random pixels.

    The classifier was trained on one batch of random pixels: its metrics mean nothing,
    but the work is the same.
    """
    dataset = stacked_mnist_experiment.DIGITS[config.dataset]
    random = np.random.default_rng(0)
    x_NHW3 = random.integers(0, 256, (num_samples, *config.data.shape), np.uint8)
    recipe = dataclasses.replace(classifiers.RECIPES[dataset], steps=1)
    label_N = random.integers(0, classifiers.NUM_CLASSES, num_samples, np.int32)
    train = images.Images(dataset, "train", "random", x_NHW3[..., :1], label_N)
    classifier = classifier_training.train(train, 0, recipe)
    num_classes, size = classifiers.NUM_CLASSES, recipe.features
    share_K = np.full(num_classes, 1 / num_classes, np.float32)
    reference = stacked_mnist_metrics.Reference(
        share_K, np.zeros(size, np.float32), np.eye(size, dtype=np.float32)
    )
    return functools.partial(stacked_mnist_metrics.score, x_NHW3, classifier, reference)
