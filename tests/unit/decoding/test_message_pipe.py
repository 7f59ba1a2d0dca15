"""Tests of the reading end of a pipe of messages."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from service.decoding.forkserver.message_pipe import PIPE_BYTES, MessagePipe, enlarge_pipe


@pytest.fixture
def ends() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The reading and the writing end of a pipe."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as reader, os.fdopen(writing, "wb") as writer:
        yield reader, writer


async def test_a_message_larger_than_the_pipe_is_read_in_one(
    ends: tuple[BinaryIO, BinaryIO],
) -> None:
    reader, writer = ends
    enlarge_pipe(reader)
    pipe, message = MessagePipe(reader), os.urandom(3 * PIPE_BYTES)

    def write() -> None:
        writer.write(message)
        writer.flush()

    writing = asyncio.create_task(asyncio.to_thread(write))
    assert await pipe.readexactly(5) == message[:5]
    rest = await pipe.readexactly(len(message) - 5)
    await writing
    assert rest == message[5:]
    assert rest.readonly


async def test_the_end_of_the_pipe_is_an_incomplete_read(ends: tuple[BinaryIO, BinaryIO]) -> None:
    reader, writer = ends
    pipe = MessagePipe(reader)
    reading = asyncio.create_task(pipe.readexactly(8))
    writer.write(b"abc")
    writer.close()
    with pytest.raises(asyncio.IncompleteReadError) as raised:
        await reading
    assert (raised.value.partial, raised.value.expected) == (b"abc", 8)


async def test_closing_cancels_a_read_that_waits(ends: tuple[BinaryIO, BinaryIO]) -> None:
    pipe = MessagePipe(ends[0])
    reading = asyncio.create_task(pipe.readexactly(1))
    await asyncio.sleep(0)
    pipe.close()
    with pytest.raises(asyncio.CancelledError):
        await reading
