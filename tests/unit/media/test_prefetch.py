"""Prefetching: order, errors, bound and closing."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from service.media.prefetch import prefetch


def test_items_are_in_order() -> None:
    assert list(prefetch(iter(range(100)), 3)) == list(range(100))


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("two")

    stage = prefetch(items(), 3)
    assert next(stage) == 1
    with pytest.raises(LookupError, match="two"):
        next(stage)


def test_prefetch_is_bounded_by_its_depth() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            made.append(item)
            yield item

    for item in prefetch(items(), 3):
        assert len(made) <= item + 1 + 3 + 2
    assert len(made) == 50


def test_closed_prefetch_ends_its_thread() -> None:
    stage = prefetch(iter(range(1000)), 2)
    assert next(stage) == 0
    stage.close()
    assert "decode" not in {thread.name for thread in threading.enumerate()}
