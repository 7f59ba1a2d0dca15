"""A stage of a chain that works ahead on a thread of its own, by a bounded number of items."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    """What a stage hands over last: the error that ended it, or None."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(items: Iterator[Item], depth: int) -> Generator[Item]:
    """Yield the items of an iterator that another thread advances; closed, it ends that thread.

    Args: depth: most items that wait, >= 1; with one in the making and one in use,
        depth + 2 exist at a time.
    Raises: whatever the iterator raises, after the items before it.
    """
    waiting: queue.Queue[Item | _End] = queue.Queue(depth)
    stop = threading.Event()

    def advance() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                waiting.put(item)
                if stop.is_set():
                    return
        except BaseException as raised:
            error = raised
        waiting.put(_End(error))

    thread = threading.Thread(target=advance, name="decode", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        while thread.is_alive():
            try:
                waiting.get(timeout=0.01)
            except queue.Empty:
                continue
