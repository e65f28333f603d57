"""Photographs as batches: the same ones for a seed, wherever they come from.

Batch k holds examples kB to (k + 1)B - 1 of an endless list: one permutation of all
examples after the other, each a function of the seed and its number. So a run that
starts at batch k sees what a whole one sees from there on, with any number of workers,
whether the images are in memory or decoded as they are needed.

Dimension key: N images, T steps, B images of a batch, H height, W width.
"""

import collections
import functools
import itertools
import logging
import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from veegan_jax.common import errors
from veegan_jax.data import photos as photo_lists
from veegan_jax.runtime import distributed, parallel

_GROUP_BYTES = 2**26  # of images that go to the devices at a time
_AHEAD = 2  # groups that wait on the devices
_NAMED = 5  # unreadable files to warn of one by one
_JOIN_SECONDS = 10.0


class Stream:
    """Yields the batches of a seed, uint8 [B, H, W, 3], without end; close it after.

    Workers are processes of their own, which start as new ones do: a script runs its
    imports in each of them, and needs `if __name__ == "__main__"`. They end with this
    process, however it ends. Outside `absl.app.run` they need
    `absl.flags.FLAGS.mark_as_parsed()` first (google/grain issue 1355).

    Args:
      photos: the examples.
      batch_size: B, at most N.
      seed: of the order, 0 to 2**32 - 1.
      start_step: the first batch.
      num_workers: processes that decode; 0: threads of this one. In memory nothing is
        decoded, and there are none.
      part: (p, P): of every batch the p-th of P equal parts, which no others read.

    Raises:
      InputError: if there are fewer images than a batch has; while reading, if many in
        a row have become unreadable.
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
            # Pillow's, of odd metadata. The filters are every thread's, so that they
            # cannot be set around a file, as `folders` does.
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
        # Also before the interpreter ends: threads and workers that it cuts off there
        # may abort the process.
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
        # A copy where workers are: theirs is in memory that they share.
        return np.array(batch["image"], copy=type(batch["image"]) is not np.ndarray)

    def _note(self, name: str) -> None:
        """Count an example that another one replaced; warn the first time."""
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
    """Make a worker leave signals to its parent, and end with it.

    A terminal's Ctrl-C and a scheduler's SIGTERM go to every process, and the parent
    goes on for as long as it takes to save. If it is killed itself, nobody else would
    tell the worker.
    """
    del number, count
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # Pillow's, of odd metadata

    def wait_for_end() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()


def groups(
    batches: Iterator[np.ndarray], lengths: Iterable[int]
) -> Iterator[np.ndarray]:
    """Join batches to groups [T, B, ...], one of each length T."""
    for length in lengths:
        yield np.stack(list(itertools.islice(batches, length)))


def lengths(num_steps: int, most: int) -> list[int]:
    """Cut steps into groups of `most`, the last one perhaps shorter."""
    whole, rest = divmod(num_steps, most)
    return [most] * whole + [rest] * (rest > 0)


class Prefetch:
    """Run an iterator in a thread, so that its items are there before they are needed.

    Args:
      items: what to run; it is not used elsewhere until `close`.
      ahead: how many items may wait.
    """

    def __init__(self, items: Iterator[Any], ahead: int = _AHEAD) -> None:
        # One more waits in the thread's hands.
        self._queue: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(
            max(1, ahead - 1)
        )
        self._stop = threading.Event()
        self._end: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(items,), daemon=True, name="prefetch"
        )
        self._thread.start()
        self.waited = 0.0  # seconds that `next` took in all

    def _run(self, items: Iterator[Any]) -> None:
        try:
            for item in items:
                self._put((item, None))
                if self._stop.is_set():
                    return
            self._put((None, StopIteration()))
        except BaseException as error:  # raised where the items are used
            self._put((None, error))

    def _put(self, pair: tuple[Any, BaseException | None]) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(pair, timeout=0.1)
            except queue.Full:
                pass

    def __iter__(self) -> "Prefetch":
        return self

    def __next__(self) -> Any:
        if self._end is not None:
            raise self._end
        start = time.perf_counter()
        item, self._end = self._queue.get()
        self.waited += time.perf_counter() - start
        if self._end is not None:
            raise self._end
        return item

    def close(self) -> None:
        """Stop the thread and drop what waits."""
        self._stop.set()
        self._end = self._end or StopIteration()
        self._thread.join(_JOIN_SECONDS)
        while not self._queue.empty():
            self._queue.get_nowait()


class Feed:
    """Batches of a stream for the steps of a `runtime.run.Run`. Close it after.

        with streams.Feed(photos, step, steps=config.steps, batch_size=64) as feed:
            Run(step=step, feed=feed, ...).train()

    All seeds see the same batches; where they are split over processes, each process
    reads its own part alone. Groups of them go to the devices while the steps of
    earlier groups run, and so many steps are one program.

    Args:
      photos: the examples.
      step: (state, axis_name, uint8 [B, H, W, 3]) -> (state, metrics); under pmap B is
        a device's share.
      steps: of the whole run.
      batch_size: B, over all devices.
      seed: of the order of the examples.
      mode, devices: see `parallel.run_steps`.
      num_workers: see `Stream`.
      group_bytes: what a group of batches may take; three are on each device.

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
        self._open: tuple[Stream, Prefetch] | None = None
        self.seconds = 0.0  # of training in all

    def run_steps(
        self, resumed_step: int, num_steps: int
    ) -> Callable[[Any], tuple[Any, Any]]:
        """What `parallel.run_steps` returns, for the next steps of the stream.

        Args:
          resumed_step: steps taken before this process.
          num_steps: T. The first call's is every interval's but the last.

        Returns:
          A function of the state of all seeds, leaves [S, ...]: to be called for one
          interval after the other. It returns the new state and the metrics, leaves
          [S, T]. A seed that became non-finite keeps the state it had.
        """
        plan = lengths(num_steps, self._most)
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
                # One program at a time: more would hold the groups of all of them.
                parts.append(jax.block_until_ready(metrics))
            joined = jax.tree.map(lambda *a: np.concatenate(a, axis=1), *parts)
            if len(plan) > 1 and _fell_behind(new, state, num_steps):
                old = jax.device_put(state, jax.tree.map(lambda a: a.sharding, new))
                new = _roll_back(new, old, num_steps)
            self.seconds += time.perf_counter() - before
            return new, joined

        return run

    def batch_of(self, step: int) -> np.ndarray:
        """The whole batch of a step, uint8 [B, H, W, 3], decoded for this call."""
        stream = functools.partial(self._stream, num_workers=0, part=(0, 1))
        with stream(start_step=step) as batches:
            return next(batches)

    def _start(self, first: int, interval: int, place: Callable[[Any], Any]) -> None:
        whole, rest = divmod(self._steps - first, interval)
        intervals = itertools.repeat(lengths(interval, self._most), whole)
        last = lengths(rest, self._most)
        plan = itertools.chain(itertools.chain.from_iterable(intervals), last)
        stream = self._stream(start_step=first)
        placed = map(place, groups(stream, plan))
        self._open = stream, Prefetch(placed)

    @property
    def waited(self) -> float:
        """Seconds of `seconds` in which the devices had nothing to do but wait."""
        return self._open[1].waited if self._open else 0.0

    @property
    def replaced(self) -> dict[str, int]:
        """Files that have become unreadable, and how often another took their place."""
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
    """The state before all groups of an interval, for seeds that fell behind in one."""

    def one_seed(new, old):
        ok = new.step == old.step + num_steps
        return jax.tree.map(functools.partial(parallel.choose, ok), new, old)

    return jax.vmap(one_seed)(new, old)
