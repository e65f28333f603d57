"""Folders as they are found: odd links, what is unreadable, what systems leave there.

Both readers of images are tried: photographs are skipped and counted, and a folder of
classes is refused with one message that names the file.
"""

import errno
import inspect
import os
import pathlib
import sys

import numpy as np
import PIL.Image
import pytest

from veegan_jax.common import errors
from veegan_jax.data import folders, photo_files, photos


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No cache of whoever runs the tests."""
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path) -> pathlib.Path:
    """A folder with the classes a and b, of one image each."""
    folder = tmp_path / "data"
    for name in ("a", "b"):
        draw(folder / name / "0.png")
    return folder


def draw(path, image=None):
    image = np.zeros((4, 4, 3), np.uint8) if image is None else image
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, np.ndarray):
        image = PIL.Image.fromarray(image)
    image.save(path)


def read_photos(data):
    return photos.from_folder(data, rule=photos.Rule(4))


def names(found):
    return [found.name(index) for index in range(len(found))]


def deny(monkeypatch, denied, *functions):
    """What the system does for others than root, who may read everything."""

    def denying(function):
        def call(path=".", *args, **kwargs):
            if isinstance(path, str | os.PathLike) and os.fspath(path) == str(denied):
                raise PermissionError(
                    errno.EACCES, os.strerror(errno.EACCES), str(denied)
                )
            return function(path, *args, **kwargs)

        return call

    for module, name in functions:
        monkeypatch.setattr(module, name, denying(getattr(module, name)))


TARGETS = {
    "itself": ("1.png", "Too many levels of symbolic links"),
    "each other": ("2.png", "Too many levels of symbolic links"),
    "below a file": ("0.png/1.png", "Not a directory"),
    "too long a name": ("x" * 300, "File name too long"),
}


@pytest.mark.parametrize("target", TARGETS)
def test_links_that_lead_nowhere_are_skipped_or_named(data, target):
    path, reason = TARGETS[target]
    (data / "a" / "1.png").symlink_to(path)
    if target == "each other":
        (data / "a" / "2.png").symlink_to("1.png")
    found = read_photos(data)
    assert names(found) == ["a/0.png", "b/0.png"]
    number = 2 if target == "each other" else 1
    assert f"{number} cannot be read: {reason} (a/1.png" in found.report()
    with pytest.raises(errors.InputError) as caught:
        folders.read_classes(data)
    words = f"{data / 'a' / '1.png'} cannot be read as an image ({reason}): repair or"
    assert str(caught.value).startswith(words)


def test_a_long_chain_of_links_is_named(data):
    """The system follows 40; Python would follow all, by functions in functions."""
    for number in range(1500):
        (data / "a" / f"{number}.lnk").symlink_to(f"{number + 1}.lnk")
    (data / "a" / "1.png").symlink_to("0.lnk")
    with pytest.raises(errors.InputError, match=r"1\.png cannot be .*Too many levels"):
        folders.read_classes(data)
    assert names(read_photos(data)) == ["a/0.png", "b/0.png"]


@pytest.mark.parametrize("target", [*TARGETS, "nothing"])
def test_a_class_that_is_such_a_link_is_named(data, target):
    path = {"itself": "1", "each other": "2", "nothing": "c"}.get(target)
    (data / "1").symlink_to(path or TARGETS[target][0].replace("0.png", "a/0.png"))
    (data / "2").symlink_to("1")
    reason = TARGETS.get(target, ("", "No such file or directory"))[1]
    with pytest.raises(errors.InputError) as caught:
        folders.read_classes(data)
    assert str(caught.value).startswith(f"{data / '1'} cannot be read ({reason})")
    assert names(read_photos(data)) == ["a/0.png", "b/0.png"]


def test_a_link_to_nowhere_beside_the_classes_is_ignored(data, caplog):
    whole = folders.read_classes(data).sha256()
    (data / "README.txt").symlink_to("/gone")
    (data / "notes.md").symlink_to("README.txt/x")
    assert folders.read_classes(data).sha256() == whole
    assert f"{data / 'README.txt'} is a link that leads nowhere" in caplog.text


def test_a_link_that_loops_is_to_be_removed_not_merged(data):
    loop = data / "a" / "loop"
    for target in (".", "..", "../b"):
        loop.symlink_to(target)
        with pytest.raises(errors.InputError) as caught:
            folders.read_classes(data)
        words = f"{loop} is a link to a folder, within a class: remove the link"
        assert str(caught.value) == words
        loop.unlink()
    (data / "loop").symlink_to(".")
    with pytest.raises(errors.InputError) as caught:
        folders.read_classes(data)
    words = f"{data / 'loop'} is a link to {data} itself: remove the link"
    assert str(caught.value) == words


@pytest.mark.parametrize("read", [folders.read_classes, read_photos])
def test_the_folder_itself_may_be_such_a_link(tmp_path, read, monkeypatch):
    link = tmp_path / "link"
    link.symlink_to("link")
    with pytest.raises(errors.InputError) as caught:
        read(link)
    words = f"--image_dir={link} cannot be read (Too many levels of symbolic links)"
    assert str(caught.value) == words
    long = tmp_path / ("x" * 300)
    with pytest.raises(errors.InputError, match=r"x cannot be read .File name too lo"):
        read(long)
    (tmp_path / "file").touch()
    for name in ("file", "file/below", "none"):
        with pytest.raises(errors.InputError, match=f"=.*{name} is not a folder"):
            read(tmp_path / name)
    deny(monkeypatch, tmp_path / "shut", (os, "stat"))
    with pytest.raises(errors.InputError, match=r"shut cannot be read .Permission den"):
        read(tmp_path / "shut")


def test_folders_and_files_without_permission(data, monkeypatch):
    for denied, functions, report, words in (
        ("b", [(os, "scandir"), (os, "listdir")], "folders cannot be read", "b cannot"),
        ("b/0.png", [(os, "stat")], "cannot be read", "b/0.png cannot be read as"),
    ):
        with monkeypatch.context() as patch:
            deny(patch, data / denied, *functions)
            found = read_photos(data)
            assert names(found) == ["a/0.png"]
            assert f"1 {report}: Permission denied ({denied})" in found.report()
            with pytest.raises(errors.InputError, match=words) as caught:
                folders.read_classes(data)
            assert "(Permission denied): repair or remove it" in str(caught.value)
    with monkeypatch.context() as patch:
        deny(patch, data, (os, "scandir"), (os, "listdir"))
        with pytest.raises(errors.InputError, match=r"no images .*\n.*Permission den"):
            read_photos(data)
        with pytest.raises(errors.InputError, match=r"data cannot be read .Permission"):
            folders.read_classes(data)


def test_a_file_that_may_not_be_opened(data, monkeypatch):
    shut = data / "b" / "0.png"
    opened = PIL.Image.open

    def open_(file, **options):
        if file == shut:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return opened(file, **options)

    monkeypatch.setattr(PIL.Image, "open", open_)
    found = read_photos(data)
    assert names(found) == ["a/0.png"]
    assert found.skipped[0].text.startswith("cannot be read as an image (Permission")
    with pytest.raises(
        errors.InputError, match=r"0\.png cannot be read .*\(Permission"
    ):
        folders.read_classes(data)


def test_photographs_may_lie_deeper_than_functions_may_call_each_other(data):
    draw(data.joinpath(*["d"] * 300) / "0.png")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        found = photo_files.list_folder(data)
    finally:
        sys.setrecursionlimit(limit)
    assert [len(name.split("/")) for name in found.names] == [2, 2, 301]


LITTER = (
    "__MACOSX",
    "@eaDir",
    ".ipynb_checkpoints",
    ".git",
    "$RECYCLE.BIN",
    "__macosx",
)


def test_what_systems_leave_is_no_class_and_no_image(data, caplog):
    for name in LITTER:
        for folder in (data, data / "a"):
            draw(folder / name / "a" / "0.png")
            (folder / name / "._0.png").write_bytes(b"no image")
    for folder in (data, data / "b"):
        for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini", "Desktop.ini"):
            (folder / name).write_bytes(b"no image")
    assert folders.read_classes(data).names == ("a", "b")
    found = read_photos(data)
    assert names(found) == ["a/0.png", "b/0.png"]
    assert found.report() == "" and not caplog.records


def test_a_folder_of_litter_alone_has_no_classes(tmp_path):
    draw(tmp_path / "data" / "__MACOSX" / "0.png")
    with pytest.raises(errors.InputError, match="holds no folders"):
        folders.read_classes(tmp_path / "data")
    with pytest.raises(errors.InputError, match="has no images"):
        read_photos(tmp_path / "data")


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("LAB", "in another mode", "'LAB', not one of 1, L, .*: convert it to RGB"),
        ("I", "over 8 bits a channel", "'I', not of 8 bits a channel"),
        ("F", "over 8 bits a channel", "'F', not of 8 bits a channel"),
        ("I;16", "over 8 bits a channel", "'I;16', not of 8 bits a channel"),
    ],
)
def test_modes_that_are_not_read_are_called_by_their_names(data, mode, kind, words):
    draw(data / "b" / "1.tif", PIL.Image.new(mode, (4, 4)))
    found = read_photos(data)
    assert f"1 {kind} (b/1.tif)" in found.report()
    with pytest.raises(
        errors.InputError, match=rf"b/1\.tif has pixels of kind {words}"
    ):
        folders.read_classes(data)
