"""The chain of stages inside the child of a stream that is a file in the making.

    pipe ─▶ feeder ─┬▶ pictures ─▶ decode (own thread) ─▶ faces ─▶ Seen
                    └▶ sound ─▶ decode (own thread) ─▶ patches of frames seen ─▶ Heard

The pictures never wait for the sound. What comes is read twice, as of a clip that lies there;
what has been read is dropped, and sound that nobody has come to want for many megabytes is
given up.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from typing import Final

from service.decoding.protocol.stream_messages import InputExhausted, StreamMessage
from service.decoding.requests import DecodeRequest
from service.decoding.worker.audio_aligner import AudioAligner
from service.decoding.worker.audio_thread import AudioThread
from service.decoding.worker.clip import PREFETCHED_PICTURES, make_clip_closed
from service.decoding.worker.face_stage import FaceStage, Stopwatch, stack_crops
from service.decoding.worker.memory_errors import translate_out_of_memory
from service.domain.audio_grid import patch_start_hop
from service.domain.clip import ClipOpened
from service.domain.media import Flag
from service.domain.stream import FramesExtracted, StreamBytes, StreamInput
from service.faces.detections import FaceFinder
from service.media.demux import ClipLimits, check_limits, open_growing_file
from service.media.growing_file import GrowingFile
from service.media.media_info import read_media_info
from service.media.prefetch import prefetch
from service.media.stream_selection import select_audio_stream, select_video_stream
from service.media.truncation import was_truncated
from service.media.video import Picture, VideoReader

MAX_VIDEO_BUFFER_BYTES: Final = 4 * 2**20
"""Bytes that wait for the pictures' decoder; beyond them the pipe is left full."""
MAX_AUDIO_LAG_BYTES: Final = 32 * 2**20
"""Bytes that the sound's reader may be behind."""
_PROBE_OPTIONS: Final = {"fpsprobesize": "0", "analyzeduration": "1000000"}
"""The pictures do not wait to learn of their rate, nor for more than 1 s of sound that is late."""
_UNKNOWN_WHILE_GROWING: Final = dict.fromkeys(
    ("container_seconds", "duration_seconds", "frames_estimate", "audio_duration_seconds")
)
"""What a file says of its length while it grows is how long it is by then."""

Emit = Callable[[StreamMessage], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReceivedPicture:
    """A picture, when the newest byte came that it took, and what decoding it took."""

    picture: Picture
    arrived_at: float
    busy_seconds: float


def extract_container(
    options: DecodeRequest, pieces: Iterator[StreamInput], finder: FaceFinder, emit: Emit
) -> None:
    """Decode a file in the making until it ends, saying what is seen and heard.

    Raises: ClipError.
    """
    limits = ClipLimits(
        max_seconds=options.max_seconds,
        max_frames=options.max_frames,
        max_pixels=options.max_pixels,
    )
    file = GrowingFile(on_exhausted=lambda taken: emit(InputExhausted(consumed_bytes=taken)))
    with ExitStack() as held:
        audio_thread = AudioThread(options, emit)
        _start_thread(lambda: _feed(pieces, file, audio_thread.file))
        container = held.enter_context(open_growing_file(file, options.max_pixels, _PROBE_OPTIONS))
        stream = select_video_stream(container, file, options.video_stream)
        check_limits(container, stream, limits)
        audio_stream = select_audio_stream(container, options.audio_stream)
        reader = VideoReader(container, stream, limits=limits, threads=options.threads)
        audio_thread.start(has_audio=audio_stream is not None)
        held.enter_context(translate_out_of_memory(stream.width * stream.height))
        arrived = held.enter_context(
            closing(prefetch(_measure_decoding(reader, file), PREFETCHED_PICTURES))
        )
        held.callback(file.close)  # the thread that reads must not wait for more
        first = next(arrived)
        facts = read_media_info(container, stream, audio_stream, first.picture.frame_format)
        emit(ClipOpened(media=dataclasses.replace(facts, **_UNKNOWN_WHILE_GROWING)))
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
        frame, crops = face_stage.find_faces(each.picture.pixels, each.picture.time_seconds)
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
    """The pictures, and what their decoding took without waiting for bytes."""
    waited = file.waited_seconds
    for picture in reader.read():
        idle, waited = file.waited_seconds - waited, file.waited_seconds
        yield _ReceivedPicture(
            picture=picture,
            arrived_at=file.arrived_at,
            busy_seconds=max(0.0, picture.busy_seconds - idle),
        )


def _feed(pieces: Iterator[StreamInput], video_file: GrowingFile, audio_file: GrowingFile) -> None:
    """Hand on what comes to both readers."""
    for piece in pieces:
        if isinstance(piece, StreamBytes):
            video_file.wait_for_capacity(MAX_VIDEO_BUFFER_BYTES)
            video_file.put(piece.data, piece.arrived_at)
            audio_file.put(piece.data, piece.arrived_at)
            if audio_file.unread_bytes > MAX_AUDIO_LAG_BYTES:
                audio_file.close()
    video_file.end()
    audio_file.end()


def _start_thread(target: Callable[[], None]) -> None:
    threading.Thread(target=target, name="feed", daemon=True).start()
