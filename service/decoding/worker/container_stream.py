"""Stages of a stream that is a growing container, inside its decode process.

    pipe ─▶ feeder ─┬▶ pictures ─▶ decode (own thread) ─▶ faces ─▶ FramesExtracted
                    └▶ audio ─▶ decode (own thread) ─▶ patches of those frames ─▶ AudioExtracted

The pictures never wait for the audio. Both are demuxed separately, as in a clip. Bytes that
both have read are dropped; audio is given up when its reader is 32 MiB late.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from typing import Final

from service.decoding.protocol.messages import InputExhausted, WorkerMessage
from service.decoding.requests import DecodeRequest, InputMessage
from service.decoding.worker.audio_aligner import AudioAligner
from service.decoding.worker.clip import (
    PREFETCHED_PICTURES,
    make_clip_closed,
    translate_out_of_memory,
)
from service.decoding.worker.face_stage import FaceStage, Stopwatch, stack_crops
from service.domain.audio_grid import patch_start_hop
from service.domain.clip import ClipOpened
from service.domain.media import Anomalies, Flag
from service.domain.stream import FramesExtracted, StreamBytes
from service.errors import ClipError
from service.faces.detections import FaceFinder
from service.media.audio import AudioReader, open_audio
from service.media.audio_buffer import AudioBuffer
from service.media.demux import open_growing_file
from service.media.encryption import report_encryption
from service.media.growing_file import GrowingFile
from service.media.media_info import ClipLimits, check_limits, read_media_info
from service.media.prefetch import prefetch
from service.media.stream_selection import select_audio_stream, select_video_stream
from service.media.truncation import was_truncated
from service.media.video import Picture, VideoReader

MAX_VIDEO_BUFFER_BYTES: Final = 4 * 2**20
"""Limit of bytes that wait for the video decoder; at the limit the pipe is not read."""
MAX_AUDIO_LAG_BYTES: Final = 32 * 2**20
"""Limit of bytes that wait for the audio's decoder."""
_PROBE_OPTIONS: Final = {"fpsprobesize": "0", "analyzeduration": "1000000"}
"""Opening does not wait to measure the frame rate, nor for more than 1 s of late audio."""
_UNKNOWN_WHILE_GROWING: Final = dict.fromkeys(
    ("container_seconds", "duration_seconds", "frames_estimate", "audio_duration_seconds")
)
"""Fields that are unknown while the container grows: FFmpeg reports the length so far."""

