"""The pieces of a stream that may have to be sent again."""

from __future__ import annotations

import tempfile
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from circumplex_client.errors import ResumeImpossible
from circumplex_client.live.media import ContainerMedia, FrameMedia, Piece
from circumplex_client.live.position import Position, rest_of

SEGMENT_BYTES: Final = 64 * 2**20


class Spool:
    """Keeps pieces in order, so many bytes of them in memory and the rest in temporary files.

    Pieces are known by their number: from `first` to before `next`.
    """

    def __init__(self, media: ContainerMedia | FrameMedia, *, memory_bytes: int) -> None:
        self._media = media
        self._memory_left = memory_bytes
        self._kept: deque[_Kept] = deque()
        self._segments: deque[_Segment] = deque()
        self._start = Position()
        self._end = Position()
        self.first = 0

    @property
    def next(self) -> int:
        """The number that the next piece will have."""
        return self.first + len(self._kept)

    @property
    def is_whole(self) -> bool:
        """Whether everything since the stream began is still there."""
        return self.first == 0

    def append(self, piece: Piece) -> None:
        """Keep one more; raises MediaUnfit."""
        end = self._end.after(piece, self._media)
        segment, offset = None, 0
        if len(piece.data) <= self._memory_left:
            self._memory_left -= len(piece.data)
        else:
            segment = self._roomy_segment()
            offset = segment.write(piece.data)
        kept = _Kept(
            piece=piece if segment is None else replace(piece, data=b""),
            start=self._end.of(piece),
            end=end,
            size=len(piece.data),
            segment=segment,
            offset=offset,
        )
        self._kept.append(kept)
        self._end = end

    def piece(self, number: int, since: Position) -> Piece | None:
        """One of the pieces without what lies before a position; None where nothing is left."""
        kept = self._kept[number - self.first]
        piece = kept.piece
        if kept.segment is not None:
            piece = replace(piece, data=kept.segment.read(kept.offset, kept.size))
        return rest_of(piece, max(0, since.of(piece) - kept.start), self._media)

    def release(self, until: Position) -> None:
        """Forget what lies before a position."""
        while self._kept and until.of(self._kept[0].piece) >= self._kept[0].own_end:
            kept = self._kept.popleft()
            self.first += 1
            self._start = kept.end
            if kept.segment is None:
                self._memory_left += kept.size
            else:
                kept.segment.pieces -= 1
        while self._segments and not self._segments[0].pieces:
            self._segments.popleft().close()

    def check(self, since: Position) -> None:
        """Raise ResumeImpossible unless it can be sent from a position on."""
        if not (since.reaches(self._start) and self._end.reaches(since)):
            raise ResumeImpossible(
                f"the service goes on from {since}; there is {self._start} to {self._end}"
            )

    def close(self) -> None:
        """Remove the temporary files."""
        for segment in self._segments:
            segment.close()

    def _roomy_segment(self) -> _Segment:
        if not self._segments or self._segments[-1].size >= SEGMENT_BYTES:
            self._segments.append(_Segment())
        return self._segments[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A piece, without its data where they are in a segment.

    start: how much there was of its kind before it. end: where the stream stands behind it.
    """

    piece: Piece
    start: int
    end: Position
    size: int
    segment: _Segment | None
    offset: int

    @property
    def own_end(self) -> int:
        return self.end.of(self.piece)


class _Segment:
    """Some of what does not fit in memory, in a temporary file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self.size = 0
        self.pieces = 0

    def write(self, data: bytes) -> int:
        """Returns where the data begin."""
        start = self._file.seek(self.size)
        self._file.write(data)
        self.size += len(data)
        self.pieces += 1
        return start

    def read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()
