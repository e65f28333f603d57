"""Batches that a thread makes ready while the steps before them run.

Dimension key: T steps, B images of a batch.
"""

import itertools
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

_AHEAD = 2  # items that wait
_JOIN_SECONDS = 10.0


def groups(
    batches: Iterator[np.ndarray], lengths: Iterable[int]
) -> Iterator[np.ndarray]:
    """Stack batches to groups [T, B, ...], one for each length T."""
    for length in lengths:
        yield np.stack(list(itertools.islice(batches, length)))


def lengths(num_steps: int, most: int) -> list[int]:
    """Cut steps into groups of `most`; the last one may be shorter."""
    whole, rest = divmod(num_steps, most)
    return [most] * whole + [rest] * (rest > 0)


class Prefetch:
    """Run an iterator in a thread, so that its items are ready before they are needed.

    Args:
      items: the iterator; nothing else may use it before `close`.
      ahead: how many items may wait.

    Attributes:
      waited: seconds that `next` took in all.
    """

    def __init__(self, items: Iterator[Any], ahead: int = _AHEAD) -> None:
        # The thread itself holds one more item.
        self._queue: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(
            max(1, ahead - 1)
        )
        self._stop = threading.Event()
        self._end: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(items,), daemon=True, name="prefetch"
        )
        self._thread.start()
        self.waited = 0.0

    def _run(self, items: Iterator[Any]) -> None:
        try:
            for item in items:
                self._put((item, None))
                if self._stop.is_set():
                    return
            self._put((None, StopIteration()))
        except BaseException as error:  # `__next__` raises it
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
        """Stop the thread and drop the items that wait."""
        self._stop.set()
        self._end = self._end or StopIteration()
        self._thread.join(_JOIN_SECONDS)
        while not self._queue.empty():
            self._queue.get_nowait()
