"""A client that is cut off and goes on, by nothing but what the contract says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from circumplex.v1 import annotation_pb2 as wire

from service.domain.caller import ANONYMOUS, Caller
from service.streaming.stream_manager import StreamManager

Request = wire.StreamingAnnotateRequest
MediaCounts = tuple[int, int, int]
"""Of bytes, frames and samples."""


def counts_of(position: wire.MediaPosition) -> MediaCounts:
    return position.container_bytes, position.frames, position.audio_samples


@dataclass
class ResumingClient:
    """media: what it sends, and how much of each kind each message holds."""

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
        """Send until the end, or leave after so many replies, or with so many final results."""
        count = 0
        if not self.token:
            self.dropped.clear()
        async with aclosing(streams.annotate(self.requests(), self.caller)) as replies:
            async for reply in replies:
                self.handle(reply)
                count += 1
                if count == max_replies or len(self.finals) == finals:
                    return

    async def requests(self) -> AsyncIterator[Request]:
        """The config, then everything that is wanted."""
        config = wire.StreamConfig()
        config.CopyFrom(self.config)
        config.resume_token = self.token
        visits = len(self.send_from)
        yield Request(config=config)
        assert len(self.send_from) == visits + 1, "media were wanted before the acknowledgement"
        at = (0, 0, 0)
        for request, counts in self.media:
            behind = (at[0] + counts[0], at[1] + counts[1], at[2] + counts[2])
            if any(each > wanted for each, wanted in zip(behind, self.send_from[-1], strict=True)):
                cut = _unless_received(request, at, self.send_from[-1])
                if cut is not None:
                    yield cut
            at = behind

    def handle(self, reply: wire.StreamingAnnotateResponse) -> None:
        """Note what is told."""
        match reply.WhichOneof("message"):
            case "config_ack":
                wanted = counts_of(reply.config_ack.send_from)
                assert all(a >= b for a, b in zip(wanted, self.released, strict=True))
                assert not self.finals or reply.config_ack.next_final_index > self.finals[-1].index
                self.send_from.append(wanted)
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


def _unless_received(request: Request, at: MediaCounts, wanted: MediaCounts) -> Request | None:
    """The message, unless it has been had."""
    kind = request.WhichOneof("message")
    place = {"container": 0, "frame": 1, "audio": 2}[kind or ""]
    if at[place] >= wanted[place]:
        return request
    return None


def comparable_results(finals: Sequence[wire.FrameResult]) -> list[tuple[float, ...]]:
    """Of each result index, time, and of each track all that is estimated; no token."""
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
    return [track.track, track.HasField("box"), track.box.left, track.box.height, *values]
