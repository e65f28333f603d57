"""Batches of photographs in an order that only the seed determines.

Batch k holds examples kB to (k + 1)B - 1 of an endless list, which is one permutation
of all examples after another. The seed and its number determine each permutation. So a
run that resumes at batch k sees the batches of an uninterrupted run, with any number of
workers, and whether images are in memory or decoded when needed.

Dimension key: N images, T steps, B images of a batch, H height, W width.
"""

import collections
import functools
import itertools
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from veegan_jax.common import errors
from veegan_jax.data import photos as photo_lists
from veegan_jax.data import prefetching
from veegan_jax.runtime import distributed, parallel

_GROUP_BYTES = 2**26  # bytes of images that go to the devices at a time
_NAMED = 5  # unreadable files that are named in warnings


class Stream:
    """An endless iterator over the batches of a seed, uint8 [B, H, W, 3].

    Close it after use. Workers are new processes. Each runs the imports of the script,
    which therefore needs `if __name__ == "__main__"`. They end when this process ends,
    however it ends. Outside `absl.app.run` they need
    `absl.flags.FLAGS.mark_as_parsed()` first (google/grain issue 1355).

    Args:
      photos: the examples.
      batch_size: B, at most N.
      seed: determines the order, 0 to 2**32 - 1.
      start_step: the first batch.
      num_workers: processes that decode; 0: threads of this process decode. Images in
        memory need neither.
      part: (p, P): yield only the p-th of P equal parts of every batch.

    Attributes:
      replaced: file name -> how often another example took its place.

    Raises:
      InputError: if there are fewer images than a batch has; while reading, if many
        files in a row have become unreadable.
      RuntimeError: while reading, if a worker died.
    """

    def __init__(
        self,
        photos: photo_lists.Photos,
        batch_size: int,
        seed: int,
        *,
        start_step: int = 0,
        num_workers: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        import grain  # takes a second, and only training needs it

        if not 1 <= batch_size <= len(photos):
            raise errors.InputError(
                f"--batch_size={batch_size} must be 1 to {len(photos)}: there are "
                f"{photos.source}"
            )
        if num_workers < 0:
            raise errors.InputError(f"--num_workers={num_workers} must be at least 0")
        in_memory = photos.image is not None
        workers = 0 if in_memory else num_workers
        threads = 0 if in_memory or workers else distributed.cpu_cores()
        if threads:
            # Pillow warns of odd metadata. All threads share the filters, so they
            # cannot be set around each file, as `folders` does.
            warnings.filterwarnings("ignore", module=r"PIL\.")
        batches = (
            grain.MapDataset.range(len(photos))
            .seed(seed)
            .shuffle()
            .repeat()
            .batch(batch_size)
            .map(functools.partial(_take, photos, part))[start_step:]
            .to_iter_dataset(
                grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
            )
        )
        if workers:
            options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=2)
            batches = batches.mp_prefetch(options, worker_init_fn=_set_up_worker)
        self._photos = photos
        self._batches = iter(batches)
        # The finalizer also runs before the interpreter ends, which would cut off
        # threads and workers and may then abort.
        self._end = weakref.finalize(self, self._batches.close)
        self.replaced: collections.Counter[str] = collections.Counter()

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> np.ndarray:
        try:
            batch = next(self._batches)
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):
                raise
            raise RuntimeError(
                f"a process that decodes images died ({error}) Often memory, or space "
                "in /dev/shm, runs out: give fewer --num_workers"
            ) from error
        for index in batch["index"][batch["replaced"]].tolist():
            self._note(self._photos.name(index))
        # Workers pass batches in shared memory, so those are copied.
        return np.array(batch["image"], copy=type(batch["image"]) is not np.ndarray)

    def _note(self, name: str) -> None:
        """Count an example that another one replaced, and warn the first time."""
        self.replaced[name] += 1
        if self.replaced[name] == 1 and len(self.replaced) <= _NAMED:
            more = "; no more are named" if len(self.replaced) == _NAMED else ""
            logging.warning(
                "%s can no longer be read: the next image takes its place%s", name, more
            )

    def close(self) -> None:
        """End the workers, and return when they are gone."""
        self._end()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _take(
    photos: photo_lists.Photos, part: tuple[int, int], index_B: np.ndarray
) -> dict[str, np.ndarray]:
    index_B = np.split(np.asarray(index_B), part[1])[part[0]]
    image, replaced = photos.take(index_B)
    return {"image": image, "index": index_B, "replaced": replaced}


def _set_up_worker(number: int, count: int) -> None:
    """Make a worker ignore signals, and end when its parent ends.

    Ctrl-C in a terminal and a scheduler's SIGTERM reach every process, but the parent
    needs its workers until it has saved. If the parent is killed, the worker must
    notice it by itself.
    """
    del number, count
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # Pillow warns of odd metadata

    def wait_for_end() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()


