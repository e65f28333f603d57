"""The program of single images on the bundled digits, as a newcomer types it."""

import json
import re

import pytest
from support import tiny


def test_the_program_trains_any_method(scripts, tmp_path):
    done = scripts.run(
        "train_cifar10.py",
        "--dataset=digits",
        "--method=veegan",
        "--seeds=1",
        "--samples=300",
        *tiny.flags(tiny.IMAGES),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| veegan +\| ", done.stdout)
    record = json.loads(
        (tmp_path / "runs/digits/quick/veegan/results.json").read_text()
    )
    data = {"kind": "images", "image_size": 8, "channels": 1}
    assert record["config"]["data"] == data


@pytest.mark.parametrize(
    ("flag", "message"),
    (
        ("--preset=tiny", "unknown preset 'tiny': one of quick, full, paper, dense"),
        ("--dataset=ring", "--dataset=ring must be one of cifar10, cifar100, mnist"),
        ("--image_size=9", "Unknown command line flag 'image_size'"),
        ("--networks=ali", "--networks=ali has layers for 32 x 32 pixels, digits has"),
        ("--networks=cnn", "--networks='cnn' must be one of mlp, code, dcgan, ali"),
        ("--dropout=0.5", "--dropout: gan on digits has no such setting; it has"),
        (
            "--preset=dense --dropout=0.5",
            "--dropout=0.5: gan drops no units; give --dropout=0",
        ),
        ("--preset=dense --dropout=1", "--dropout=1.0 must be in [0, 1)"),
        ("--gamma=1", "--gamma: gan on digits has no such setting; it has"),
        (
            "--data_dir=nowhere --dataset=cifar10",
            "cifar10 is not prepared under nowhere",
        ),
    ),
)
def test_bad_flags_end_with_one_message(scripts, flag, message, tmp_path):
    arguments = ["--method=gan", *([] if "dataset" in flag else ["--dataset=digits"])]
    done = scripts.run("train_cifar10.py", *arguments, *flag.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
