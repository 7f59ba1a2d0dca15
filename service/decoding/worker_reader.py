"""Reading of a decode process: messages, time-outs, exit diagnosis, and the account of a stream.

The pipe applies the back-pressure: a parent that does not read stops the decode process once
the pipe is full. The account of a stream checks that messages are consistent with the media sent.
The state of a snapshot is stored outside in an envelope with a version and frame counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from service.decoding.cpu_budget import MEASURE_SECONDS, StallClock, WorkAccount
from service.decoding.forkserver.client import Forkserver
from service.decoding.forkserver.worker_process import WorkerProcess
from service.decoding.protocol.messages import (
    PREFIX,
    ExtractionFailed,
    InputExhausted,
    WorkerMessage,
    decode_message,
    read_prefix,
)
from service.domain.clip import Chunk, ClipClosed, ClipOpened, ExtractionEvent
from service.domain.stream import (
    MAX_SNAPSHOT_BYTES,
    AudioExtracted,
    FramesExtracted,
    FrameUnreadable,
    Snapshot,
    StreamBytes,
    StreamFrame,
    StreamInput,
)
from service.errors import (
    CircumplexError,
    DecoderCrashed,
    DecoderKilled,
    DecoderStalled,
    DecoderTimedOut,
    StreamExpired,
)
from service.serialization import MalformedDataError, decode, encode

_log = logging.getLogger(__name__)

_EXIT_TIMEOUT_SECONDS: Final = 5.0
OUT_OF_ORDER: Final = "The decoder process sent messages out of order"
_STATE_VERSION: Final = 2
"""Version of the decode process's snapshot dataclasses; states of another cannot be used."""
_FRESH_SECONDS: Final = 0.01
"""Wait after which a message is new: the decode process is not ahead of what was read."""
_UNUSABLE: Final = "The saved state of the stream cannot be used"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTimeouts:
    """Limits of the time without progress, for all messages, and of the processor time."""

    stall_seconds: float
    wall_seconds: float
    cpu_seconds: float


class WorkerReader:
    """Reader of the messages of one decode process, each with at most `max_frames` frames."""

    def __init__(
        self,
        forkserver: Forkserver,
        process: WorkerProcess,
        timeouts: ReadTimeouts,
        account: WorkAccount,
        *,
        max_frames: int,
    ) -> None:
        self._forkserver = forkserver
        self._process = process
        self._max_frames = max_frames
        self._kill_reason: CircumplexError | None = None
        self.account = account
        self.timeouts = timeouts

    async def read(self) -> WorkerMessage:
        """Read the next message.

        Raises: DecoderCrashed, DecoderTimedOut, DecoderKilled, DecoderStalled, ClipTooCostly: the
            process has ended, or sent a malformed message; and the error that the message carries.
        """
        pipe = self._process.messages
        try:
            prefix = read_prefix(await pipe.readexactly(PREFIX.size), max_frames=self._max_frames)
            content = await pipe.readexactly(prefix.length)
        except asyncio.IncompleteReadError as error:
            reason = self._kill_reason or await self._diagnose_exit()
            if isinstance(reason, DecoderCrashed):
                self._forkserver.replace()
            raise reason from error
        try:
            return decode_message(prefix, content, max_frames=self._max_frames)
        except DecoderCrashed:
            if prefix.type is ExtractionFailed:
                await self._diagnose_exit()  # logs the traceback
            raise

    async def read_watched(self, wall_seconds: float) -> WorkerMessage:
        """Read the next message of a process that must send one, and hold it to its budget.

        Raises: as `read`; DecoderStalled: it makes no progress, or takes longer than allowed.
        """
        deadline = time.monotonic() + wall_seconds
        stall = StallClock(self.timeouts.stall_seconds)
        interval = min(MEASURE_SECONDS, self.timeouts.stall_seconds / 4)
        reading = asyncio.ensure_future(self.read())
        try:
            while True:
                left = max(deadline - time.monotonic(), 0.0)
                done, _ = await asyncio.wait({reading}, timeout=min(interval, left))
                if done:
                    return reading.result()
                self.check_budget()
                if stall.is_stalled(self._process.cpu_seconds()):
                    raise DecoderStalled()
                if time.monotonic() >= deadline:
                    raise DecoderStalled("Decoding the clip takes longer than one attempt may")
        finally:
            reading.cancel()

    def check_budget(self) -> None:
        """Check the processor time that the process has taken. Raises: ClipTooCostly."""
        self.account.check(self._process.cpu_seconds())

    def has_stalled(self, stall: StallClock) -> bool:
        """Return whether the process has neither sent anything nor computed for too long."""
        return stall.is_stalled(self._process.cpu_seconds())

    def kill(self, reason: CircumplexError) -> None:
        """Kill the decode process; `read` then raises the reason."""
        self._kill_reason = reason
        self._process.kill()

    async def _diagnose_exit(self) -> CircumplexError:
        """Translate the exit of a process that did not report an error; log its standard error.

        The kernel's out-of-memory SIGKILL may be due to other processes, so it is not an error of
        the clip; a SIGKILL after the processor time limit is.
        """
        try:
            async with asyncio.timeout(_EXIT_TIMEOUT_SECONDS):
                status = await self._process.wait()
                stderr = await self._process.read_stderr_tail()
        except TimeoutError:
            return DecoderStalled("The decoder process closed its pipe and kept running")
        if status is None:
            return DecoderKilled("The process that the decoder was started by has ended")
        _log.warning("decode process ended with status %d: %s", status.status, stderr)
        cpu_seconds = self.timeouts.cpu_seconds
        out_of_time = status.status == -signal.SIGKILL and status.cpu_seconds >= cpu_seconds
        if status.status == -signal.SIGXCPU or out_of_time:
            return DecoderTimedOut("Decoding the clip takes more processor time than allowed")
        if status.status == -signal.SIGKILL:
            return DecoderKilled()
        if status.status < 0:
            return DecoderCrashed(
                f"The decoder process was ended by {signal.Signals(-status.status).name}"
            )
        return DecoderCrashed(f"The decoder process ended with status {status.status}")


