"""What users name: clouds, home folders, outputs on full disks; stops in a write."""

import json
import signal
import time

import numpy as np
import PIL.Image
from support.faults import disk, remount

T = ["--steps=20", "--seeds=1", "--batch_size=64", "--samples=200"]


def test_urls_are_refused_and_home_folders_found(scripts, tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home, here):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    np.save(home / "x y.npy", np.ones((50, 2), np.float32))
    for command in (
        ["train_mixtures.py", *T, "--workdir=gs://b/run"],
        ["train_mixtures.py", *T, "--method_file", "s3://b/gan.py"],
        ["lgan_generate.py", f"--image_dir={home}", "--output=gs://b/x"],
        ["eval_ivom.py", "gs://b/run"],
        ["bench/scaling.py", "--output=gs://b/x.json"],
    ):
        done = scripts.run(*command, cwd=here)
        assert done.returncode == 1
        assert "is a URL: only local and mounted folders can be used" in done.stderr
        assert "Traceback" not in done.stderr
    flags = ["--output=~/o.json", "--figure=~/o.svg"]
    done = scripts.run("eval_samples.py", "~/x y.npy", *flags, cwd=here)
    assert done.returncode == 0, done.stderr
    assert json.loads((home / "o.json").read_text())["samples"] == 50
    assert (home / "o.svg").exists()
    done = scripts.run("eval_samples.py", "~/x y.npy", *flags, cwd=here)
    assert done.returncode == 1
    assert f"--output={home}/o.json exists and is not overwritten" in done.stderr
    assert list(here.iterdir()) == []


def test_a_full_disk_of_an_output_is_named(scripts, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((50, 2), np.float32))
    with disk(tmp_path / "disk", "20m") as place:
        (place / "other").write_bytes(bytes(2**20))
        remount(place, "size=1028k")
        for flag in ("--figure=disk/o.png", "--figure=disk/o.pdf"):
            done = scripts.run("eval_samples.py", "x.npy", flag, cwd=tmp_path)
            assert done.returncode == 1
            *_, last = done.stderr.strip().splitlines()
            refused = f"{flag.partition('=')[2]} cannot be written (No space left"
            assert last.startswith(refused), done.stderr
        assert [path.name for path in place.iterdir()] == ["other"]


def test_a_stop_while_images_are_written_leaves_nothing(scripts, tmp_path):
    """Ctrl-C ends the process at once; 20,000 small files take seconds."""
    generator = np.random.default_rng(1)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 256, (8, 8), np.uint8)
            path = tmp_path / "photos" / name / f"{number}.png"
            PIL.Image.fromarray(pixels).save(path)
    command = ["lgan_generate.py", "--image_dir=photos", "--generator=affine"]
    command += ["--num_samples=10000", "--output=made/images"]
    run = scripts.start(*command, cwd=tmp_path)
    made = tmp_path / "made"
    while not list(made.glob("images.*.part/a/*.png")):
        assert run.poll() is None, run.stderr
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    assert run.wait() == 130
    assert "stopped at once by SIGINT" in run.stderr
    assert list(made.iterdir()) == []
