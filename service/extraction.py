"""From a clip file to chunks of frames: the parent's door, and the chain inside the decode child.

    decode (own thread) ─▶ face track and crop ─▶ sound of the same frames ─▶ pipe

`extract` runs this module as a child process and yields what it says. The child holds the
hostile media; the parent only ever sees checked messages of bounded size.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from service.domain.arrays import Bytes
from service.domain.clip import (
    Chunk,
    ClipClosed,
    ClipOpened,
    Extract,
    Flag,
    Frame,
    Missing,
)
from service.domain.signatures import CROP_SIDE
from service.domain.time import patch_start_hop
from service.errors import ClipError, DecoderCrashed, FaceModelsMissing
from service.features.alignment import align_crop
from service.features.finder import open_finder
from service.features.sighting import FaceFinder
from service.media import limits, wire
from service.media.audio import Sound
from service.media.child import run_child
from service.media.demux import (
    ClipLimits,
    check_limits,
    choose_video,
    open_container,
    read_facts,
)
from service.media.stages import work_ahead
from service.media.video import Picture, VideoReader

if TYPE_CHECKING:  # the child starts without pydantic
    from service.settings import Settings

PICTURES_AHEAD: Final = 3
"""Decoded frames that wait for the face stage: what bounds the child's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """All the child is told, as the JSON of its only argument."""

    clip: str
    face_models_dir: str
    yunet_file: str | None
    max_seconds: float
    max_frames: int
    max_pixels: int
    threads: int
    memory_bytes: int
    cpu_seconds: int
    chunk_frames: int
    parent_pid: int

    @staticmethod
    def of(clip: Path, settings: Settings) -> Options:
        """What the child needs of the settings."""
        yunet = settings.yunet_file
        return Options(
            clip=str(clip.absolute()),
            face_models_dir=str(settings.face_models_dir.absolute()),
            yunet_file=None if yunet is None else str(yunet.absolute()),
            max_seconds=settings.max_clip_seconds,
            max_frames=settings.max_clip_frames,
            max_pixels=settings.max_frame_pixels,
            threads=settings.decode_threads,
            memory_bytes=settings.decode_memory_bytes,
            cpu_seconds=settings.decode_cpu_seconds,
            chunk_frames=settings.chunk_frames,
            parent_pid=os.getpid(),
        )


def extract(clip: Path, settings: Settings) -> AbstractAsyncContextManager[AsyncIterator[Extract]]:
    """Open a clip in a child process and yield ClipOpened, its chunks, and ClipClosed.

    The child works ahead until its pipe is full. Leaving the context ends it, read or not.

    Raises, while reading: ClipError, DecoderKilled, FaceModelsMissing.
    """
    return run_child(
        __name__,
        [json.dumps(asdict(Options.of(clip, settings)))],
        stall_seconds=settings.decode_stall_seconds,
        cpu_seconds=settings.decode_cpu_seconds,
        most_frames=settings.chunk_frames,
    )


def produce(options: Options, finder: FaceFinder) -> Iterator[Extract]:
    """Decode a clip in this process: the chain of stages.

    Raises: ClipError.
    """
    clip = Path(options.clip)
    bounds = ClipLimits(
        max_seconds=options.max_seconds,
        max_frames=options.max_frames,
        max_pixels=options.max_pixels,
    )
    with open_container(clip) as container, open_container(clip) as sound_container:
        stream = choose_video(container, clip)
        check_limits(container, stream, bounds)
        reader = VideoReader(container, stream, limits=bounds, threads=options.threads)
        sound = Sound(sound_container)
        with closing(work_ahead(reader.read(), PICTURES_AHEAD)) as pictures:
            first = next(pictures)
            yield ClipOpened(media=read_facts(container, stream, first.rotation_degrees))
            frames = faces = 0
            for chunk in _gather(_chain(first, pictures), finder, sound, options.chunk_frames):
                frames += len(chunk.frames)
                faces += len(chunk.crops)
                yield chunk
        flags = reader.flags() | sound.flags() | (set[Flag]() if faces else {Flag.NO_FACE})
        yield ClipClosed(frames=frames, flags=tuple(sorted(flags)))


def _chain(first: Picture, rest: Iterator[Picture]) -> Iterator[Picture]:
    yield first
    yield from rest


@dataclass(slots=True)
class _Batch:
    """A chunk in the making; pictures are let go as soon as their face is cut out."""

    frames: list[Frame] = field(default_factory=list[Frame])
    crops: list[Bytes] = field(default_factory=list[Bytes])
    decode_seconds: float = 0.0
    face_seconds: float = 0.0

    def add(self, index: int, picture: Picture, finder: FaceFinder) -> None:
        began = time.perf_counter()
        face = finder.find(picture.pixels)
        if face is not None:
            self.crops.append(align_crop(picture.pixels, face.points))
        self.frames.append(
            Frame(
                index=index,
                time_seconds=picture.time_seconds,
                face=face and face.box,
                missing=None if face else Missing.FACE_NOT_FOUND,
            )
        )
        self.face_seconds += time.perf_counter() - began
        self.decode_seconds += picture.busy_seconds

    def close(self, sound: Sound) -> Chunk:
        before = sound.busy_seconds
        hops = [patch_start_hop(frame.time_seconds) for frame in self.frames]
        waveform, patch_starts = sound.cut(hops)
        crops = np.array(self.crops, dtype=np.uint8).reshape(-1, 3, CROP_SIDE, CROP_SIDE)
        return Chunk(
            frames=tuple(self.frames),
            crops=crops,
            waveform=waveform,
            patch_starts=patch_starts,
            stage_seconds={
                "decode": self.decode_seconds,
                "face": self.face_seconds,
                "sound": sound.busy_seconds - before,
            },
        )


def _gather(
    pictures: Iterable[Picture], finder: FaceFinder, sound: Sound, chunk_frames: int
) -> Iterator[Chunk]:
    batch = _Batch()
    for index, picture in enumerate(pictures):
        batch.add(index, picture, finder)
        if len(batch.frames) == chunk_frames:
            yield batch.close(sound)
            batch = _Batch()
    if batch.frames:
        yield batch.close(sound)


def _speak(options: Options, pipe: BinaryIO) -> None:
    """Write every message of an extraction; its last one may be the error that ended it."""
    try:
        yunet = None if options.yunet_file is None else Path(options.yunet_file)
        finder = open_finder(Path(options.face_models_dir), yunet)
        limits.confine(memory_bytes=options.memory_bytes, cpu_seconds=options.cpu_seconds)
        for message in produce(options, finder):
            pipe.writelines(wire.encode(message))
            pipe.flush()
    except (ClipError, FaceModelsMissing) as error:
        pipe.writelines(wire.encode_error(error))
    except MemoryError:
        error = DecoderCrashed("Decoding the clip needs more memory than allowed")
        pipe.writelines(wire.encode_error(error))
    pipe.flush()


def main() -> None:
    """The child: speak on what was standard output, which then joins standard error."""
    options = Options(**json.loads(sys.argv[1]))
    limits.die_with_parent(options.parent_pid)
    with os.fdopen(os.dup(1), "wb") as pipe:
        os.dup2(2, 1)
        _speak(options, pipe)
    os._exit(0)  # no teardown of decoder threads that may be in the middle of hostile media


if __name__ == "__main__":
    main()
