"""--dry_run says what a run would cost, and leaves nothing behind."""

import dataclasses
import re

import jax
import pytest

from lgan_jax import amplification, stages
from lgan_jax import config as lgan_config
from lgan_jax import options as lgan_options
from veegan_jax.classifier import network as classifiers
from veegan_jax.classifier import training as classifier_training
from veegan_jax.data import images
from veegan_jax.experiments import base
from veegan_jax.experiments import images as image_experiment
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.presets import resolve

CONFIG = resolve.resolve(
    "gan",
    "ring",
    "quick",
    steps=40,
    batch_size=16,
    generator_widths=(6,),
    discriminator_widths=(5,),
)
# G: 2 x 6 + 6, 6 x 2 + 2; D: 2 x 5 + 5, 5 x 1 + 1.
PARAMETERS = 18 + 14 + 15 + 6


def figure(words, name):
    return float(re.search(rf"{name}: ([\d.e-]+)", words)[1])


@pytest.mark.parametrize("mode", ["none", "pmap", "jit"])
def test_a_mixture(tmp_path, mode):
    options = base.Options(seeds=8, samples=50, parallel=mode, dry_run=True)
    mixture_experiment.check([(tmp_path / "run", CONFIG)], options)
    words = mixture_experiment.dry_run(CONFIG, options)
    assert f"parameters: {PARAMETERS} a member" in words
    assert "8 members" in words and f"--parallel={mode}, 8 devices" in words
    # Forward: 16 rows through G once and through D twice; backward twice that, less
    # the gradients of z and of the real x.
    of_g, of_d = 2 * 6 + 6 * 2, 2 * 5 + 5
    products = 3 * (of_g + 2 * of_d) * 2 * 16
    found = 1e9 * figure(words, "products")
    assert 0.6 * products < found < 1.5 * products
    assert ("all-reduce" in words) == (mode != "none")
    assert not (tmp_path / "run").exists()


def test_memory_grows_with_the_batch_and_the_data():
    def mib(batch_size):
        config = resolve.resolve(
            "gan", "digits", "dense", batch_size=batch_size, steps=10
        )
        source = image_experiment.load("digits")
        options = image_experiment.Options(seeds=1, samples=50, dry_run=True)
        words = image_experiment.dry_run(config, options, source)
        assert figure(words, "memory per device") > source.train.nbytes / 2**20
        return float(re.search(r"([\d.]+) temporaries", words)[1])

    assert 2 < mib(1024) / mib(256) < 5


def test_the_classifier():
    data = images.load("digits", "train")
    recipe = dataclasses.replace(classifiers.RECIPES["digits"], steps=50)
    words = classifier_training.dry_run(data, recipe, "pmap")
    params = classifiers.init(0, "digits", recipe)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert f"parameters: {count:,} a member" in words
    assert "1 all-reduce" in words


def test_the_amplification_tells_of_every_stage_it_needs(tmp_path):
    config = lgan_config.preset("digits", autoencoder_steps=10, sampler_steps=10)
    options = lgan_options.preset(
        "digits",
        generators="lgan,gaussian,affine",  # the last two are not trained
        seeds=2,
        sample_quality=False,
        dry_run=True,
    )
    materials = amplification.prepare(config, options, tmp_path / "run")
    words = stages.dry_run(materials.task, config, options.stages())
    titles = [line for line in words.splitlines() if not line.startswith(" ")]
    assert [title.partition(":")[0] for title in titles] == ["autoencoder", "lgan"]
    assert all("20 members" in title for title in titles)  # two seeds, ten classes
    assert not (tmp_path / "run").exists()
