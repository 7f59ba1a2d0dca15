"""Extraction of a clip, from its file to chunks of frames, inside its decode process.

    decode (own thread) ─▶ face tracks and crops ─▶ audio of the same frames ─▶ chunk

A failure that is due to lack of memory, in any library, becomes DecoderOutOfMemory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import cv2
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from service.decoding.cpu_budget import max_frames
from service.decoding.requests import DecodeRequest
from service.decoding.worker.face_stage import FaceStage, stack_crops
from service.domain.array_types import UInt8Array
from service.domain.audio_grid import patch_start_hop
from service.domain.clip import Chunk, ClipClosed, ClipOpened, ExtractionEvent, Frame
from service.domain.media import Anomalies, Flag
from service.errors import ClipTooCostly, ClipWithoutFrames, DecoderOutOfMemory
from service.faces.detections import FaceFinder
from service.media.audio import AudioReader, open_audio
from service.media.clip_handles import ClipSource, open_positional_handle
from service.media.demux import open_container
from service.media.encryption import report_encryption
from service.media.media_info import ClipLimits, check_limits, read_media_info
from service.media.prefetch import prefetch
from service.media.stream_selection import select_video_stream
from service.media.truncation import is_truncated
from service.media.video import Picture, VideoReader

_PICTURE_BYTES_PER_PIXEL: Final = 8
"""Memory in which one picture can be decoded and converted: measured 7.6 to 9.5."""
PREFETCHED_PICTURES: Final = 3
"""Decoded frames that wait for the face stage: the bound of the decode process's memory."""


@contextlib.contextmanager
def translate_out_of_memory(pixels: int) -> Generator[None]:
    """Raise DecoderOutOfMemory where a clip has no frames because memory for one is lacking.

    FFmpeg's decoders report a failed allocation as damage of the clip.

    Args: pixels: of one picture.
    Raises: DecoderOutOfMemory instead of ClipWithoutFrames.
    """
    try:
        yield
    except ClipWithoutFrames as error:
        try:
            np.empty(pixels * _PICTURE_BYTES_PER_PIXEL, np.uint8)
        except MemoryError:
            raise DecoderOutOfMemory() from error
        raise


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, means that memory ran out.

    Python, numpy and FFmpeg raise MemoryError, OpenCV a code of its own; a thread whose stack
    cannot be allocated is a RuntimeError of Python, ENOMEM or EAGAIN of other libraries.
    """
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem:
            return True
        if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN):
            return True
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def extract_clip(
    clip: ClipSource, options: DecodeRequest, finder: FaceFinder
) -> Iterator[ExtractionEvent]:
    """Decode a clip in this process.

    Raises: ClipError.
    """
    limits = ClipLimits(
        max_seconds=options.max_seconds,
        max_frames=options.max_frames,
        max_pixels=options.max_pixels,
    )
    with (
        open_container(clip, options.max_pixels) as container,
        open_container(clip, options.max_pixels) as audio_container,
        report_encryption(clip),
    ):
        stream = select_video_stream(container, clip, options.video_stream)
        check_limits(container, stream, limits)
        _check_sample_count(clip, container, stream, options)
        reader = VideoReader(
            container,
            stream,
            limits=limits,
            threads=options.threads,
            is_truncated=is_truncated(clip),
        )
        audio = open_audio(audio_container, options.audio_stream)
        audio.prove_stream()
        with (
            translate_out_of_memory(stream.width * stream.height),
            closing(prefetch(reader.read(), PREFETCHED_PICTURES)) as pictures,
        ):
            first = next(pictures)
            yield ClipOpened(
                media=read_media_info(container, stream, audio.stream, first.frame_format)
            )
            face_stage = FaceStage(finder)
            yield from _make_chunks(
                chain([first], pictures), face_stage, audio, options.chunk_frames
            )
        anomalies = audio.add_anomalies(reader.anomalies())
        yield make_clip_closed(face_stage, reader.flags() | audio.flags(), anomalies)


def _check_sample_count(
    clip: ClipSource, container: InputContainer, stream: VideoStream, options: DecodeRequest
) -> None:
    """Refuse an MP4 whose sample tables list more frames than a file of its size may have.

    Raises: ClipTooCostly.
    """
    with open_positional_handle(clip) as handle:
        size_bytes = os.fstat(handle).st_size
    is_table = "mp4" in container.format.name
    if is_table and stream.frames > max_frames(size_bytes, options.min_bytes_per_frame):
        raise ClipTooCostly(f"The clip has {stream.frames} frames in {size_bytes} bytes")


def make_clip_closed(face_stage: FaceStage, flags: set[Flag], anomalies: Anomalies) -> ClipClosed:
    """Make the last message; adds the flags of the faces to those of the media."""
    flags |= {Flag.CROWDED} if face_stage.is_crowded else set[Flag]()
    flags |= set[Flag]() if face_stage.face_count else {Flag.NO_FACE}
    return ClipClosed(
        frames=face_stage.frame_count, flags=tuple(sorted(flags)), anomalies=anomalies
    )


@dataclass(slots=True)
class _ChunkBuilder:
    """Collects the frames of a chunk; pictures are dropped once their faces are cropped."""

    frames: list[Frame] = field(default_factory=list[Frame])
    crops: list[UInt8Array] = field(default_factory=list[UInt8Array])
    decode_seconds: float = 0.0
    face_seconds: float = 0.0

    def add(self, picture: Picture, face_stage: FaceStage) -> None:
        began = time.perf_counter()
        frame, crops = face_stage.find_faces(picture.planes, picture.time_seconds)
        self.frames.append(frame)
        self.crops += crops
        self.face_seconds += time.perf_counter() - began
        self.decode_seconds += picture.busy_seconds

    def build(self, audio: AudioReader) -> Chunk:
        before = audio.busy_seconds
        hops = [patch_start_hop(frame.time_seconds) for frame in self.frames]
        waveform, patch_starts = audio.read_patches(hops)
        return Chunk(
            frames=tuple(self.frames),
            crops=stack_crops(self.crops),
            waveform=waveform,
            patch_starts=patch_starts,
            stage_seconds={
                "decode": self.decode_seconds,
                "face": self.face_seconds,
                "sound": audio.busy_seconds - before,
            },
        )


def _make_chunks(
    pictures: Iterable[Picture], face_stage: FaceStage, audio: AudioReader, chunk_frames: int
) -> Iterator[Chunk]:
    batch = _ChunkBuilder()
    for picture in pictures:
        batch.add(picture, face_stage)
        if len(batch.frames) == chunk_frames:
            yield batch.build(audio)
            batch = _ChunkBuilder()
    if batch.frames:
        yield batch.build(audio)