class Feed:
    """Batches of a stream for the steps of a `runtime.run.Run`. Close it after use.

        with streams.Feed(photos, step, steps=config.steps, batch_size=64) as feed:
            Run(step=step, feed=feed, ...).train()

    All seeds see the same batches. If batches are split over processes, each process
    reads only its own part. Batches go to the devices in groups, while the steps of
    earlier groups run, and the steps of a group are one program.

    Args:
      photos: the examples.
      step: (state, axis_name, uint8 [B, H, W, 3]) -> (state, metrics); under pmap B is
        a device's share.
      steps: how many the whole run takes.
      batch_size: B, over all devices.
      seed: determines the order of the examples.
      mode, devices: see `parallel.run_steps`.
      num_workers: see `Stream`.
      group_bytes: bytes of a group of batches, at most; each device holds three.

    Attributes:
      seconds: of training in all.

    Raises:
      InputError: see `Stream`.
    """

    def __init__(
        self,
        photos: photo_lists.Photos,
        step: parallel.Step,
        *,
        steps: int,
        batch_size: int,
        seed: int = 0,
        mode: str = "none",
        devices: Sequence[jax.Device] | None = None,
        num_workers: int = 0,
        group_bytes: int = _GROUP_BYTES,
    ) -> None:
        devices = list(devices or jax.devices())
        batch_bytes = batch_size * photos.rule.size**2 * 3
        self._most = max(1, group_bytes // batch_bytes)  # steps of a group
        self._steps = steps
        self._stream = functools.partial(
            *(Stream, photos, batch_size, seed),
            num_workers=num_workers,
            part=parallel.part(mode),
        )
        self._run_steps = functools.partial(
            parallel.run_steps, step, mode=mode, devices=devices, streamed=True
        )
        self._placer = functools.partial(parallel.batch_placer, mode, devices)
        self._compiled: dict[int, Callable[..., tuple[Any, Any]]] = {}
        self._open: tuple[Stream, prefetching.Prefetch] | None = None
        self.seconds = 0.0

    def run_steps(
        self, resumed_step: int, num_steps: int
    ) -> Callable[[Any], tuple[Any, Any]]:
        """Compile the next steps of the stream; see `parallel.run_steps`.

        Args:
          resumed_step: steps taken before this process started.
          num_steps: T. All intervals but the last have the T of the first call.

        Returns:
          A function of the state of all seeds, leaves [S, ...], to be called for one
          interval after the other. It returns the new state and the metrics, leaves
          [S, T]. A seed that became non-finite keeps its old state.
        """
        plan = prefetching.lengths(num_steps, self._most)
        for length in set(plan) - set(self._compiled):
            self._compiled[length] = self._run_steps(length)
        interval = num_steps

        def run(state: Any) -> tuple[Any, Any]:
            before = time.perf_counter()
            if self._open is None:
                seeds = len(jax.tree.leaves(state)[0])
                self._start(resumed_step, interval, self._placer(seeds))
            _, prefetch = self._open
            new, parts = state, []
            for length in plan:
                new, metrics = self._compiled[length](new, next(prefetch))
                # Run one program at a time, else the groups of several are held.
                parts.append(jax.block_until_ready(metrics))
            joined = jax.tree.map(lambda *a: np.concatenate(a, axis=1), *parts)
            if len(plan) > 1 and _fell_behind(new, state, num_steps):
                old = jax.device_put(state, jax.tree.map(lambda a: a.sharding, new))
                new = _roll_back(new, old, num_steps)
            self.seconds += time.perf_counter() - before
            return new, joined

        return run

    def batch_of(self, step: int) -> np.ndarray:
        """Decode and return the whole batch of a step, uint8 [B, H, W, 3]."""
        stream = functools.partial(self._stream, num_workers=0, part=(0, 1))
        with stream(start_step=step) as batches:
            return next(batches)

    def _start(self, first: int, interval: int, place: Callable[[Any], Any]) -> None:
        whole, rest = divmod(self._steps - first, interval)
        intervals = itertools.repeat(prefetching.lengths(interval, self._most), whole)
        last = prefetching.lengths(rest, self._most)
        plan = itertools.chain(itertools.chain.from_iterable(intervals), last)
        stream = self._stream(start_step=first)
        placed = map(place, prefetching.groups(stream, plan))
        self._open = stream, prefetching.Prefetch(placed)

    @property
    def waited(self) -> float:
        """The part of `seconds` in which the devices waited for batches."""
        return self._open[1].waited if self._open else 0.0

    @property
    def replaced(self) -> dict[str, int]:
        """Unreadable files, and how often another one took their place."""
        return dict(self._open[0].replaced) if self._open else {}

    def close(self) -> None:
        """End the thread and the workers."""
        if self._open is not None:
            stream, prefetch = self._open
            prefetch.close()
            stream.close()

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _fell_behind(new: Any, old: Any, num_steps: int) -> bool:
    return bool(np.any(np.asarray(new.step) != np.asarray(old.step) + num_steps))


@functools.partial(jax.jit, static_argnames="num_steps")
def _roll_back(new: Any, old: Any, num_steps: int) -> Any:
    """Restore the state before the interval for seeds that diverged in one group."""

    def one_seed(new, old):
        ok = new.step == old.step + num_steps
        return jax.tree.map(functools.partial(parallel.choose, ok), new, old)

    return jax.vmap(one_seed)(new, old)
