"""The amplification experiment on the bundled digits: cells, resumption, tables.

The networks are tiny; the tests check that the record tells what was measured.
"""

import dataclasses
import json
import shutil

import jax
import numpy as np
import PIL.Image
import pytest
from scipy import stats

from lgan_jax import (
    amplification,
    cells,
    classifier,
    config,
    figures,
    generation,
    materials,
    report,
    sample_quality,
    splits,
    stages,
)
from lgan_jax import options as run_options
from veegan_jax.classifier import files as classifier_files
from veegan_jax.classifier import network as classifiers
from veegan_jax.common import errors
from veegan_jax.data import images
from veegan_jax.runtime import loop

CONFIG = config.preset(
    "digits",
    autoencoder_steps=4,
    sampler_steps=4,
    autoencoder_widths=(4,),
    shared_widths=(4,),
    shared_autoencoders=2,
    sampler_widths=(3,),
    num_moves=30,
)


def options(**changes):
    values = dict(
        generators="lgan,lgan_moves",
        seeds=2,
        repeats=1,
        generated=20,
        classifier_steps=12,
    )
    return run_options.Options(**values | changes)


@pytest.fixture(autouse=True)
def judge(monkeypatch):
    """An untrained classifier in the place of the pinned one."""
    recipe = classifiers.RECIPES["digits"]
    params = classifiers.init(0, "digits", recipe)
    judge = classifiers.Classifier(params, "digits", "nothing", 0, recipe)
    monkeypatch.setattr(classifier_files, "ready", lambda *_: judge)
    return judge


def run(workdir, **changes):
    return carry_out(CONFIG, options(**changes), workdir)


def carry_out(config, chosen, workdir):
    materials = amplification.prepare(config, chosen, workdir)
    models = stages.train(materials.task, config, chosen.stages(), workdir)
    return models, amplification.run(models, materials, chosen, workdir)


