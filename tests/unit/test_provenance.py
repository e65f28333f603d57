"""A record names the commit of this code, and of no repository around it."""

import pathlib
import shutil
import subprocess

import pytest

from veegan_jax.common import records

HERE = pathlib.Path(records.__file__)


def _git(folder: pathlib.Path, *arguments: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    command = ["git", *who, *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> pathlib.Path:
    """A repository that tracks a copy of this code."""
    folder = tmp_path / "checkout"
    copy = folder / "veegan_jax" / "common" / HERE.name
    copy.parent.mkdir(parents=True)
    shutil.copy(HERE, copy)
    _git(folder, "init")
    _git(folder, "add", ".")
    _git(folder, "commit", "-m", "first")
    monkeypatch.setattr(records, "__file__", str(copy))
    return folder


def _found() -> tuple[str, bool | None]:
    record = records.provenance()
    assert record["commit"] == records.commit()
    return record["commit"], record["uncommitted_changes"]


def test_the_checkout_is_named_with_its_changes(checkout):
    head = _git(checkout, "rev-parse", "HEAD")
    assert _found() == (head, False)
    (checkout / "results").mkdir()
    (checkout / "results" / "record.json").touch()  # as reproduce.py leaves it
    assert _found() == (head, False)
    (checkout / "notes.txt").touch()
    assert _found() == (head, True)


def test_a_package_inside_another_repository_has_no_commit(checkout, monkeypatch):
    """As an environment inside the user's own repository, ignored or not."""
    installed = (
        checkout / ".venv" / "site-packages" / "veegan_jax" / "common" / HERE.name
    )
    installed.parent.mkdir(parents=True)
    shutil.copy(HERE, installed)
    monkeypatch.setattr(records, "__file__", str(installed))
    assert _found() == ("", None)
    (checkout / ".gitignore").write_text(".venv")
    assert _found() == ("", None)


def test_a_hook_of_another_repository_does_not_matter(checkout, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    _git(other, "init")
    head = _git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert _found() == (head, False)


def test_a_checkout_of_another_user_is_named(checkout, tmp_path, monkeypatch):
    """As in a container, where git speaks of dubious ownership."""
    folder = tmp_path / "bin"
    folder.mkdir()
    text = f"""#!/bin/sh
GIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {shutil.which("git")} "$@"
"""
    (folder / "git").write_text(text)
    (folder / "git").chmod(0o755)
    head = _git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    with pytest.raises(subprocess.CalledProcessError):
        _git(checkout, "status")
    assert _found() == (head, False)


def test_without_git_or_a_repository_there_is_no_commit(checkout, monkeypatch):
    shutil.rmtree(checkout / ".git")
    assert _found() == ("", None)
    monkeypatch.setenv("PATH", str(checkout))
    assert _found() == ("", None)
