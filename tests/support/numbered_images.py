"""Image files that tell their number, and the processes that decode them."""

import os
import pathlib

import numpy as np
import PIL.Image

from veegan_jax.data import photos

N, SIZE = 10, 2


def write(folder, number=N):
    """Image k has 10 k as every value."""
    folder.mkdir()
    for k in range(number):
        array = np.full((SIZE, SIZE, 3), 10 * k, np.uint8)
        PIL.Image.fromarray(array).save(folder / f"{k:02d}.png")


def read(folder, memory=0):
    cache = str(folder.parent / "cache")
    rule = photos.Rule(SIZE)
    return photos.from_folder(folder, rule=rule, memory=memory, cache_dir=cache)


def numbers(batch):
    """Which images are in a batch."""
    assert batch.dtype == np.uint8 and batch.shape[1:] == (SIZE, SIZE, 3)
    assert (batch == batch[:, :1, :1, :1]).all()
    return (batch[:, 0, 0, 0] // 10).tolist()


def children():
    """Processes of this one, but for multiprocessing's tracker of memory."""
    threads = pathlib.Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = [int(pid) for path in threads for pid in path.read_text().split()]
    found = {pid: command(pid) for pid in pids}
    return {pid: c for pid, c in found.items() if "resource_tracker" not in c}


def command(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except FileNotFoundError:
        return ""
