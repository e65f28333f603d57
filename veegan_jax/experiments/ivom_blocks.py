"""Blocks of an IvOM measurement: the unit that is measured, saved and resumed.

Dimension key: N images of a block.
"""

import itertools
import pathlib
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import jax
import numpy as np
import tqdm

from veegan_jax.common import errors, files
from veegan_jax.runtime import distributed, loop

Arrays = dict[str, np.ndarray]  # of one block, a row for each of its images


class Block(NamedTuple):
    """Images of one seed that are measured together."""

    seed: int
    kind: str  # where z starts: "prior" or "r"
    ids: range
    latent_size: int
    reports: int  # iterations whose errors are kept

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of its arrays, which `read` demands."""
        num = len(self.ids)
        return {
            "error": (num,),
            "z": (num, self.latent_size),
            "curve": (num, self.reports),
            "converged": (num,),
            "seconds": (),
        }

    def path(self, folder: pathlib.Path) -> pathlib.Path:
        """Return the file that keeps it."""
        return folder / f"seed-{self.seed}-{self.kind}-{self.ids[0]:06d}.npz"


def measure_missing(
    plan: list[Block],
    measure_one: Callable[[Block], Arrays],
    folder: pathlib.Path,
    most: int,
    title: str,
) -> None:
    """Measure the blocks that are not in the folder yet, one in each process.

    Args:
      plan: all blocks.
      measure_one: gives arrays of as many rows as the block has images.
      folder: where the first process keeps them.
      most: images of the largest block.
      title: of the progress bar.

    Raises:
      loop.Interrupted: after SIGTERM or SIGINT, once what was measured is saved.
    """

    def missing() -> list[int]:
        folder.mkdir(exist_ok=True)
        return [i for i, block in enumerate(plan) if read(block, folder) is None]

    # Those of one kind together: `gather` wants arrays of one shape.
    todo = sorted(
        (plan[i] for i in distributed.on_main_process(missing)), key=lambda b: b.kind
    )
    processes = distributed.num_processes()
    rounds = [
        blocks[i : i + processes]
        for _, group in itertools.groupby(todo, key=lambda b: b.kind)
        for blocks in [list(group)]
        for i in range(0, len(blocks), processes)
    ]
    total = sum(len(block.ids) for block in plan)
    left = sum(len(block.ids) for block in todo)
    with (
        loop.StopFlag() as stop,
        tqdm.tqdm(
            total=total,
            initial=total - left,
            desc=title,
            unit=" images",
            disable=not distributed.is_main_process(),
        ) as bar,
    ):
        for some in rounds:
            mine = some[min(jax.process_index(), len(some) - 1)]
            padded = {
                name: np.resize(a, (most, *a.shape[1:])) if a.ndim else a
                for name, a in measure_one(mine).items()
            }
            found = distributed.gather(padded)
            for block, arrays in zip(some, found, strict=False):
                num = len(block.ids)
                arrays = {n: a[:num] if a.ndim else a for n, a in arrays.items()}
                if distributed.is_main_process():
                    files.write_arrays(block.path(folder), arrays)
                bar.update(num)
                left -= num
            signal_name = next(filter(None, distributed.share(stop.requested)), "")
            if signal_name and left:
                raise loop.Interrupted(
                    f"stopped by {signal_name}, {total - left} of {total} saved; give "
                    "the same command to go on"
                )


def seconds(plan: list[Block], folder: pathlib.Path) -> float:
    """Return the time that the blocks in the folder took."""
    kept = (read(block, folder) for block in plan)
    return sum(float(arrays["seconds"]) for arrays in kept if arrays is not None)


def join(plan: list[Block], folder: pathlib.Path) -> dict[tuple[int, str], Arrays]:
    """Join the arrays of all blocks, by seed and by where z starts.

    Raises:
      InputError: if a block is missing.
    """
    found: dict[tuple[int, str], list[Arrays]] = {}
    for block in plan:
        arrays = read(block, folder)
        if arrays is None:
            raise errors.InputError(
                f"{block.path(folder)} is gone: give the same command to measure it"
            )
        found.setdefault((block.seed, block.kind), []).append(arrays)
    return {
        which: {
            name: np.concatenate([np.atleast_1d(b[name]) for b in blocks])
            for name in blocks[0]
        }
        for which, blocks in found.items()
    }


def read(block: Block, folder: pathlib.Path) -> Arrays | None:
    """Return what was measured of a block before; None if it cannot be read.

    A file that is damaged, or of other arrays, is set aside.
    """

    def load(file: BinaryIO) -> Arrays:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in block.shapes()}
        for name, shape in block.shapes().items():
            array = arrays[name]
            if array.shape != shape or array.dtype.kind not in "bfiu":
                raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
        if not 0 <= arrays["seconds"] < np.inf:
            raise ValueError(f"it took {arrays['seconds']} seconds")
        return arrays

    return files.load_cached(block.path(folder), load)
