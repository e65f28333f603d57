"""Paths that users give: one function reads all of them, flags and variables."""

import os
import pathlib
import pwd
import re

import pytest
from absl import flags
from support import programs

from lgan_jax import options as lgan_options
from veegan_jax.classifier import files as classifier_files
from veegan_jax.common import caches, errors, files
from veegan_jax.common import flags as common_flags
from veegan_jax.data import images
from veegan_jax.experiments import faces
from veegan_jax.runtime import workdirs

SCRIPTS = sorted(
    path.relative_to(programs.SCRIPTS).with_suffix("").as_posix()
    for path in programs.SCRIPTS.rglob("*.py")
    if "program.run(" in path.read_text(encoding="utf-8")
)
# Names and helps that speak of files and folders.
PATH_NAME = re.compile(
    r"(.*_)?(dir|directory|path|file|folder|root|output|figure|workdir|classifier|add)"
)
PATH_HELP = re.compile(r"\b(file|folder|directory|where .* goes?)\b")


def test_home_folders_are_found_and_urls_refused(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert files.user_path("~/x y") == pathlib.Path("/home/ann/x y")
    assert files.user_path("~") == pathlib.Path("/home/ann")
    assert files.user_path("~root/x") == pathlib.Path(pwd.getpwnam("root").pw_dir, "x")
    for text in ("a/~/b", "a~", "runs/2024:01/x", ".", "gs:"):
        assert files.user_path(text) == pathlib.Path(text)
    here = pathlib.Path.cwd()
    named = files.user_path("./~nobody-x")
    assert named == here / "~nobody-x" == files.user_path(str(named))
    named = files.user_path("./run1:/x")
    assert named == here / "run1:" / "x" == files.user_path(str(named))
    with pytest.raises(errors.InputError, match=r"of a folder here, give \./run1:/x$"):
        files.user_path("run1:/x")
    for text in ("gs://b/run", "s3://b", "https://x.org/a.npy", "file:///a", "GS://b"):
        for given in (text, pathlib.Path(text)):
            with pytest.raises(errors.InputError, match=r"^--workdir=\S+ is a URL: "):
                files.user_path(given, "--workdir")
    with pytest.raises(errors.InputError, match=r"^~nobody-x/a: the home folder of "):
        files.user_path("~nobody-x/a")


@pytest.fixture
def homeless(monkeypatch):
    """A user as containers have them: no HOME, and a number without an entry."""

    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "TFDS_DATA_DIR", "VEEGAN_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_home_folder_only_what_needs_one_is_refused(
    homeless, tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.InputError, match="--workdir=~/x: the home folder of ~ "):
        files.user_path("~/x", "--workdir")
    assert images.choose("auto") == "digits"
    with pytest.raises(errors.InputError, match="not prepared under ~/tensorflow_data"):
        images.load("mnist", "train")
    caches._warn_once.cache_clear()
    kept = caches.Caches(None)
    for _ in range(2):
        assert kept.read("a", lambda file: file.read()) is None
        kept.write("a", lambda file: file.write(b"a"))
    assert caplog.text.count("cannot be kept in ~/.cache (this user has no home") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("TFDS_DATA_DIR", lambda: images.is_prepared("mnist")),
        ("VEEGAN_CACHE_DIR", lambda: caches.Caches(None)),
        ("XDG_CACHE_HOME", lambda: caches.Caches(None)),
        ("--data_dir", lambda: images.is_prepared("mnist", "gs://b")),
        ("--image_dir", lambda: faces.Options(image_dir="gs://b")),
        ("--classifier", lambda: lgan_options.Options(classifier="gs://b")),
        ("--classifier", lambda: classifier_files.ready("digits", "gs://b")),
        ("--workdir", lambda: workdirs.claim(pathlib.Path("gs://b"), {})),
    ],
)
def test_variables_and_options_are_read_like_flags(name, use, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for variable in ("TFDS_DATA_DIR", "VEEGAN_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    if not name.startswith("--"):
        monkeypatch.setenv(name, "gs://b")
    with pytest.raises(errors.InputError, match=f"^{name}=gs:/?/b is a URL"):
        use()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_flag_of_a_path_reads_it_as_one(script, monkeypatch):
    monkeypatch.syspath_prepend(str((programs.SCRIPTS / script).parent))
    before = {name: flags.FLAGS[name] for name in flags.FLAGS}
    for _ in programs.as_module(script):
        module = flags.FLAGS.find_module_defining_flag
        ours = [n for n in flags.FLAGS if flags.FLAGS[n] is not before.get(n)]
        ours = [n for n in ours if not module(n).startswith("absl")]
        found = {
            name
            for name in ours
            if isinstance(flags.FLAGS[name].parser, common_flags.PathParser)
        }
        for name in ours:
            flag = flags.FLAGS[name]
            if "string" in flag.flag_type():
                named = PATH_NAME.fullmatch(name) or PATH_HELP.search(flag.help)
                assert not named, f"--{name} is no path flag: {flag.help}"
        assert found or not ours  # bench/compare.py has arguments only
        for name in found:
            flag = flags.FLAGS[name]
            assert "local or mounted" in flag.help
            flag.parse("~/x")
            paths = flag.value if isinstance(flag.value, list) else [flag.value]
            assert paths[-1] == os.path.expanduser("~/x")
            with pytest.raises(flags.IllegalFlagValueError, match="is a URL"):
                flag.parse("gs://bucket/x")
