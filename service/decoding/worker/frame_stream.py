"""The chain of stages inside the child of a stream of single frames and raw sound.

pipe ─▶ decode ─▶ faces ─▶ Seen
   └──▶ resample ─▶ patches of frames seen ─▶ Heard
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Final

import numpy as np

from service.decoding.protocol.stream_messages import MAX_PACKED_BYTES, StreamMessage
from service.decoding.requests import DecodeRequest
from service.decoding.worker.audio_aligner import AudioAligner
from service.decoding.worker.clip import make_clip_closed
from service.decoding.worker.face_stage import FaceStage, Stopwatch, stack_crops
from service.domain.array_types import UInt8Array
from service.domain.audio_grid import patch_start_hop
from service.domain.clip import FaceBox, Frame, TrackedFace
from service.domain.media import Anomalies, Flag
from service.domain.model_signatures import CROP_SIDE
from service.domain.snapshot_codec import State, pack, unpack
from service.domain.stream import (
    FrameEncoding,
    FramesExtracted,
    FrameStreamMedia,
    FrameUnreadable,
    Snapshot,
    StreamAudio,
    StreamFrame,
    StreamInput,
)
from service.errors import ClipTooLong, ClipTooManyPixels
from service.faces.detections import FaceFinder
from service.media.audio_buffer import AudioBuffer
from service.media.frame_times import FrameIntervals
from service.media.jpeg import JpegReader
from service.media.raw_audio import RawAudioReader
from service.media.resample import AudioSegment

MAX_AUDIO_LEAD_SECONDS: Final = 60
"""Sound may come so long before its frames."""
_TICK_SECONDS: Final = Fraction(1, 1_000_000)
_CROP_BOX: Final = FaceBox(
    left=0.0, top=0.0, width=float(CROP_SIDE), height=float(CROP_SIDE), score=1.0
)

Emit = Callable[[StreamMessage], None]


def extract_frames(
    media: FrameStreamMedia,
    options: DecodeRequest,
    pieces: Iterator[StreamInput],
    finder: FaceFinder,
    emit: Emit,
    state: bytes | None = None,
) -> None:
    """Look at single frames and listen to raw sound until they end, saying what they are.

    Args: state: of a Snapshot of the same media, to go on from.
    Raises: ClipTooLong, ClipTooManyPixels.
    """
    chain = _FramePipeline(media, options, finder, emit)
    if state is not None:
        chain.restore(unpack(state))
    for piece in pieces:
        if isinstance(piece, StreamFrame):
            chain.add_frame(piece)
        elif isinstance(piece, StreamAudio):
            chain.add_audio(piece)
    chain.close()


class _FramePipeline:
    """What is done to each piece."""

    def __init__(
        self, media: FrameStreamMedia, options: DecodeRequest, finder: FaceFinder, emit: Emit
    ) -> None:
        self._emit = emit
        self._chunk_frames = options.chunk_frames
        self._audio = None if media.sound is None else RawAudioReader(media.sound)
        self._aligner = AudioAligner(
            AudioBuffer() if self._audio is None else self._audio.buffer,
            emit,
            max_frames=options.chunk_frames,
            lookahead_seconds=MAX_AUDIO_LEAD_SECONDS,
        )
        if self._audio is None:
            self._aligner.end_audio()
        self._frames = _FrameReader(media, options, FaceStage(finder))

    def add_frame(self, piece: StreamFrame) -> None:
        extracted = self._frames.read_frame(piece)
        self._emit(extracted)
        if isinstance(extracted, FramesExtracted):
            self._aligner.add_frame(patch_start_hop(piece.time_seconds))
            frames = extracted.frames[-1].index + 1
            if frames % self._chunk_frames == 0:
                self._emit_snapshot(frames)

    def add_audio(self, piece: StreamAudio) -> None:
        if self._audio is not None:
            self._add_segments(self._audio.push(piece.data, piece.time_seconds))

    def close(self) -> None:
        flags, anomalies = self._frames.flags(), self._frames.anomalies()
        if self._audio is None:
            flags |= {Flag.NO_AUDIO}
        else:
            self._add_segments(self._audio.flush())
            self._aligner.end_audio()
            flags |= self._audio.flags()
            anomalies = self._audio.add_anomalies(anomalies)
        self._aligner.finish()
        flags |= {Flag.AUDIO_GAPS} if self._aligner.has_missing_audio else set[Flag]()
        self._emit(make_clip_closed(self._frames.face_stage, flags, anomalies))

    def restore(self, state: State) -> None:
        self._frames.restore(state["frames"])
        self._aligner.restore(state["hearing"])
        if self._audio is not None:
            self._audio.restore(state["sound"])

    def _emit_snapshot(self, frames: int) -> None:
        audio = self._audio
        state = pack(
            {
                "frames": self._frames.save(),
                "hearing": self._aligner.save(),
                "sound": None if audio is None else audio.save(),
            }
        )
        if len(state) <= MAX_PACKED_BYTES:
            samples = 0 if audio is None else audio.samples
            self._emit(Snapshot(frames=frames, samples=samples, state=state))

    def _add_segments(self, segments: Iterator[AudioSegment]) -> None:
        stopwatch = Stopwatch()
        for piece in segments:
            self._aligner.add_audio(piece, stopwatch.seconds)
            stopwatch = Stopwatch()


class _FrameReader:
    """What is seen in the frames, and what is odd about them."""

    def __init__(
        self, media: FrameStreamMedia, options: DecodeRequest, face_stage: FaceStage
    ) -> None:
        if media.width * media.height > options.max_pixels:
            raise ClipTooManyPixels()
        self.face_stage = face_stage
        self._media = media
        self._options = options
        self._jpeg_reader = JpegReader(max_pixels=options.max_pixels)
        self._intervals = FrameIntervals()
        self._first_time: float | None = None
        self._last_ticks = 0
        self._wrong_sizes = 0

    def read_frame(self, piece: StreamFrame) -> FramesExtracted | FrameUnreadable:
        """What becomes of the next frame."""
        stopwatch = Stopwatch()
        pixels = self._decode(piece.data)
        decode_seconds, stopwatch = stopwatch.seconds, Stopwatch()
        if pixels is None:
            return FrameUnreadable()
        self._check_time(piece.time_seconds)
        frame, crops = self._find_faces(pixels, piece.time_seconds)
        return FramesExtracted(
            frames=(frame,),
            crops=stack_crops(crops),
            arrived_at=(piece.arrived_at,),
            stage_seconds={"decode": decode_seconds, "face": stopwatch.seconds},
        )

    def save(self) -> State:
        """All that the frames so far have left behind."""
        return {
            "onlooker": self.face_stage.save(),
            "still": self._jpeg_reader.save(),
            "steps": self._intervals.save(),
            "first_time": self._first_time,
            "last_ticks": self._last_ticks,
            "misfits": self._wrong_sizes,
        }

    def restore(self, state: State) -> None:
        """Go on where others were saved."""
        self.face_stage.restore(state["onlooker"])
        self._jpeg_reader.restore(state["still"])
        self._intervals.restore(state["steps"])
        self._first_time, self._last_ticks = state["first_time"], state["last_ticks"]
        self._wrong_sizes = state["misfits"]

    def flags(self) -> set[Flag]:
        """What is known of the frames so far."""
        still, times = self._jpeg_reader, self._intervals.anomalies(_TICK_SECONDS)
        found = {
            Flag.DAMAGED: still.failures + self._wrong_sizes + still.corrupt,
            Flag.TIMES_IRREGULAR: times.times_repeated + times.times_backward,
            Flag.INTERLACED: still.interlaced,
            Flag.SIZE_CHANGES: still.size_changes,
        }
        return {flag for flag, is_so in found.items() if is_so}

    def anomalies(self) -> Anomalies:
        """What is known of the frames so far; nothing of the sound."""
        return dataclasses.replace(
            self._intervals.anomalies(_TICK_SECONDS),
            bad_packets=self._jpeg_reader.failures + self._wrong_sizes,
            corrupt_frames=self._jpeg_reader.corrupt,
            interlaced_frames=self._jpeg_reader.interlaced,
            size_changes=self._jpeg_reader.size_changes,
        )

    def _decode(self, data: bytes) -> UInt8Array | None:
        """The (H, W, 3) picture, of which nothing may be left; None: it is none."""
        match self._media.encoding:
            case FrameEncoding.JPEG:
                return self._jpeg_reader.read(data)
            case FrameEncoding.RGB24:
                shape = (self._media.height, self._media.width, 3)
            case FrameEncoding.FACE_CROP:
                shape = (CROP_SIDE if data else 0, CROP_SIDE, 3)
        if len(data) != math.prod(shape):
            self._wrong_sizes += 1
            return None
        return np.frombuffer(data, np.uint8).reshape(shape)

    def _find_faces(
        self, pixels: UInt8Array, time_seconds: float
    ) -> tuple[Frame, list[UInt8Array]]:
        if self._media.encoding is not FrameEncoding.FACE_CROP:
            return self.face_stage.find_faces(pixels, time_seconds)
        if not len(pixels):
            return self.face_stage.make_frame(time_seconds, ()), []
        faces = (TrackedFace(track=1, box=_CROP_BOX),)
        return self.face_stage.make_frame(time_seconds, faces), [pixels.transpose(2, 0, 1)]

    def _check_time(self, seconds: float) -> None:
        ticks = round(seconds / _TICK_SECONDS)
        if self._first_time is None:
            self._first_time = seconds
        else:
            self._intervals.add(ticks - self._last_ticks)
        self._last_ticks = ticks
        too_many = self.face_stage.frame_count >= self._options.max_frames
        if too_many or seconds - self._first_time > self._options.max_seconds:
            raise ClipTooLong()