def without_time(cells):
    text = json.dumps(cells)
    cells = json.loads(text)
    for rows in cells.values():
        for found in rows.values():
            for cell in found:
                assert cell.pop("seconds") >= 0
                assert "commit" in cell
                del cell["commit"]  # another, if somebody commits meanwhile
    return cells


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_the_next_cell(tmp_path, monkeypatch, judge):
    models, whole = run(tmp_path / "whole")
    measure, calls = cells.measure, []

    def measure_some(*arguments):
        calls.append(arguments[3:6])
        if len(calls) == 6:
            raise loop.Interrupted("stopped")
        return measure(*arguments)

    # Its stages are trained: their own resumption is test_lgan_stages.py's.
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    shutil.rmtree(tmp_path / "part" / "cells")
    (tmp_path / "part" / "results.json").unlink()
    monkeypatch.setattr(cells, "measure", measure_some)
    with pytest.raises(loop.Interrupted):
        run(tmp_path / "part", generators="lgan")
    _, part = run(tmp_path / "part")
    assert without_time(part["cells"]) == without_time(whole["cells"])
    # The cell at which it stopped was measured again, and no other.
    assert len(calls) == len(set(calls)) + 1 == 9
    basic = whole["cells"]["basic"]
    assert list(basic) == ["all data", "none", "lgan", "lgan_moves"]
    assert np.shape(basic["lgan"][1]["accuracy"]) == (3, 1, 12)
    assert basic["lgan"][1]["seed"] == 1
    trained = stages.seconds(options().stages(), tmp_path / "whole")
    assert whole["wall_seconds"] > trained > 0 and whole["known"] == 434

    # The sample quality again, by hand, for what judges the classes.
    x_KGX = generation.generate(models, "lgan", 0, 20)
    found = classifiers.classify(judge, x_KGX.reshape(-1, 8, 8, 1))
    fidelity = 100 * np.mean(found == np.repeat(np.arange(10), 20))
    assert basic["lgan"][0]["sample_quality"]["fidelity"] == pytest.approx(
        fidelity, rel=1e-4
    )
    values = []  # and the directions that the encodings use
    for s, k in np.ndindex(2, 10):
        found = jax.tree.map(lambda a, s=s, k=k: a[s, k], models.encodings[""])
        y_Nd = np.asarray(found.restore(found.unit))[: int(found.count)]
        share_d = np.linalg.eigvalsh(np.cov(y_Nd.T))
        values.append(np.exp(stats.entropy(np.maximum(share_d, 0))))
    assert whole["effective_dimension"] == pytest.approx(np.mean(values), rel=1e-3)
    assert f"{np.mean(values):.1f} of 6." in report.everything(whole)

    made = cells.read_images(tmp_path / "whole", options())
    assert list(made) == ["lgan", "lgan_moves"]
    np.testing.assert_array_equal(made["lgan"], x_KGX.reshape(10, 20, 8, 8, 1))

    drawn = figures.draw(models, whole, made, tmp_path)
    assert "latents" in drawn and "movement" in drawn
    for name in drawn:
        with PIL.Image.open(tmp_path / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 5, name
    assert report.everything(whole).count("| **lgan**") == 1


def test_classifiers_are_judged_by_the_test_images_or_by_known_ones(tmp_path):
    test = images.load("digits", "test")
    usual = materials.load(CONFIG, options())
    assert (usual.tests[0][0] == test.image.reshape(len(test.image), -1)).all()
    inside = materials.load(CONFIG, options(validate=True))
    for s in range(2):
        image_TX, label_T = inside.tests[s]
        split, rows = splits.inside(usual.train.label, CONFIG.fraction, 0.1, s)
        assert (image_TX == usual.task.image_MX[rows]).all()
        assert (label_T == usual.train.label[rows]).all()
        assert (inside.task.splits[s].rows_KN == split.rows_KN).all()


@pytest.mark.parametrize(
    "name", ["none", "all data", pytest.param("lgan", marks=pytest.mark.slow)]
)
def test_labels_rows_and_judges_belong_together(tmp_path, monkeypatch, name):
    """A cell's data, with images whose every pixel is their class's number."""
    given = {}

    def generate(models, name, s, num):
        return np.broadcast_to(np.uint8(np.arange(10))[:, None, None], (10, num, 64))

    def train_all(keys, share, data, recipe):
        given.update(keys=jax.random.key_data(keys), share=share, data=data)
        return 10 * np.asarray(share)[:, None] + np.arange(12)[None]

    def figures_of(made, known, held, *codes):
        given.setdefault("quality", []).append((made, known, held))
        return dict.fromkeys(sample_quality.METRICS, 0.0)

    monkeypatch.setattr(generation, "generate", generate)
    monkeypatch.setattr(classifier, "train_all", train_all)
    monkeypatch.setattr(sample_quality, "class_metrics", figures_of)
    twice = options(repeats=2)
    materials = amplification.prepare(CONFIG, twice, tmp_path)
    needed = ("autoencoder",) if name == "lgan" else ()  # `generate` is replaced
    models = stages.train(materials.task, CONFIG, needed, tmp_path)
    path = tmp_path / "cell.json"
    cell = cells.measure(models, materials, twice, "basic", name, 1, path)
    data, label = given["data"], materials.train.label
    known = splits.stratified(label, 1 if name == "all data" else CONFIG.fraction, 1)
    assert sorted(data.row_R) == sorted(known.all_rows())  # each once: no padding
    assert (data.label_M == label).all()
    test = images.load("digits", "test")
    assert (data.test_TX.reshape(test.image.shape) == test.image).all()
    assert (data.test_label_T == test.label).all()
    # Classifiers of one repeat begin alike at every share; those of two do not.
    keys_AR = given["keys"].reshape(len(cell["shares"]), 2, -1)
    assert (keys_AR == keys_AR[:1]).all() and (keys_AR[:, 0] != keys_AR[:, 1]).any()
    for share, accuracy_RE in zip(cell["shares"], cell["accuracy"], strict=True):
        expected = np.tile(10 * share + np.arange(12), (2, 1))
        np.testing.assert_allclose(accuracy_RE, expected, atol=1e-3)
    if name == "lgan":
        assert (data.generated_NX == data.generated_label_N[:, None]).all()
        pixels = np.float32(materials.task.image_MX) / 255
        for k, (made, of_class, held) in enumerate(given["quality"]):
            rows = known.rows_KN[k, : known.count_K[k]]
            others = sorted(set(np.flatnonzero(label == k)) - set(rows))
            assert (made == np.float32(k) / 255).all()
            assert (of_class == pixels[rows]).all()
            assert (held == pixels[others[:200]]).all()


@pytest.mark.parametrize(
    ("changes", "fraction", "message"),
    [
        (
            {"generated": 5},
            0.3,
            "--generated: 5 of a class, and sample quality needs 6",
        ),
        ({}, 0.02, "known images: 3 of a class, and sample quality needs 6"),
        ({}, 1.0, "a class has none: give a smaller --fraction, or --nosample_quality"),
        ({"validate": True}, 0.0999, "the same images: none is left to judge by"),
    ],
)
def test_too_few_images_are_refused_before_any_work(
    tmp_path, changes, fraction, message
):
    few = dataclasses.replace(CONFIG, fraction=fraction)
    with pytest.raises(errors.InputError, match=message):
        amplification.prepare(few, options(**changes), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_one_known_image_of_a_class_is_enough_without_sample_quality(tmp_path):
    few = dataclasses.replace(CONFIG, fraction=1e-4)
    chosen = options(generators="lgan", seeds=1, generated=2, sample_quality=False)
    models, record = carry_out(few, chosen, tmp_path)
    assert record["known"] == 10
    assert record["commits"] == [record["commit"]]
    made = cells.read_images(tmp_path, chosen)
    drawn = figures.draw(models, record, made, tmp_path)
    assert "all-classes" in drawn and "latents" not in drawn
    assert "published" not in report.everything(record)  # those are of MNIST


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generators": "lgan,gan"}, "unknown generator 'gan': one of lgan"),
        ({"strong_generators": "dcgan"}, "unknown generator 'dcgan'"),
        ({"seeds": 0}, "--seeds=0 must be at least 1"),
        ({"first_seed": -1}, "--first_seed=-1 must be in"),
        ({"first_seed": 2**32 - 1}, "seeds must be below 2"),
        ({"classifier_steps": 13}, "--classifier_steps=13 must be a multiple of 12"),
        ({"parallel": "mpi"}, "--parallel='mpi' must be one of none, jit, pmap"),
    ],
)
def test_options_out_of_range_are_refused_before_any_work(tmp_path, changes, message):
    with pytest.raises(errors.InputError, match=message):
        amplification.prepare(CONFIG, options(**changes), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_stronger_classifier_judges_what_it_is_asked_to():
    assert options().judged("strong") == ()
    strong = options(strong_generators="affine, lgan").judged("strong")
    assert strong == ("all data", "none", "affine", "lgan")
    assert run_options.recipe("mnist", "strong", options()).layers
    assert run_options.recipe("mnist", "basic", options(classifier_steps=0)).steps > 99


def test_a_work_directory_holds_one_run(tmp_path):
    amplification.prepare(CONFIG, options(), tmp_path)
    more = options(generators="affine")  # another generator in the same run
    amplification.prepare(CONFIG, more, tmp_path)
    with pytest.raises(errors.InputError, match="generated: 20 there, 21 now"):
        amplification.prepare(CONFIG, options(generated=21), tmp_path)
    with pytest.raises(errors.InputError, match=r"classifier\.sha256: None there"):
        amplification.prepare(CONFIG, options(classifier="another.npz"), tmp_path)


def test_an_ablation_changes_the_sizes_of_the_space_it_is_of():
    whole = config.preset("mnist")
    for prefix, other in (("", "shared_"), ("shared_", "")):
        for name, changes in config.variants(whole, prefix).items():
            changed = dataclasses.replace(whole, **changes)
            assert (changed != whole) == bool(changes), name
            for size in ("basis_size", "latent_size"):
                assert f"{other}{size}" not in changes
