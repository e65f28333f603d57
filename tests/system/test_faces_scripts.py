"""The programs of a folder of images, as a newcomer types them."""

import json
import re

import pytest
from support import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path / "cache"))


def test_the_programs_train_and_measure(scripts, folder, tmp_path):
    flags = [f"--image_dir={folder}", "--method=gan", "--samples=100"]
    changes = {k: v for k, v in tiny.FACES.items() if not k.startswith("recon")}
    flags += [*tiny.flags(changes), "--memory_mib=0", "--workers=2"]
    done = scripts.run("train_celeba.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "skipped 2 files" in done.stdout
    assert "decoded as needed" in done.stdout
    workdir = tmp_path / "runs/faces/quick/gan"
    record = json.loads((workdir / "results.json").read_text())
    data = {"kind": "photos", "image_size": 8, "channels": 3, "streamed": True}
    assert record["config"]["data"] == data
    flags = [f"--image_dir={folder}", "--images=3", "--starts=1", "--iterations=5"]
    done = scripts.run("eval_ivom.py", workdir, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| \*\*gan\*\* ", done.stdout, flags=re.MULTILINE)
    # Cut otherwise these are other images, and others would be held out elsewhere.
    done = scripts.run("eval_ivom.py", workdir, *flags, "--crop=10", cwd=tmp_path)
    assert done.returncode == 1
    assert "--crop=10: " in done.stderr and "on other images" in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    (
        ("--image_dir=nowhere", "--image_dir=nowhere is not a folder"),
        ("--image_dir=.", "--image_dir=. has no images"),
        ("", "celeb_a is not prepared under "),
        ("--dataset=cifar10", "this script trains on faces; leave the flag out"),
        ("--image_dir=. --crop=-1", "--crop=-1 must be at least 0"),
        ("--image_dir=. --memory_mib=-1", "--memory_mib=-1 must be at least 0"),
        ("--image_dir=. --method=svm", "unknown method 'svm'"),
        ("--image_dir=FOLDER --batch_size=64", "at least 70 are needed"),
        ("--image_dir=FOLDER --memory_mib=0 --nostreamed", "give more, or leave the"),
        ("--image_dir=FOLDER --channels=1", "Unknown command line flag 'channels'"),
        ("--image_dir=FOLDER --image_size=0", "--image_size=0 must be in"),
    ),
)
def test_bad_flags_end_with_one_message(scripts, flags, message, folder, tmp_path):
    words = flags.replace("FOLDER", str(folder)).split()
    changes = tiny.FACES if "FOLDER" in flags else {}
    words = [*tiny.flags(changes), *words]  # of two, the last counts
    done = scripts.run("train_celeba.py", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
