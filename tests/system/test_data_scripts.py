"""Data is prepared by a program and read without TensorFlow."""

import os
import subprocess
import sys

from support.image_sets import write


def test_reading_needs_no_tensorflow(tmp_path):
    written = write(tmp_path)
    code = """
import sys
from veegan_jax.data import images
images.load("digits", "test")
print(images.load("mnist", "test").image.sum())
assert "tensorflow" not in sys.modules
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ
        | {"TFDS_DATA_DIR": str(tmp_path), "VEEGAN_CACHE_DIR": str(tmp_path / "c")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) == written["test"][0].sum()
    assert "mnist test: 100%" in run.stderr


def test_prepare_data_ends_with_one_message(scripts, tmp_path):
    flags = ["--datasets=mnist, svhn", f"--data_dir={tmp_path}"]
    done = scripts.run("prepare_data.py", *flags, cwd=tmp_path)
    assert done.returncode == 1
    refused = "--datasets=mnist, svhn: 'svhn' must be one of mnist, " + (
        "fashion_mnist, cifar10, cifar100"
    )
    assert done.stderr.strip() == refused
