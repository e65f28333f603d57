"""The classifier of digits: its training, and which files are not believed.

The system tests train it by its script and test what it learned.

Dimension key: N images, H height, W width, C channels.
"""

import dataclasses
import io
import json
import pathlib
import runpy

import jax
import numpy as np
import pytest
import setuptools

from veegan_jax.classifier import files as classifier_files
from veegan_jax.classifier import network as classifiers
from veegan_jax.classifier import training as classifier_training
from veegan_jax.common import errors
from veegan_jax.data import images, pixels

ROOT = pathlib.Path(__file__).parents[2]
TINY = classifiers.Recipe(
    layers=((4, 3, 2), (4, 3, 2)),
    features=6,
    steps=3,
    batch_size=4,
    learning_rate=1e-3,
    dropout=0.3,
    shift=1,
    average=0.9,
)


@pytest.fixture(scope="module")
def tiny():
    return classifier_training.train(images.load("digits", "train"), 0, TINY)


@pytest.fixture
def content(tiny, tmp_path):
    """The arrays of a saved file, to be damaged."""
    classifier_files.save(tiny, tmp_path / "whole.npz")
    with np.load(tmp_path / "whole.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_the_same_arguments_train_the_same_bits(tiny):
    data = images.load("digits", "train")
    again = classifier_training.train(data, 0, TINY)
    assert again.sha256 == tiny.sha256
    assert classifier_training.train(data, 1, TINY).sha256 != tiny.sha256


def test_shifts_are_all_those_within_reach_and_no_others(generator):
    x_HW = generator.integers(1, 255, size=(5, 5), dtype=np.uint8)
    expected = set()
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            moved = np.zeros((5, 5), np.uint8)
            for i in range(5):
                for j in range(5):
                    if 0 <= i - down < 5 and 0 <= j - right < 5:
                        moved[i, j] = x_HW[i - down, j - right]
            expected.add(moved.tobytes())
    x_NHWC = np.tile(x_HW[None, :, :, None], (300, 1, 1, 1))
    shifted = np.asarray(classifier_training.shifted(jax.random.key(0), x_NHWC, 1))
    assert {x.tobytes() for x in shifted} == expected


@pytest.mark.parametrize("num", [1, 250, 501])
def test_chunks_and_floats_change_nothing(tiny, generator, num):
    x_NHWC = generator.integers(256, size=(num, 8, 8, 1), dtype=np.uint8)
    logits, features = classifiers.predict(tiny, x_NHWC)
    assert logits.shape == (num, 10) and features.shape == (num, TINY.features)
    assert (features >= 0).all()
    alone = classifiers.predict(tiny, x_NHWC[-1:])
    np.testing.assert_allclose(alone[0], logits[-1:], rtol=1e-4, atol=1e-5)
    floats = np.float32(x_NHWC / 127.5 - 1)
    np.testing.assert_array_equal(classifiers.predict(tiny, floats)[0], logits)
    top = [max(range(10), key=lambda k: row[k]) for row in logits]
    np.testing.assert_array_equal(classifiers.classify(tiny, x_NHWC), top)


def test_floats_beyond_the_range_are_cut_off():
    x = np.float32([-1.5, -1, 0.0, 1, 2])
    np.testing.assert_array_equal(pixels.to_uint8(x), [0, 0, 128, 255, 255])


def test_a_file_gives_back_the_classifier(tiny, tmp_path, generator):
    path = tmp_path / "c.npz"
    classifier_files.save(tiny, path)
    found = classifier_files.load(path)
    assert found.identity == tiny.identity
    assert (found.recipe, found.source) == (tiny.recipe, tiny.source)
    x_NHWC = generator.integers(256, size=(9, 8, 8, 1), dtype=np.uint8)
    for ours, theirs in zip(
        classifiers.predict(tiny, x_NHWC),
        classifiers.predict(found, x_NHWC),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_the_hash_sees_every_bit(tiny):
    first = jax.tree.leaves(tiny.params)[0]
    changed = np.nextafter(first, np.float32(2), dtype=np.float32)
    params = jax.tree.map(lambda a: changed if a is first else a, tiny.params)
    other = dataclasses.replace(tiny, params=params)
    assert other.sha256 != tiny.sha256
    assert set(tiny.identity) == {
        "dataset",
        "seed",
        "steps",
        "test_accuracy",
        "sha256",
    }


def test_a_file_is_not_overwritten(tiny, tmp_path):
    path = tmp_path / "new" / "c.npz"
    classifier_files.save(tiny, path)
    other = dataclasses.replace(tiny, params=jax.tree.map(lambda a: -a, tiny.params))
    with pytest.raises(errors.InputError, match="exists and is not overwritten"):
        classifier_files.save(other, path)
    assert [p.name for p in path.parent.iterdir()] == ["c.npz"]


def test_accuracy_is_measured_whatever_the_file_claims(tiny, tmp_path):
    liar = dataclasses.replace(tiny, test_accuracy=100.0)
    classifier_files.save(liar, tmp_path / "liar.npz")
    with pytest.raises(errors.InputError) as caught:
        classifier_files.ready("digits", tmp_path / "liar.npz")
    assert "metrics need 97 %" in str(caught.value)
    assert "python scripts/train_classifier.py --dataset=digits" in str(caught.value)


def test_accuracy_is_kept_for_what_it_was_measured_of(tmp_path, monkeypatch):
    measure, measured = classifiers.accuracy, []
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(
        classifiers, "accuracy", lambda *of: measured.append(of) or measure(*of)
    )
    first = classifier_files.ready("digits")
    assert classifier_files.ready("digits").identity == first.identity
    assert len(measured) == 1
    test = images.load("digits", "test")
    relabelled = dataclasses.replace(test, label=test.label[::-1])
    other = dataclasses.replace(first, params=jax.tree.map(np.copy, first.params))
    other.params["Dense_1"]["bias"][0] += 1
    found = {classifiers.fingerprint(*of) for of in measured}
    found |= {classifiers.fingerprint(first, relabelled)}
    found |= {classifiers.fingerprint(other, test)}
    assert len(found) == 3
    [kept] = (tmp_path / "veegan_jax").iterdir()
    kept.write_text("100.5")  # a file that was damaged
    assert classifier_files.ready("digits").identity == first.identity
    assert len(measured) == 2


# The digests of the pinned classifiers' weights.
PINNED = {
    "digits": "23ab5db0092f98a65e7f5826372dd7c265eaea45f5a2fbd4ebefa55b99c73511",
    "mnist": "573c45e50f2527ef7eda5be8ecb3af5d505d878972edf8e407291d241c1b0e19",
}


@pytest.mark.parametrize("dataset", classifier_files.PINNED)
def test_the_pinned_classifiers_are_those_of_the_page(dataset):
    path = classifier_files.PINNED[dataset]
    found = classifier_files.load(path, dataset)
    assert found.sha256 == PINNED[dataset]
    assert found.recipe == classifiers.RECIPES[dataset]
    page = ROOT / "results" / "stacked_mnist.md"
    row = f"| {dataset} | {found.test_accuracy:.2f} | `{found.sha256}` |"
    assert row in page.read_text()
    assert path.stat().st_size < 1_000_000


def test_digits_are_judged_without_training_or_writing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = images.load("digits", "test")
    judge = classifier_files.ready("digits")
    right = classifiers.classify(judge, test.image) == test.label
    assert judge.test_accuracy == 100 * np.sum(right) / len(right) > 98
    assert judge.sha256 == PINNED["digits"]
    assert list(tmp_path.iterdir()) == []


def test_every_package_and_pinned_file_is_installed():
    """`find_packages` would leave out folders without __init__.py."""
    given = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(setuptools, "setup", lambda **options: given.update(options))
        runpy.run_path(str(ROOT / "setup.py"))
    folders = {
        ".".join(path.relative_to(ROOT).parent.parts)
        for name in ("veegan_jax", "lgan_jax")
        for path in (ROOT / name).rglob("*.py")
    }
    assert folders <= set(given["packages"])
    [pattern] = given["package_data"]["veegan_jax.classifier"]
    folder = ROOT / "veegan_jax" / "classifier"
    assert set(folder.glob(pattern)) == set(classifier_files.PINNED.values())


def test_rounded_weights_take_half_and_come_back_to_the_bit(tiny, tmp_path):
    rounded = classifier_files.rounded(tiny)
    classifier_files.save(tiny, tmp_path / "whole.npz")
    classifier_files.save(rounded, tmp_path / "half.npz")
    found = classifier_files.load(tmp_path / "half.npz")
    assert found.sha256 == rounded.sha256 != tiny.sha256
    for ours, theirs in zip(
        jax.tree.leaves(found.params), jax.tree.leaves(tiny.params), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2**-11, atol=2**-25)
    kinds = [
        {a.dtype for a in np.load(tmp_path / name).values() if a.dtype.kind == "f"}
        for name in ("whole.npz", "half.npz")
    ]
    assert kinds == [{np.dtype("float32")}, {np.dtype("float16")}]


def test_two_that_train_the_same_one_may_both_save_it(tiny, tmp_path):
    path = tmp_path / "c.npz"
    classifier_files.save(tiny, path)
    kept = path.stat()
    classifier_files.save(tiny, path)
    assert path.stat() == kept


def damaged(content, change):
    """The bytes of a file that is wrong in one way, and words of its refusal."""
    metadata = json.loads(str(content["metadata"]))
    if change == "shape":
        content["Dense_0/bias"] = np.zeros(7, np.float32)
    elif change == "not finite":
        content["Dense_0/bias"][0] = np.nan
    elif change == "missing":
        del content["Dense_1/bias"]
    elif change == "no metadata":
        del content["metadata"]
    elif change == "data set":
        content["metadata"] = np.asarray(json.dumps(metadata | {"dataset": "letters"}))
    elif change == "pickle":
        content["metadata"] = np.asarray(metadata, dtype=object)
    file = io.BytesIO()
    np.savez(file, **content)
    data = file.getvalue()
    return {"truncated": data[:-100], "text": b"not zip", "empty": b""}.get(
        change, data
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("shape", r"Dense_0/bias is float32 \(7,\), not float32 \(6,\)"),
        ("not finite", "Dense_0/bias is not finite"),
        ("missing", "parameters missing or unknown: Dense_1/bias"),
        ("no metadata", "metadata"),
        ("data set", "unknown data set 'letters'"),
        ("pickle", "allow_pickle=False"),
        ("truncated", "zip"),
        ("text", "pickle"),
        ("empty", "is not a classifier"),
    ],
)
def test_a_damaged_file_is_refused_by_name(content, tmp_path, change, words):
    path = tmp_path / "damaged.npz"
    path.write_bytes(damaged(content, change))
    with pytest.raises(errors.InputError, match=words) as caught:
        classifier_files.load(path)
    assert str(path) in str(caught.value)
    assert "scripts/train_classifier.py" in str(caught.value)


def test_files_that_are_none_or_of_another_data_set_are_refused(tiny, tmp_path):
    with pytest.raises(errors.InputError, match=r"no\.npz cannot be read: No such"):
        classifier_files.load(tmp_path / "no.npz")
    classifier_files.save(tiny, tmp_path / "c.npz")
    with pytest.raises(errors.InputError, match="of digits, not of mnist"):
        classifier_files.load(tmp_path / "c.npz", "mnist")


SHAPES = [(4, 28, 28, 1), (4, 8, 8, 3), (4, 8, 8), (0, 8, 8, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_another_size_are_refused(tiny, shape):
    with pytest.raises(ValueError, match="a classifier of digits needs"):
        classifiers.predict(tiny, np.zeros(shape, np.uint8))