Emit = Callable[[WorkerMessage], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReceivedPicture:
    """A picture, the arrival of the newest byte that it needed, and its decoding time."""

    picture: Picture
    arrived_at: float
    busy_seconds: float


def extract_container(
    options: DecodeRequest, pieces: Iterator[InputMessage], finder: FaceFinder, emit: Emit
) -> None:
    """Decode a container until it ends; emit its frames and their audio.

    Raises: ClipError.
    """
    limits = ClipLimits(
        max_seconds=options.max_seconds,
        max_frames=options.max_frames,
        max_pixels=options.max_pixels,
    )
    file = GrowingFile(on_exhausted=lambda consumed: emit(InputExhausted(consumed_bytes=consumed)))
    with ExitStack() as resources:
        audio_thread = AudioThread(options, emit)
        _start_thread(lambda: _feed(pieces, file, audio_thread))
        container = resources.enter_context(
            open_growing_file(file, options.max_pixels, _PROBE_OPTIONS)
        )
        resources.enter_context(report_encryption(file))
        stream = select_video_stream(container, file, options.video_stream)
        check_limits(container, stream, limits)
        audio_stream = select_audio_stream(container, options.audio_stream)
        reader = VideoReader(container, stream, limits=limits, threads=options.threads)
        audio_thread.start(has_audio=audio_stream is not None)
        resources.enter_context(translate_out_of_memory(stream.width * stream.height))
        arrived = resources.enter_context(
            closing(prefetch(_measure_decoding(reader, file), PREFETCHED_PICTURES))
        )
        resources.callback(file.close)  # the thread that reads must not wait for more
        first = next(arrived)
        media = read_media_info(container, stream, audio_stream, first.picture.frame_format)
        emit(ClipOpened(media=dataclasses.replace(media, **_UNKNOWN_WHILE_GROWING)))
        face_stage = FaceStage(finder)
        _extract_faces(chain([first], arrived), face_stage, audio_thread.aligner, emit)
        audio_thread.aligner.finish()
        flags = reader.flags() | audio_thread.flags()
        flags |= {Flag.TRUNCATED} if was_truncated(file.scanner) else set[Flag]()
        emit(make_clip_closed(face_stage, flags, audio_thread.add_anomalies(reader.anomalies())))


def _extract_faces(
    received: Iterable[_ReceivedPicture], face_stage: FaceStage, aligner: AudioAligner, emit: Emit
) -> None:
    for each in received:
        stopwatch = Stopwatch()
        frame, crops = face_stage.find_faces(each.picture.planes, each.picture.time_seconds)
        emit(
            FramesExtracted(
                frames=(frame,),
                crops=stack_crops(crops),
                arrived_at=(each.arrived_at,),
                stage_seconds={"decode": each.busy_seconds, "face": stopwatch.seconds},
            )
        )
        aligner.add_frame(patch_start_hop(frame.time_seconds))


def _measure_decoding(reader: VideoReader, file: GrowingFile) -> Iterator[_ReceivedPicture]:
    """Yield pictures with the time of their decoding, without the wait for bytes."""
    waited = file.waited_seconds
    for picture in reader.read():
        idle, waited = file.waited_seconds - waited, file.waited_seconds
        yield _ReceivedPicture(
            picture=picture,
            arrived_at=file.arrived_at,
            busy_seconds=max(0.0, picture.busy_seconds - idle),
        )


def _feed(
    pieces: Iterator[InputMessage], video_file: GrowingFile, audio_thread: AudioThread
) -> None:
    """Copy the bytes to both readers."""
    audio_file = audio_thread.file
    for piece in pieces:
        if isinstance(piece, StreamBytes):
            video_file.wait_for_capacity(MAX_VIDEO_BUFFER_BYTES)
            video_file.put(piece.data, piece.arrived_at)
            audio_file.put(piece.data, piece.arrived_at)
            if audio_file.unread_bytes > MAX_AUDIO_LAG_BYTES:
                audio_thread.give_up()
    video_file.end()
    audio_file.end()


def _start_thread(target: Callable[[], None]) -> None:
    threading.Thread(target=target, name="feed", daemon=True).start()


class AudioThread:
    """The audio of a growing container, decoded on its own thread as far as frames need it.

    file: where the bytes are put; aligner: where frames are added.
    """

    def __init__(self, options: DecodeRequest, emit: Emit) -> None:
        self.file = GrowingFile()
        self._options = options
        self._buffer = AudioBuffer()
        self.aligner = AudioAligner(self._buffer, emit, max_frames=options.chunk_frames)
        self._has_audio = False
        self._is_given_up = False
        self._reader: AudioReader | None = None

    def start(self, *, has_audio: bool) -> None:
        """Start the thread, if there is audio."""
        self._has_audio = has_audio
        if has_audio:
            threading.Thread(target=self._run, name="audio", daemon=True).start()
        else:
            self.file.close()
            self.aligner.end_audio()

    def give_up(self) -> None:
        """Read no more audio: too much of it waits for the decoder."""
        self._is_given_up = True
        self.file.close()

    def flags(self) -> set[Flag]:
        """Return the flags of the audio so far."""
        if not self._has_audio:
            return {Flag.NO_AUDIO}
        found = {Flag.AUDIO_UNREADABLE} if self._reader is None else self._reader.flags()
        if self._is_given_up:
            found = found - {Flag.NO_AUDIO} | {Flag.AUDIO_UNREADABLE}
        return found | ({Flag.AUDIO_GAPS} if self.aligner.has_missing_audio else set())

    def add_anomalies(self, video: Anomalies) -> Anomalies:
        """Add the anomalies of the audio so far to those of the pictures."""
        return video if self._reader is None else self._reader.add_anomalies(video)

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            with open_growing_file(self.file, self._options.max_pixels) as container:
                self._read_audio(open_audio(container, self._options.audio_stream, self._buffer))
        except ClipError:  # the pictures' reader raises the error of the clip
            self._reader = None
        except BaseException as error:
            failure = error
        self.file.close()
        self.aligner.end_audio(failure)

    def _read_audio(self, reader: AudioReader) -> None:
        self._reader = reader
        while self.aligner.wait_for_demand():
            began, waited = time.perf_counter(), self.file.waited_seconds
            segment = reader.read_segment()
            if segment is None:
                return
            idle = self.file.waited_seconds - waited
            self.aligner.add_audio(segment, time.perf_counter() - began - idle)
