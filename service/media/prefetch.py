"""Prefetching: advances an iterator on a thread of its own, by a bounded number of items."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    """End marker in the queue, with the error that ended the iterator, or None."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(items: Iterator[Item], depth: int) -> Generator[Item]:
    """Yield the items of an iterator that another thread advances; closing ends that thread.

    Args: depth: maximum number of queued items, >= 1; with one being made and one in use,
        depth + 2 exist at a time.
    Raises: what the iterator raises, after the items before it.
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
