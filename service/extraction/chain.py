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

from service.domain.arrays import Bytes
from service.domain.clip import Chunk, ClipClosed, ClipOpened, Extract, Frame
from service.domain.media import Anomalies, Flag
from service.domain.time import patch_start_hop
from service.extraction.looking import Onlooker, stack
from service.extraction.options import Options
from service.extraction.shortage import blame_shortage
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
            onlooker = Onlooker(finder)
            yield from _gather(chain([first], pictures), onlooker, sound, options.chunk_frames)
        anomalies = sound.report(reader.anomalies())
        yield close_clip(onlooker, reader.flags() | sound.flags(), anomalies)


def close_clip(onlooker: Onlooker, flags: set[Flag], anomalies: Anomalies) -> ClipClosed:
    """The last message, with what is known of the faces added to what is known of the media."""
    flags |= {Flag.CROWDED} if onlooker.is_crowded else set[Flag]()
    flags |= set[Flag]() if onlooker.faces else {Flag.NO_FACE}
    return ClipClosed(frames=onlooker.frames, flags=tuple(sorted(flags)), anomalies=anomalies)


@dataclass(slots=True)
class _Batch:
    """A chunk in the making; pictures are let go as soon as their faces are cut out."""

    frames: list[Frame] = field(default_factory=list[Frame])
    crops: list[Bytes] = field(default_factory=list[Bytes])
    decode_seconds: float = 0.0
    face_seconds: float = 0.0

    def add(self, picture: Picture, onlooker: Onlooker) -> None:
        began = time.perf_counter()
        frame, crops = onlooker.look(picture.pixels, picture.time_seconds)
        self.frames.append(frame)
        self.crops += crops
        self.face_seconds += time.perf_counter() - began
        self.decode_seconds += picture.busy_seconds

    def close(self, sound: Sound) -> Chunk:
        before = sound.busy_seconds
        hops = [patch_start_hop(frame.time_seconds) for frame in self.frames]
        waveform, patch_starts = sound.cut(hops)
        return Chunk(
            frames=tuple(self.frames),
            crops=stack(self.crops),
            waveform=waveform,
            patch_starts=patch_starts,
            stage_seconds={
                "decode": self.decode_seconds,
                "face": self.face_seconds,
                "sound": sound.busy_seconds - before,
            },
        )


def _gather(
    pictures: Iterable[Picture], onlooker: Onlooker, sound: Sound, chunk_frames: int
) -> Iterator[Chunk]:
    batch = _Batch()
    for picture in pictures:
        batch.add(picture, onlooker)
        if len(batch.frames) == chunk_frames:
            yield batch.close(sound)
            batch = _Batch()
    if batch.frames:
        yield batch.close(sound)
