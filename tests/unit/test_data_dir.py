"""A folder of data sets that is misspelt, at another level, or not named at all."""

import pathlib

import pytest
from support.image_sets import write

from veegan_jax.classifier import files as classifier_files
from veegan_jax.common import errors
from veegan_jax.data import images, photos


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """No folder is named, and there is none at home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    return tmp_path / "home"


@pytest.fixture
def tfds_dir(tmp_path) -> pathlib.Path:
    write(tmp_path / "sets" / "tfds")
    (tmp_path / "sets" / "notes").mkdir()
    (tmp_path / "sets" / "tfds" / "notes.txt").touch()
    return tmp_path / "sets" / "tfds"


WRONG = {
    "a level too deep": ("tfds/mnist", "which holds 3.0.1"),
    "two levels too deep": ("tfds/mnist/3.0.1", "which holds dataset_info.json, "),
    "a level too high": (".", "which holds notes, tfds"),
    "misspelt": ("tdfs", "which does not exist"),
    "beside it": ("notes", "which holds nothing"),
    "a file of it": ("tfds/mnist/3.0.1/features.json", "which is a file"),
    "a file beside": ("tfds/notes.txt", "which is a file"),
}


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("place", WRONG)
def test_a_wrong_folder_is_named_with_the_right_one(place, flag, tfds_dir, monkeypatch):
    path, held = WRONG[place]
    named = tfds_dir.parent / path
    data_dir = str(named) if flag else None
    if not flag:
        monkeypatch.setenv("TFDS_DATA_DIR", str(named))
    who = "--data_dir" if flag else "TFDS_DATA_DIR"
    messages = []
    for use in (
        lambda: images.choose("auto", data_dir),
        lambda: images.load("mnist", "test", data_dir=data_dir),
        lambda: classifier_files.ready("mnist", None, data_dir),
    ):
        with pytest.raises(errors.InputError) as caught:
            use()
        messages.append(str(caught.value))
    # Only where the set is chosen may the digits take its place.
    assert messages[0] == f"{messages[1]}\n--dataset=digits needs no download."
    assert messages[1] == messages[2] and "classifier" not in messages[1]
    start = f"mnist is not prepared under {named}, the folder that {who} names, {held}"
    assert messages[0].startswith(start)
    assert f": it is prepared under {tfds_dir}, so give that folder" in messages[0]
    assert "prepare_data.py" not in messages[0]
    assert images.choose("auto", str(tfds_dir)) == "mnist"  # as the message says


def test_a_folder_of_other_sets_is_told_from_a_wrong_one(tmp_path):
    write(tmp_path / "a" / "tfds", "cifar10")
    (tmp_path / "a" / "tfds" / "mnist" / "3.0.1.incompleteX").mkdir(parents=True)
    with pytest.raises(errors.InputError) as caught:
        images.choose("auto", str(tmp_path / "a" / "tfds"))
    words = "whose mnist holds no prepared version, with its dataset_info.json: give"
    assert words in str(caught.value)
    with pytest.raises(errors.InputError, match=r"which holds cifar10, mnist: give .*"):
        photos.from_celeba(str(tmp_path / "a" / "tfds"))
    assert images.choose("digits", str(tmp_path / "none")) == "digits"


@pytest.mark.parametrize("variable", [None, ""])
def test_if_no_folder_is_named_the_digits_are_announced(
    variable, home, monkeypatch, capsys
):
    if variable is not None:
        monkeypatch.setenv("TFDS_DATA_DIR", variable)
    assert images.choose("auto") == "digits"
    [line] = capsys.readouterr().out.splitlines()
    start = f"MNIST is not prepared under {home / 'tensorflow_datasets'}, so this uses"
    assert line.startswith(start)
    assert images.choose("digits") == "digits"
    write(home / "tensorflow_datasets")
    assert images.choose("auto") == "mnist"
    assert not capsys.readouterr().out
