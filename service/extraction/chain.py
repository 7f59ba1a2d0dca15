"""The chain of stages inside the decode child, from a clip file to chunks of frames.

decode (own thread) ─▶ face tracks and crops ─▶ sound of the same frames ─▶ chunk
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np

from service.domain.arrays import Bytes
from service.domain.clip import (
    Chunk,
    ClipClosed,
    ClipOpened,
    Extract,
    FaceBox,
    Frame,
    TrackedFace,
)
from service.domain.media import Flag
from service.domain.signatures import CROP_SIDE
from service.domain.time import patch_start_hop
from service.extraction.options import Options
from service.extraction.shortage import blame_shortage
from service.features.alignment import align_crop
from service.features.sighting import FaceFinder
from service.media.audio import Sound
from service.media.demux import (
    ClipLimits,
    check_limits,
    open_container,
)
from service.media.facts import read_facts
from service.media.layout import is_cut
from service.media.source import Clip
from service.media.stages import work_ahead
from service.media.streams import choose_sound, choose_video
from service.media.video import Picture, VideoReader

PICTURES_AHEAD: Final = 3
"""Decoded frames that wait for the face stage: what bounds the child's memory."""


def produce(clip: Clip, options: Options, finder: FaceFinder) -> Iterator[Extract]:
    """Decode a clip in this process: the chain of stages.

    Raises: ClipError.
    """
    bounds = ClipLimits(
        max_seconds=options.max_seconds,
        max_frames=options.max_frames,
        max_pixels=options.max_pixels,
    )
    with (
        open_container(clip, options.max_pixels) as container,
        open_container(clip, options.max_pixels) as sound_container,
    ):
        stream = choose_video(container, clip, options.video_stream)
        check_limits(container, stream, bounds)
        reader = VideoReader(
            container, stream, limits=bounds, threads=options.threads, is_cut=is_cut(clip)
        )
        heard = choose_sound(sound_container, options.audio_stream)
        sound = Sound(sound_container, heard)
        with (
            blame_shortage(stream.width * stream.height),
            closing(work_ahead(reader.read(), PICTURES_AHEAD)) as pictures,
        ):
            first = next(pictures)
            yield ClipOpened(media=read_facts(container, stream, heard, first.look))
            frames = faces = 0
            for chunk in _gather(first, pictures, finder, sound, options.chunk_frames):
                frames += len(chunk.frames)
                faces += len(chunk.crops)
                yield chunk
        flags = reader.flags() | sound.flags()
        flags |= {Flag.CROWDED} if finder.is_crowded else set[Flag]()
        flags |= set[Flag]() if faces else {Flag.NO_FACE}
        anomalies = sound.report(reader.anomalies())
        yield ClipClosed(frames=frames, flags=tuple(sorted(flags)), anomalies=anomalies)


@dataclass(slots=True)
class _Batch:
    """A chunk in the making; pictures are let go as soon as their faces are cut out."""

    shape: tuple[int, ...]
    """Height and width that boxes are told in: the first picture's."""
    frames: list[Frame] = field(default_factory=list[Frame])
    crops: list[Bytes] = field(default_factory=list[Bytes])
    decode_seconds: float = 0.0
    face_seconds: float = 0.0

    def add(self, index: int, picture: Picture, finder: FaceFinder) -> None:
        began = time.perf_counter()
        found = finder.find(picture.pixels)
        self.crops += [align_crop(picture.pixels, face.points) for face in found]
        shares = [told / own for told, own in zip(self.shape, picture.pixels.shape, strict=False)]
        faces = tuple(
            TrackedFace(track=face.track, box=_scale(face.box, shares[1], shares[0]))
            for face in found
        )
        self.frames.append(Frame(index=index, time_seconds=picture.time_seconds, faces=faces))
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


def _scale(box: FaceBox, across: float, down: float) -> FaceBox:
    return FaceBox(
        left=box.left * across,
        top=box.top * down,
        width=box.width * across,
        height=box.height * down,
        score=box.score,
    )


def _gather(
    first: Picture, rest: Iterable[Picture], finder: FaceFinder, sound: Sound, chunk_frames: int
) -> Iterator[Chunk]:
    shape = first.pixels.shape[:2]
    batch = _Batch(shape=shape)
    for index, picture in enumerate(chain([first], rest)):
        batch.add(index, picture, finder)
        if len(batch.frames) == chunk_frames:
            yield batch.close(sound)
            batch = _Batch(shape=shape)
    if batch.frames:
        yield batch.close(sound)
