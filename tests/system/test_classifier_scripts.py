"""The programs that train the classifier of digits and score stacks by it."""

import json

import numpy as np
import PIL.Image
import pytest

from veegan_jax.classifier import files as classifier_files
from veegan_jax.classifier import network as classifiers
from veegan_jax.data import images
from veegan_jax.metrics import stacked_mnist as stacked_mnist_metrics

KEPT = "runs/classifier/digits-seed0.npz"


def test_script_scores_and_records_the_digits(scripts, tmp_path):
    """True stacks of test digits, scored from an empty folder on."""
    test = images.load("digits", "test")
    index_N3 = np.random.default_rng(7).integers(len(test.label), size=(5000, 3))
    x_NHW3 = np.stack([test.image[i, :, :, 0] for i in index_N3.T], axis=-1)
    np.savez(tmp_path / "true.npz", x_NHW3)
    done = scripts.run(
        "eval_stacked_mnist.py",
        "true.npz",
        "--output=o.json",
        "--figure=o.png",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "o.json").read_text())
    pinned = classifier_files.load(classifier_files.PINNED["digits"], "digits")
    assert record["classifier"] == pinned.identity
    assert pinned.sha256[:12] in done.stdout and "commit" in record
    # The right answer is known: the labels that the classifier should have found.
    triple_N = [int("".join(map(str, t))) for t in test.label[index_N3]]
    true_T = np.bincount(triple_N, minlength=1000)
    differing = np.abs(np.array(record["histogram"]) - true_T).sum() / 2
    assert sum(record["histogram"]) == 5000
    assert differing < 3 * 0.03 * 5000
    metrics, oracle = record["metrics"], record["oracle"]
    assert metrics["modes"] == np.count_nonzero(record["histogram"])
    assert metrics["modes"] == pytest.approx(record["expected"]["modes"], abs=15)
    assert metrics["kl_data"] == pytest.approx(record["expected"]["kl_data"], abs=0.03)
    for name in stacked_mnist_metrics.METRICS:
        assert metrics[name] == pytest.approx(oracle[name], rel=0.15), name
        assert f"| {name.replace('_', ' ')} " in done.stdout
    assert record["standard_error"]["kl_uniform"] > 0
    with PIL.Image.open(tmp_path / "o.png") as image:
        assert image.size[0] > 900


def test_script_trains_a_classifier_once(scripts, tmp_path):
    flags = "--dataset=digits", "--cpu_devices=1"
    for words in ("train accuracy", "is this classifier: nothing to do"):
        done = scripts.run("train_classifier.py", *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout
    trained = classifier_files.load(tmp_path / KEPT, "digits")
    assert trained.sha256 in done.stdout
    # Pinned weights are 16 bits of such a run's; another processor rounds otherwise.
    pinned = classifier_files.load(classifier_files.PINNED["digits"])
    assert (trained.seed, trained.recipe) == (pinned.seed, pinned.recipe)
    test = images.load("digits", "test")
    agree = classifiers.classify(trained, test.image) == classifiers.classify(
        pinned, test.image
    )
    assert np.mean(agree) > 0.97

    # Another classifier does not take its place.
    flags = "--dataset=digits", "--seed=1", f"--output={KEPT}"
    done = scripts.run("train_classifier.py", *flags, cwd=tmp_path)
    assert done.returncode == 1
    assert "holds another classifier (seed 0" in done.stderr