@contextlib.asynccontextmanager
async def run_decode_process(
    forkserver: Forkserver,
    request: bytes,
    files: Sequence[int],
    timeouts: ReadTimeouts,
    account: WorkAccount,
    *,
    max_frames: int,
) -> AsyncGenerator[WorkerReader]:
    """Run a decode process on a request; kill and reap it on leaving.

    Args: files: handles of its media; account: a new one; max_frames: of one message.
    Raises: DecoderKilled, FaceModelsMissing.
    """
    async with forkserver.worker(request, files) as process:
        yield WorkerReader(forkserver, process, timeouts, account, max_frames=max_frames)


async def read_clip(reader: WorkerReader) -> AsyncIterator[ExtractionEvent]:
    """Read the messages of a clip in their one order: opened, chunks without a gap, closed.

    Raises: as `WorkerReader.read_watched`; DecoderCrashed: they are out of order.
    """
    frames, opened = 0, False
    left_seconds = reader.timeouts.wall_seconds
    while True:
        began = time.monotonic()
        message = await reader.read_watched(left_seconds)
        waited = time.monotonic() - began  # the time that the consumer takes is not counted
        left_seconds -= waited
        match message:
            case ClipOpened():
                in_order, opened = not opened, True
                reader.account.pixels = picture_pixels(message)
            case Chunk():
                in_order = opened and message.frames[0].index == frames
                frames += len(message.frames)
                reader.account.add_frames(len(message.frames))
            case ClipClosed():
                in_order = opened and message.frames == frames
            case _:
                raise DecoderCrashed(OUT_OF_ORDER)
        if not in_order:
            raise DecoderCrashed(OUT_OF_ORDER)
        if waited > _FRESH_SECONDS:
            reader.check_budget()
        yield message
        if isinstance(message, ClipClosed):
            return


def picture_pixels(opened: ClipOpened) -> int:
    """Return the pixels of a clip's first picture, as coded or as displayed."""
    media = opened.media
    coded = (media.coded_width or 0) * (media.coded_height or 0)
    return max(coded, media.width * media.height)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedState:
    """State of a decode process, with its version and the numbers of frames extracted so far."""

    version: int
    video_frames: int
    audio_frames: int
    state: bytes


