"""Client that resumes streams, written against the public contract alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from circumplex.v1 import annotation_pb2 as wire

from service.domain.caller import ANONYMOUS, Caller
from service.streaming.stream_manager import StreamManager
from tests.unit.streaming.stream_harness import annotate_messages

Request = wire.StreamingAnnotateRequest
MediaCounts = tuple[int, int, int]
"""Numbers of bytes, frames and samples."""


def counts_of(position: wire.MediaPosition) -> MediaCounts:
    return position.container_bytes, position.frames, position.audio_samples


@dataclass
class ResumingClient:
    """Client of one stream. media: its messages, each with the amount of each kind of media."""

    config: wire.StreamConfig
    media: Sequence[tuple[Request, MediaCounts]]
    caller: Caller = ANONYMOUS
    token: str = ""
    finals: list[wire.FrameResult] = field(default_factory=list[wire.FrameResult])
    dropped: set[int] = field(default_factory=set[int])
    released: MediaCounts = (0, 0, 0)
    summary: wire.StreamSummary | None = None
    send_from: list[MediaCounts] = field(default_factory=list[MediaCounts])

    async def connect(
        self, streams: StreamManager, max_replies: int | None = None, *, finals: int | None = None
    ) -> None:
        """Send until the end, or disconnect after so many replies or final results."""
        count = 0
        if not self.token:
            self.dropped.clear()
        async with aclosing(annotate_messages(streams, self.requests(), self.caller)) as replies:
            async for reply in replies:
                self.handle(reply)
                count += 1
                if count == max_replies or len(self.finals) == finals:
                    return

    async def requests(self) -> AsyncIterator[Request]:
        """Yield the config, then the media from the requested position on."""
        config = wire.StreamConfig()
        config.CopyFrom(self.config)
        config.resume_token = self.token
        connections = len(self.send_from)
        yield Request(config=config)
        assert len(self.send_from) == connections + 1, (
            "media were read before the config was accepted"
        )
        at = (0, 0, 0)
        for request, counts in self.media:
            end_position = (at[0] + counts[0], at[1] + counts[1], at[2] + counts[2])
            is_needed = any(a > b for a, b in zip(end_position, self.send_from[-1], strict=True))
            if is_needed and not _is_received(request, at, self.send_from[-1]):
                yield request
            at = end_position

    def handle(self, reply: wire.StreamingAnnotateResponse) -> None:
        """Record a reply."""
        match reply.WhichOneof("message"):
            case "config_ack":
                send_from = counts_of(reply.config_ack.send_from)
                assert all(a >= b for a, b in zip(send_from, self.released, strict=True))
                assert not self.finals or reply.config_ack.next_final_index > self.finals[-1].index
                self.send_from.append(send_from)
            case "frame_result" if reply.frame_result.is_final:
                self.finals.append(reply.frame_result)
                self.token = reply.frame_result.resume_token or self.token
            case "frames_dropped":
                first = reply.frames_dropped.first_index
                self.dropped |= {*range(first, first + reply.frames_dropped.count)}
            case "media_released":
                self.released = counts_of(reply.media_released.until)
            case "draining":
                self.token = reply.draining.resume_token
            case "summary":
                self.summary = reply.summary
            case _:
                pass


def _is_received(request: Request, at: MediaCounts, send_from: MediaCounts) -> bool:
    """Return whether media of this kind are requested only from a later position on."""
    kind = request.WhichOneof("message")
    place = {"container": 0, "frame": 1, "audio": 2}[kind or ""]
    return at[place] < send_from[place]


def comparable_results(finals: Sequence[wire.FrameResult]) -> list[tuple[float, ...]]:
    """Index, time and the values of all tracks of each result; without the token."""
    return [
        (
            *(each.index, each.time_seconds, each.missing_reason),
            *(number for track in each.tracks for number in _numbers(track)),
        )
        for each in finals
    ]


def _numbers(track: wire.TrackResult) -> list[float]:
    estimate = track.estimate
    values = [getattr(estimate, each.name) for each in estimate.DESCRIPTOR.fields]
    values += track.class_probabilities
    return [track.track, track.HasField("box"), track.box.left, track.box.height, *values]
