"""The programs of a folder of images, as a newcomer types them."""

import json
import re

import numpy as np
import PIL.Image
import pytest

TINY = dict(
    steps=8,
    batch_size=4,
    latent_size=3,
    image_size=8,
    generator_widths=(3, 2),
    discriminator_widths=(2,),
    reconstructor_widths=(2,),
    joint_widths=(3,),
)


FLAGS = [
    f"--{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}"
    for k, v in TINY.items()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """43 images of smooth colours, one file that is none, and one cut short."""
    path = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(3)
    (path / "more").mkdir()
    for number in range(43):
        small = generator.integers(0, 256, (3, 4, 3), np.uint8)
        image = PIL.Image.fromarray(small).resize(
            (20, 14), PIL.Image.Resampling.BICUBIC
        )
        image.save(path / ("more" if number % 2 else ".") / f"{number:02d}.png")
    (path / "notes.txt").write_text("no image")
    whole = (path / "00.png").read_bytes()
    (path / "99.png").write_bytes(whole[: len(whole) // 2])
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path / "cache"))


def test_the_programs_train_and_measure(scripts, folder, tmp_path):
    flags = [f"--image_dir={folder}", "--method=gan", "--samples=100", *FLAGS]
    flags += ["--memory_mib=0", "--workers=2"]
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
        ("", "CelebA is not prepared under "),
        ("--dataset=cifar10", "this script trains on faces; leave the flag out"),
        ("--image_dir=. --crop=-1", "--crop=-1 must be at least 0"),
        ("--image_dir=. --memory_mib=-1", "--memory_mib=-1 must be at least 0"),
        ("--image_dir=. --method=svm", "unknown method 'svm'"),
        ("--image_dir=FOLDER --batch_size=64", "at least 70 are needed"),
        ("--image_dir=FOLDER --memory_mib=0 --nostreamed", "give more, or leave the"),
        ("--image_dir=FOLDER --channels=1", "Unknown command line flag 'channels'"),
        ("--image_dir=FOLDER --image_size=0", "--image_size=0 must be at least 1"),
    ),
)
def test_bad_flags_end_with_one_message(scripts, flags, message, folder, tmp_path):
    words = flags.replace("FOLDER", str(folder)).split()
    tiny = [f for f in FLAGS if "batch_size" not in flags or "batch_size" not in f]
    tiny = tiny if "FOLDER" in flags else []
    done = scripts.run("train_celeba.py", *tiny, *words, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
