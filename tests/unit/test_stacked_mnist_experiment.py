"""The Stacked MNIST experiment on the bundled digits, from an empty folder to a table.

The networks are tiny; the tests check that the record tells what was drawn.
"""

import json
import pathlib

import jax
import numpy as np
import PIL.Image
import pytest
from support import tiny

from veegan_jax.classifier import files as classifier_files
from veegan_jax.classifier import network as classifiers
from veegan_jax.common import errors
from veegan_jax.data import images, stacked_mnist
from veegan_jax.experiments import base
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import resolve

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


def options(classifier, **changes):
    values = dict(seeds=2, samples=300, interval=4, save_every=0.0)
    return stacked_mnist_experiment.Options(
        classifier=str(classifier), **(values | changes)
    )


@pytest.mark.slow
def test_a_run_records_what_it_draws_and_resumes_to_the_same_bits(classifier, tmp_path):
    config = resolve.resolve("gan", "stacked_digits", "quick", **tiny.STACKS)
    whole = stacked_mnist_experiment.run(
        config, options(classifier), tmp_path / "whole"
    )

    tiny.as_if_killed(tmp_path / "whole", 4, tmp_path / "part")
    part = stacked_mnist_experiment.run(config, options(classifier), tmp_path / "part")
    assert part["per_seed"] == whole["per_seed"]

    record = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert record["classifier"] == classifier_files.ready("digits", classifier).identity
    assert record["data"] == images.load("digits", "train").source
    assert [s["seed"] for s in record["per_seed"]] == [0, 1]
    modes = [s["modes"] for s in record["per_seed"]]
    assert record["mean"]["modes"] == np.mean(modes)

    # The figures again from the checkpoint, counted by hand.
    x_NHW3 = stacked_mnist_experiment.load_samples(tmp_path / "whole", 300)
    assert x_NHW3.shape == (300, 8, 8, 3) and x_NHW3.dtype == np.uint8
    judge = classifier_files.ready("digits", classifier)
    labels = [
        classifiers.classify(judge, x_NHW3[..., c : c + 1]).tolist() for c in range(3)
    ]
    assert len(set(zip(*labels, strict=True))) == modes[0]
    with np.load(tmp_path / "whole" / "samples.npz", allow_pickle=False) as kept:
        np.testing.assert_array_equal(kept["image"][0], x_NHW3[:64])
    np.testing.assert_array_equal(
        stacked_mnist_experiment.load_samples(tmp_path / "whole", 90), x_NHW3[:90]
    )
    names = ["grids/step-0000004.png", "grids/step-0000008.png", "samples.png"]
    for name in [*names, "curves.png"]:
        with PIL.Image.open(tmp_path / "whole" / name) as image:
            assert min(image.size) > 100


@pytest.mark.slow
def test_stacks_of_four_digits_have_ten_thousand_modes(classifier, tmp_path):
    config = resolve.resolve("gan", "stacked_digits4", "quick", **tiny.STACKS)
    chosen = options(classifier, samples=0, seeds=1)
    chosen = stacked_mnist_experiment.with_samples(config, chosen)
    assert chosen.samples == 260_000
    few = options(classifier, seeds=1)
    record = stacked_mnist_experiment.run(config, few, tmp_path / "run")
    assert record["expected"]["modes"] == pytest.approx(296, abs=2)  # of 300 samples
    x_NHWC = stacked_mnist_experiment.load_samples(tmp_path / "run", 300)
    assert x_NHWC.shape == (300, 8, 8, 4)
    judge = classifier_files.ready("digits", classifier)
    labels = [
        classifiers.classify(judge, x_NHWC[..., c : c + 1]).tolist() for c in range(4)
    ]
    assert len(set(zip(*labels, strict=True))) == record["mean"]["modes"]
    with PIL.Image.open(tmp_path / "run/samples.png") as image:
        assert min(image.size) > 100


def test_the_step_trains_on_stacks_of_its_own_step():
    """Two steps of the experiment see the batches that `data` draws for them."""
    config = resolve.resolve("gan", "stacked_digits", "quick", **tiny.STACKS)
    digits = jax.numpy.asarray(images.load("digits", "train").image[..., 0])
    seen = []

    class Spy:
        @staticmethod
        def train_step(state, x, *, config, axis_name):
            seen.append(np.asarray(x))
            return state.replace(step=state.step + 1), {}

    state = jax.tree.map(lambda leaf: leaf[0], base.init_seeds([5], config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacked_mnist_experiment.methods, "get", lambda name: Spy)
        for _ in range(2):
            state, _ = stacked_mnist_experiment.step_on_stacks(
                digits, state, None, config=config
            )
    for step, x in enumerate(seen):
        key = jax.random.fold_in(state.key, base.DATA)
        key = jax.random.fold_in(key, step)
        np.testing.assert_array_equal(x, stacked_mnist.sample(digits, key, 8))
    assert (seen[0] != seen[1]).any()


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match=r"not a run's work directory"):
        stacked_mnist_experiment.load_samples(tmp_path, 10)


def test_data_is_loaded_once_whatever_the_other_options(classifier):
    """A notebook of fifty runs would hold fifty copies."""
    first, second = (
        stacked_mnist_experiment._materials("digits", options(classifier, seeds=n))
        for n in (1, 2)
    )
    assert all(a is b for a, b in zip(first, second, strict=True))