class StreamAccount:
    """Check of a stream's received messages against its sent media. max_frames: of a message."""

    def __init__(self, max_frames: int, *, expects_opened: bool) -> None:
        """Create the account of a new stream.

        Args: expects_opened: whether ClipOpened comes first.
        """
        self.max_frames = max_frames
        self._expects_opened = expects_opened
        self._is_open = not expects_opened
        self._sent_bytes = self._consumed_bytes = 0
        self._sent_frames = self._answered_frames = 0
        self._video_frames = self._audio_frames = 0
        self._first_arrival: float | None = None
        self._last_arrival = 0.0
        self._has_ended = False

    @property
    def is_settled(self) -> bool:
        """True if all media sent have their results; after the end of the media: False."""
        frames = self._sent_frames == self._answered_frames
        return frames and self._sent_bytes == self._consumed_bytes and not self._has_ended

    def record_sent(self, piece: StreamInput) -> None:
        """Record media that are sent."""
        match piece:
            case StreamBytes():
                self._sent_bytes += len(piece.data)
            case StreamFrame():
                self._sent_frames += 1
            case _:
                return
        if self._first_arrival is None:
            self._first_arrival = piece.arrived_at
        self._last_arrival = max(self._last_arrival, piece.arrived_at)

    def record_end(self) -> None:
        """Record that the media have ended."""
        self._has_ended = True

    def accept(self, message: WorkerMessage) -> bool:
        """Record a message; False: it contradicts the media, or earlier messages."""
        match message:
            case ClipOpened():
                in_order, self._is_open = self._expects_opened and not self._is_open, True
            case FramesExtracted():
                in_order = self._is_open and message.frames[0].index == self._video_frames
                in_order &= all(self._is_arrival_time(each) for each in message.arrived_at)
                self._video_frames += len(message.frames)
                in_order &= self._record_answered(len(message.frames))
            case FrameUnreadable():
                in_order = not self._expects_opened and self._record_answered(1)
            case AudioExtracted():
                self._audio_frames += len(message.patch_starts)
                in_order = self._audio_frames <= self._video_frames
            case InputExhausted(consumed_bytes=consumed):
                in_order = (
                    self._expects_opened and self._consumed_bytes <= consumed <= self._sent_bytes
                )
                self._consumed_bytes = consumed
            case Snapshot():
                in_order = not self._expects_opened and message.frames == self._video_frames > 0
            case ClipClosed():
                in_order = (
                    self._is_open and self._audio_frames == self._video_frames == message.frames
                )
            case Chunk():
                in_order = False
        return in_order

    def seal(self, snapshot: Snapshot) -> Snapshot:
        """Add the version and the counts so far to the state of a snapshot."""
        sealed = SealedState(
            version=_STATE_VERSION,
            video_frames=self._video_frames,
            audio_frames=self._audio_frames,
            state=snapshot.state,
        )
        return replace(snapshot, state=encode(sealed))

    def unseal(self, state: bytes) -> bytes:
        """Resume from a sealed state; returns the state for the decode process.

        Raises: StreamExpired: it is no sealed state, or of another version.
        """
        if len(state) > MAX_SNAPSHOT_BYTES:
            raise StreamExpired(_UNUSABLE)
        try:
            sealed = decode(state, SealedState)
        except MalformedDataError as error:
            raise StreamExpired(_UNUSABLE) from error
        if sealed.version != _STATE_VERSION:
            raise StreamExpired("The stream was begun by another version of the service")
        self._video_frames, self._audio_frames = sealed.video_frames, sealed.audio_frames
        return sealed.state

    def _record_answered(self, frames: int) -> bool:
        if not self._expects_opened:
            self._answered_frames += frames
        return self._answered_frames <= self._sent_frames

    def _is_arrival_time(self, seconds: float) -> bool:
        first = self._first_arrival
        return first is not None and first <= seconds <= self._last_arrival
