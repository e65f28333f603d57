"""Disks that are full or read-only: one message, and the same command goes on."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator

from support.faults import (
    GO_ON,
    LOG,
    SAVED,
    SCRIPT,
    TINY,
    assert_same_end,
    contents,
    disk,
    remount,
    steps,
)


def test_a_disk_that_fills_up_again_and_again_stops_a_run_with_one_message(
    scripts, whole, tmp_path
):
    """Wherever it is full: each time the same command, with a little more room."""
    written = sum(path.stat().st_size for path in whole.rglob("*"))
    shares = (int(share * written) // 1024 for share in (0.1, 0.9))
    sizes = ["2k", "8k", *(f"{size}k" for size in shares)]
    told = []
    with disk(tmp_path / "disk", sizes[0]) as place:
        run = place / "run"
        for size in sizes:
            remount(place, f"size={size}")
            done = scripts.run(SCRIPT, *TINY, "--workdir=disk/run", cwd=tmp_path)
            assert done.returncode == 1, [size, done.stderr]
            *_, last = done.stderr.strip().splitlines()
            refused = r"cannot be written \(No space left on device\).*: make room, "
            named = rf"disk/run(/{SAVED}|/config.json)? {refused}"
            assert re.search(f"{named}{GO_ON}$", last), [size, done.stderr]
            assert done.stderr.count("cannot be written") == 1
            assert "Traceback" not in done.stderr
            assert "Exception" not in done.stderr
            if "disk/run/checkpoints cannot" in last:
                newest = f"step {steps(run)[-1]} is kept" if steps(run) else "no step"
                assert f"; {newest}" in last
            told.append(last)
        assert "disk/run/config.json" in told[0]
        assert re.search(LOG, told[1])
        kept = steps(run)[-1]
        remount(place, "size=20m")
        done = scripts.run(SCRIPT, *TINY, "--workdir=disk/run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{kept}/400 [00:00" in done.stderr  # where the last one began
        assert_same_end(run, whole)


def test_a_disk_without_room_for_figures_is_told(scripts, whole, tmp_path):
    with disk(tmp_path / "disk", "20m") as place:
        run = place / "run"
        shutil.copytree(whole, run)
        for path in (*run.glob("*.png"), run / "results.json", run / "samples.npz"):
            path.unlink()
        used = shutil.disk_usage(place).used // 1024
        remount(place, f"size={used + 24}k")
        done = scripts.run(SCRIPT, *TINY, "--workdir=disk/run", cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        *_, last = done.stderr.strip().splitlines()
        refused = r"disk/run(/\S+)? cannot be written \(No space left on device\).*: "
        assert re.search(refused + f"make room, {GO_ON}$", last), done.stderr
        assert "checkpoints" not in last and steps(run)[-1] == 400
        remount(place, "size=20m")
        done = scripts.run(SCRIPT, *TINY, "--workdir=disk/run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert_same_end(run, whole)


def test_limits_of_file_sizes_stop_a_run(scripts, whole, tmp_path):
    """The same without a right to mount: a file may have so many bytes."""
    command = [SCRIPT, *TINY, "--workdir=run"]
    for limit, named in {
        200: "run/config.json",
        2000: "run/checkpoints",
        30_000: "run/samples.png",
    }.items():
        done = scripts.run(*command, cwd=tmp_path, RLIMIT_FSIZE=limit)
        assert done.returncode == 1
        *_, last = done.stderr.strip().splitlines()
        refused = rf"{named} cannot be written \(File too large\).*: allow larger"
        assert re.search(rf"{refused} files \(ulimit -f\), {GO_ON}$", last), done.stderr
        assert "Traceback" not in done.stderr
    done = scripts.run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_end(tmp_path / "run", whole)


@contextlib.contextmanager
def read_only(place: pathlib.Path) -> Iterator[None]:
    """Root writes whatever the mode bits say, but on no read-only file system."""
    if os.geteuid():
        modes = {path: path.stat().st_mode for path in [place, *place.rglob("*")]}
        for path, mode in modes.items():
            path.chmod(mode & 0o555)
        yield
        for path, mode in modes.items():
            path.chmod(mode)
    else:
        subprocess.run(["mount", "--bind", place, place], check=True)
        try:
            remount(place, "bind,ro")
            yield
        finally:
            subprocess.run(["umount", place], check=True)


def test_a_read_only_run_can_be_measured_but_not_trained(scripts, whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    ivom = ["run", "--images=4", "--starts=2", "--iterations=2"]
    with read_only(run):
        before = contents(run)
        for folder in ("run", "run/new"):
            done = scripts.run(SCRIPT, *TINY, f"--workdir={folder}", cwd=tmp_path)
            assert done.returncode == 1
            refused = rf"--workdir={folder} cannot be used \((Read-only|Permission)"
            assert re.search(refused, done.stderr), done.stderr
            assert "give a directory that can be written" in done.stderr
            assert "Traceback" not in done.stderr
        done = scripts.run("eval_ivom.py", *ivom, cwd=tmp_path)
        assert done.returncode == 1
        assert "--output=run/ivom cannot be used (" in done.stderr
        assert "Traceback" not in done.stderr
        done = scripts.run("eval_ivom.py", *ivom, "--output=out", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "out" / "results.json").exists()
        assert contents(run) == before


def test_a_file_for_a_work_directory_is_refused_and_kept(scripts, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for flag, why in {
        "thesis.txt": "it is a file",
        "thesis.txt/run": "Not a directory",
        "l" * 256: "File name too long",
    }.items():
        done = scripts.run(SCRIPT, *TINY, f"--workdir={flag}", cwd=tmp_path)
        assert done.returncode == 1
        assert f"--workdir={flag} cannot be used ({why}); give a direc" in done.stderr
        assert "Traceback" not in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
