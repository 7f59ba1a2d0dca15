"""Stages of a stream of single frames and raw audio, inside its decode process.

pipe ─┬▶ decode ─▶ faces ─▶ FramesExtracted
      └▶ resample ─▶ patches of those frames ─▶ AudioExtracted
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from service.decoding.protocol.messages import MAX_STATE_BYTES, WorkerMessage
from service.decoding.requests import DecodeRequest, InputMessage, ResumeState
from service.decoding.worker.audio_aligner import AudioAligner, AudioAlignerSnapshot
from service.decoding.worker.clip import make_clip_closed
from service.decoding.worker.face_stage import (
    FaceStage,
    FaceStageSnapshot,
    Stopwatch,
    stack_crops,
)
from service.domain.array_types import UInt8Array
from service.domain.audio_grid import patch_start_hop
from service.domain.clip import FaceBox, Frame, TrackedFace
from service.domain.media import Anomalies, Flag
from service.domain.model_signatures import CROP_SIDE
from service.domain.planar_picture import PlanarPicture
from service.domain.stream import (
    FrameEncoding,
    FramesExtracted,
    FrameStreamMedia,
    FrameUnreadable,
    Snapshot,
    StreamAudio,
    StreamFrame,
)
from service.errors import ClipTooLong, ClipTooManyPixels
from service.faces.detections import FaceFinder
from service.media.audio_buffer import AudioBuffer
from service.media.frame_times import FrameIntervals, FrameIntervalsSnapshot
from service.media.jpeg import JpegReader, JpegReaderSnapshot
from service.media.raw_audio import RawAudioReader, RawAudioSnapshot
from service.media.resample import AudioSegment
from service.serialization import decode, encode

MAX_AUDIO_LEAD_SECONDS: Final = 60
"""Longest time by which audio may arrive before its frames."""
_TICK_SECONDS: Final = Fraction(1, 1_000_000)
_CROP_BOX: Final = FaceBox(
    left=0.0, top=0.0, width=float(CROP_SIDE), height=float(CROP_SIDE), score=1.0
)

Emit = Callable[[WorkerMessage], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameReaderSnapshot:
    """State of a _FrameReader."""

    face_stage: FaceStageSnapshot
    jpeg_reader: JpegReaderSnapshot
    intervals: FrameIntervalsSnapshot
    first_time: float | None
    last_ticks: int
    wrong_sizes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePipelineSnapshot:
    """State of an extraction of single frames: the `state` of a Snapshot, encoded."""

    frames: FrameReaderSnapshot
    aligner: AudioAlignerSnapshot
    audio: RawAudioSnapshot | None


def extract_frames(
    media: FrameStreamMedia,
    options: DecodeRequest,
    pieces: Iterator[InputMessage],
    finder: FaceFinder,
    emit: Emit,
) -> None:
    """Extract single frames and raw audio until they end; resume where a ResumeState comes first.

    Raises: ClipTooLong, ClipTooManyPixels; MalformedDataError: the state cannot be decoded.
    """
    pipeline = _FramePipeline(media, options, finder, emit)
    for piece in pieces:
        match piece:
            case ResumeState():
                pipeline.restore(decode(piece.state, FramePipelineSnapshot))
            case StreamFrame():
                pipeline.add_frame(piece)
            case StreamAudio():
                pipeline.add_audio(piece)
            case _:
                continue
    pipeline.close()


class _FramePipeline:
    """Stages of a stream of single frames, connected; emits messages and snapshots."""

    def __init__(
        self, media: FrameStreamMedia, options: DecodeRequest, finder: FaceFinder, emit: Emit
    ) -> None:
        self._emit = emit
        self._chunk_frames = options.chunk_frames
        self._audio = None if media.audio is None else RawAudioReader(media.audio)
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

    def restore(self, snapshot: FramePipelineSnapshot) -> None:
        self._frames.restore(snapshot.frames)
        self._aligner.restore(snapshot.aligner)
        if self._audio is not None:
            if snapshot.audio is None:
                raise ValueError("the state is of a stream without audio")
            self._audio.restore(snapshot.audio)

    def _emit_snapshot(self, frames: int) -> None:
        audio = self._audio
        state = encode(
            FramePipelineSnapshot(
                frames=self._frames.snapshot(),
                aligner=self._aligner.snapshot(),
                audio=None if audio is None else audio.snapshot(),
            )
        )
        if len(state) <= MAX_STATE_BYTES:
            samples = 0 if audio is None else audio.samples
            self._emit(Snapshot(frames=frames, samples=samples, state=state))

    def _add_segments(self, segments: Iterator[AudioSegment]) -> None:
        stopwatch = Stopwatch()
        for segment in segments:
            self._aligner.add_audio(segment, stopwatch.seconds)
            stopwatch = Stopwatch()


class _FrameReader:
    """Decodes frames and finds their faces; counts their anomalies."""

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
        """Decode the next frame and find its faces."""
        stopwatch = Stopwatch()
        picture = self._decode(piece.data)
        decode_seconds, stopwatch = stopwatch.seconds, Stopwatch()
        if picture is None:
            return FrameUnreadable()
        self._check_time(piece.time_seconds)
        frame, crops = self._find_faces(picture, piece.time_seconds)
        return FramesExtracted(
            frames=(frame,),
            crops=stack_crops(crops),
            arrived_at=(piece.arrived_at,),
            stage_seconds={"decode": decode_seconds, "face": stopwatch.seconds},
        )

    def snapshot(self) -> FrameReaderSnapshot:
        """Return the state after the frames so far."""
        return FrameReaderSnapshot(
            face_stage=self.face_stage.snapshot(),
            jpeg_reader=self._jpeg_reader.snapshot(),
            intervals=self._intervals.snapshot(),
            first_time=self._first_time,
            last_ticks=self._last_ticks,
            wrong_sizes=self._wrong_sizes,
        )

    def restore(self, snapshot: FrameReaderSnapshot) -> None:
        """Continue from a snapshot."""
        self.face_stage.restore(snapshot.face_stage)
        self._jpeg_reader.restore(snapshot.jpeg_reader)
        self._intervals.restore(snapshot.intervals)
        self._first_time, self._last_ticks = snapshot.first_time, snapshot.last_ticks
        self._wrong_sizes = snapshot.wrong_sizes

    def flags(self) -> set[Flag]:
        """Return the flags of the frames so far."""
        jpeg, times = self._jpeg_reader, self._intervals.anomalies(_TICK_SECONDS)
        found = {
            Flag.DAMAGED: jpeg.failures + self._wrong_sizes + jpeg.corrupt,
            Flag.TIMES_IRREGULAR: times.times_repeated + times.times_backward,
            Flag.INTERLACED: jpeg.interlaced,
            Flag.SIZE_CHANGES: jpeg.size_changes,
        }
        return {flag for flag, is_set in found.items() if is_set}

    def anomalies(self) -> Anomalies:
        """Return the anomalies of the frames so far; none of the audio."""
        return dataclasses.replace(
            self._intervals.anomalies(_TICK_SECONDS),
            bad_packets=self._jpeg_reader.failures + self._wrong_sizes,
            corrupt_frames=self._jpeg_reader.corrupt,
            interlaced_frames=self._jpeg_reader.interlaced,
            size_changes=self._jpeg_reader.size_changes,
        )

    def _decode(self, data: bytes) -> PlanarPicture | None:
        """Decode; the height is 0 for an empty face crop; None: it is not a picture."""
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
        return PlanarPicture.of(np.frombuffer(data, np.uint8).reshape(shape))

    def _find_faces(
        self, picture: PlanarPicture, time_seconds: float
    ) -> tuple[Frame, list[UInt8Array]]:
        if self._media.encoding is not FrameEncoding.FACE_CROP:
            return self.face_stage.find_faces(picture, time_seconds)
        if not picture.shape[0]:
            return self.face_stage.make_frame(time_seconds, ()), []
        faces = (TrackedFace(track=1, box=_CROP_BOX),)
        return self.face_stage.make_frame(time_seconds, faces), [
            picture.to_rgb().transpose(2, 0, 1)
        ]

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
