"""The program of inference on the bundled digits, as a newcomer types it."""

import functools
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from support import tiny

from veegan_jax import methods
from veegan_jax.experiments import inference, stored
from veegan_jax.metrics import inference as inference_metrics
from veegan_jax.presets import resolve


@pytest.fixture(scope="module")
def of(classifier):
    return inference.materials("digits", options(classifier))


def options(classifier, **changes):
    values = dict(seeds=2, samples=300, interval=4, save_every=0.0)
    return inference.Options(classifier=str(classifier), **(values | changes))


def test_the_program_resumes_and_then_measures_without_training(
    scripts, classifier, of, tmp_path, monkeypatch
):
    flags = [
        *tiny.flags(tiny.DENSE),
        "--seeds=2",
        "--samples=300",
        "--interval=4",
        "--save_every=0",
    ]
    flags += ["--dataset=digits", "--method=veegan", f"--classifier={classifier}"]
    done = scripts.run("infer_mnist.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for row in (
        "mean training image",
        "PCA, 3 components",
        r"N\(0, I\)",
        r"\*\*veegan",
    ):
        assert re.search(rf"\| {row}.* \| ", done.stdout), row
    workdir = tmp_path / "runs/inference_digits/dense/veegan"
    whole = json.loads((workdir / "results.json").read_text())
    log = (workdir / "metrics.jsonl").read_text()
    assert [json.loads(line)["step"] for line in log.splitlines()] == [4, 8]

    # As if it had been killed on the way: the same run takes the last four steps. XLA
    # rounds otherwise here than in the program.
    shutil.rmtree(workdir / "checkpoints" / "8")
    config = resolve.resolve("veegan", "digits", "dense", **tiny.DENSE)
    record = inference.run(config, options(classifier), workdir)
    resumed = (workdir / "metrics.jsonl").read_text()
    assert resumed.splitlines()[0] == log.splitlines()[0]
    assert resumed.splitlines()[1] != log.splitlines()[1]  # it took other seconds
    for seed, other in zip(record["per_seed"], whole["per_seed"], strict=True):
        exact = [n for n in other if n.endswith(("_p", "_rejected"))]
        others = {n: value for n, value in other.items() if n not in exact}
        assert {n: seed[n] for n in others} == pytest.approx(others, 1e-2, 1e-2)

    # Given again after the end, it measures without training.
    monkeypatch.setattr(methods.get("veegan"), "train_step", None)
    again = inference.run(config, options(classifier), workdir)
    assert again["per_seed"] == record["per_seed"]
    assert (workdir / "metrics.jsonl").read_text() == resumed

    assert record["classifier"] == of.classifier.identity
    assert record["code"] == "R(x) + 1 N(0, I); point: R(x)"
    assert set(record["mean"]) == {"variety", *inference_metrics.METRICS}
    assert record["baselines"] == inference.baselines("digits", 3, options(classifier))
    errors_of = [seed["reconstruction"] for seed in record["per_seed"]]
    assert record["mean"]["reconstruction"] == pytest.approx(np.mean(errors_of), 1e-4)

    # The error and the codes of the second seed, from the checkpoint, image by image.
    _, _, done, states = stored.restore(workdir)
    state = jax.tree.map(lambda leaf: leaf[1], states)
    assert done == 8
    total, codes = 0.0, []
    veegan = methods.get("veegan")
    reconstruct = jax.jit(functools.partial(veegan.reconstruct, config=config))
    generate = jax.jit(functools.partial(veegan.generate, config=config))
    for image in of.test.image:
        x = jnp.asarray(image.reshape(1, 64) / 127.5 - 1, jnp.float32)
        z = reconstruct(state, x)
        y = generate(state, z)
        total += float(jnp.mean((x - y) ** 2)) / 4
        codes.append(np.asarray(z[0]))
    assert errors_of[1] == pytest.approx(total / len(of.test.image), rel=1e-3)
    std = np.std(codes, axis=0, ddof=1).mean()
    assert record["per_seed"][1]["point_std"] == pytest.approx(std, rel=1e-3)

    for name in ("reconstructions.png", "codes.png", "samples.png", "curves.png"):
        with PIL.Image.open(workdir / name) as image:
            assert min(image.size) > 100
    with PIL.Image.open(workdir / "reconstructions.png") as image:
        assert image.width > 20 * 56  # twenty digits side by side


def test_a_program_that_cannot_run_prints_one_message(scripts, tmp_path):
    done = scripts.run("infer_mnist.py", "--method=gan", cwd=tmp_path)
    assert done.returncode == 1
    assert "--method=gan has no reconstructor" in done.stderr
    assert "Traceback" not in done.stderr
