"""The programs of Stacked MNIST on the bundled digits, as a newcomer types them."""

import json
import re

import pytest
from support import tiny

from veegan_jax import config as configs
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import resolve


def test_the_programs_train_and_score(scripts, classifier, tmp_path):
    flags = [
        *tiny.flags(tiny.STACKS),
        "--seeds=1",
        "--samples=200",
        f"--classifier={classifier}",
    ]
    done = scripts.run(
        "train_stacked_mnist.py",
        "--dataset=digits",
        "--method=gan",
        *flags,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| real digits +\| ", done.stdout)
    assert re.search(r"\| \*\*gan\*\* +\| ", done.stdout)
    workdir = tmp_path / "runs/stacked_digits/quick/gan"
    record = json.loads((workdir / "results.json").read_text())
    on_mnist = resolve.resolve("gan", "stacked_mnist", "paper")
    on_mnist = {"config": configs.to_json(on_mnist), "options": {"preset": "paper"}}
    table = stacked_mnist_experiment.table({"gan": record | on_mnist})
    assert re.search(r"\| DCGAN, PacGAN paper +\| 78.9 ± 6.5 ", table)
    flags = ["--samples=200", f"--classifier={classifier}", "--output=o.json"]
    done = scripts.run("eval_stacked_mnist.py", workdir, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scored = json.loads((tmp_path / "o.json").read_text())
    for name, value in scored["metrics"].items():
        assert record["per_seed"][0][name] == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize(
    ("flag", "message"),
    (
        ("--preset=tiny", "unknown preset 'tiny': one of quick, full"),
        ("--dataset=cifar10", "--dataset=cifar10 must be one of mnist, digits or auto"),
        ("--batch_size=9", "--batch_size=9 must be a multiple of --pack=4"),
        ("--image_size=9", "Unknown command line flag 'image_size'"),
        ("--gamma=1", "--gamma: pacgan on stacked_digits has no such setting"),
        ("--dropout=0.5", "Unknown command line flag 'dropout'"),
        ("--dtype=float8", "--dtype='float8' must be one of float32, bfloat16"),
        ("--classifier=none.npz", "none.npz"),
    ),
)
def test_bad_flags_end_with_one_message(scripts, flag, message, tmp_path):
    arguments = [
        "--method=pacgan",
        *([] if "dataset" in flag else ["--dataset=digits"]),
    ]
    done = scripts.run("train_stacked_mnist.py", *arguments, flag, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
