"""Replay buffer: media that may have to be sent again after a resume."""

from __future__ import annotations

import tempfile
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from circumplex_client.errors import ResumeImpossible
from circumplex_client.live.media import ContainerInput, FrameInput, MediaChunk
from circumplex_client.live.position import StreamPosition, drop_start

SEGMENT_BYTES: Final = 64 * 2**20


class ReplayBuffer:
    """Stores chunks in order, up to `memory_bytes` in memory and the rest in temporary files.

    Chunks are numbered from `first_number` to before `next_number`.
    """

    def __init__(self, media: ContainerInput | FrameInput, *, memory_bytes: int) -> None:
        self._media = media
        self._free_memory_bytes = memory_bytes
        self._buffered: deque[_BufferedChunk] = deque()
        self._segments: deque[_FileSegment] = deque()
        self._start = StreamPosition()
        self._end = StreamPosition()
        self.first_number = 0

    @property
    def next_number(self) -> int:
        """Number of the next chunk to be appended."""
        return self.first_number + len(self._buffered)

    @property
    def is_complete(self) -> bool:
        """True while no chunk since the start of the stream has been released."""
        return self.first_number == 0

    def append(self, chunk: MediaChunk) -> None:
        """Store a chunk; raises InvalidMedia if it does not fit the stream's format."""
        end = self._end.advance(chunk, self._media)
        segment, offset = None, 0
        if len(chunk.data) <= self._free_memory_bytes:
            self._free_memory_bytes -= len(chunk.data)
        else:
            segment = self._get_writable_segment()
            offset = segment.write(chunk.data)
        buffered = _BufferedChunk(
            chunk=chunk if segment is None else replace(chunk, data=b""),
            start_count=self._end.count_of(chunk),
            end=end,
            size=len(chunk.data),
            segment=segment,
            offset=offset,
        )
        self._buffered.append(buffered)
        self._end = end

    def read_from(self, number: int, since: StreamPosition) -> MediaChunk | None:
        """Return a chunk from a position on; None if all of it lies before the position."""
        buffered = self._buffered[number - self.first_number]
        chunk = buffered.chunk
        if buffered.segment is not None:
            chunk = replace(chunk, data=buffered.segment.read(buffered.offset, buffered.size))
        return drop_start(chunk, max(0, since.count_of(chunk) - buffered.start_count), self._media)

    def release(self, until: StreamPosition) -> None:
        """Drop the chunks before a position."""
        while (
            self._buffered
            and until.count_of(self._buffered[0].chunk) >= self._buffered[0].end_count
        ):
            buffered = self._buffered.popleft()
            self.first_number += 1
            self._start = buffered.end
            if buffered.segment is None:
                self._free_memory_bytes += buffered.size
            else:
                buffered.segment.chunk_count -= 1
        while self._segments and not self._segments[0].chunk_count:
            self._segments.popleft().close()

    def check_resumable(self, since: StreamPosition) -> None:
        """Raise ResumeImpossible unless the media from a position on are stored."""
        if not (since.has_reached(self._start) and self._end.has_reached(since)):
            raise ResumeImpossible(
                f"the service goes on from {since}; there is {self._start} to {self._end}"
            )

    def close(self) -> None:
        """Remove the temporary files."""
        for segment in self._segments:
            segment.close()

    def _get_writable_segment(self) -> _FileSegment:
        if not self._segments or self._segments[-1].size_bytes >= SEGMENT_BYTES:
            self._segments.append(_FileSegment())
        return self._segments[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _BufferedChunk:
    """A stored chunk, without its data where they are in a segment.

    start_count: amount of its kind of media before it. end: position after it.
    """

    chunk: MediaChunk
    start_count: int
    end: StreamPosition
    size: int
    segment: _FileSegment | None
    offset: int

    @property
    def end_count(self) -> int:
        return self.end.count_of(self.chunk)


class _FileSegment:
    """Chunks that exceed the memory limit, in an anonymous temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self.size_bytes = 0
        self.chunk_count = 0

    def write(self, data: bytes) -> int:
        """Append data; returns their offset in the file."""
        start = self._file.seek(self.size_bytes)
        self._file.write(data)
        self.size_bytes += len(data)
        self.chunk_count += 1
        return start

    def read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()
