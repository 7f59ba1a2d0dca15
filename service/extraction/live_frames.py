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

from service.domain.arrays import Bytes
from service.domain.clip import FaceBox, Frame, TrackedFace
from service.domain.live import (
    FrameEncoding,
    FrameMedia,
    LiveFrame,
    LivePiece,
    LiveSound,
    Seen,
    Unreadable,
)
from service.domain.media import Anomalies, Flag
from service.domain.signatures import CROP_SIDE
from service.domain.time import patch_start_hop
from service.errors import ClipTooLong, ClipTooManyPixels
from service.extraction.chain import close_clip
from service.extraction.hearing import Hearing
from service.extraction.looking import Onlooker, Watch, stack
from service.extraction.options import Options
from service.features.sighting import FaceFinder
from service.media.clock import Steps
from service.media.pcm import RawSound
from service.media.resample import Piece
from service.media.still import StillReader
from service.media.track import SoundTrack
from service.nursery.live_wire import LiveMessage

SOUND_AHEAD_SECONDS: Final = 60
"""Sound may come so long before its frames."""
_TICK: Final = Fraction(1, 1_000_000)
_WHOLE_CROP: Final = FaceBox(
    left=0.0, top=0.0, width=float(CROP_SIDE), height=float(CROP_SIDE), score=1.0
)

Say = Callable[[LiveMessage], None]


def follow_frames(
    media: FrameMedia,
    options: Options,
    pieces: Iterator[LivePiece],
    finder: FaceFinder,
    say: Say,
) -> None:
    """Look at single frames and listen to raw sound until they end, saying what they are.

    Raises: ClipTooLong, ClipTooManyPixels.
    """
    sound = None if media.sound is None else RawSound(media.sound)
    hearing = Hearing(
        SoundTrack() if sound is None else sound.track,
        say,
        most_frames=options.chunk_frames,
        ahead_seconds=SOUND_AHEAD_SECONDS,
    )
    if sound is None:
        hearing.end()
    frames = _Frames(media, options, Onlooker(finder))
    for piece in pieces:
        if isinstance(piece, LiveFrame):
            seen = frames.see(piece)
            say(seen)
            if isinstance(seen, Seen):
                hearing.expect(patch_start_hop(piece.time_seconds))
        elif isinstance(piece, LiveSound) and sound is not None:
            _keep(sound.push(piece.data, piece.time_seconds), hearing)
    if sound is not None:
        _keep(sound.flush(), hearing)
        hearing.end()
    flags, anomalies = frames.flags(), frames.anomalies()
    flags |= {Flag.NO_AUDIO} if sound is None else sound.flags()
    flags |= {Flag.AUDIO_GAPS} if hearing.lacks_sound else set[Flag]()
    anomalies = anomalies if sound is None else sound.report(anomalies)
    say(close_clip(frames.onlooker, flags, anomalies))


def _keep(pieces: Iterator[Piece], hearing: Hearing) -> None:
    watch = Watch()
    for piece in pieces:
        hearing.keep(piece, watch.seconds)
        watch = Watch()


class _Frames:
    """What is seen in the frames, and what is odd about them."""

    def __init__(self, media: FrameMedia, options: Options, onlooker: Onlooker) -> None:
        if media.width * media.height > options.max_pixels:
            raise ClipTooManyPixels()
        self.onlooker = onlooker
        self._media = media
        self._options = options
        self._still = StillReader(max_pixels=options.max_pixels)
        self._steps = Steps()
        self._first_time: float | None = None
        self._last_ticks = 0
        self._misfits = 0

    def see(self, piece: LiveFrame) -> Seen | Unreadable:
        """What becomes of the next frame."""
        watch = Watch()
        pixels = self._read(piece.data)
        decode_seconds, watch = watch.seconds, Watch()
        if pixels is None:
            return Unreadable()
        self._note_time(piece.time_seconds)
        frame, crops = self._look(pixels, piece.time_seconds)
        return Seen(
            frames=(frame,),
            crops=stack(crops),
            arrived_at=(piece.arrived_at,),
            stage_seconds={"decode": decode_seconds, "face": watch.seconds},
        )

    def flags(self) -> set[Flag]:
        """What is known of the frames so far."""
        still, times = self._still, self._steps.anomalies(_TICK)
        found = {
            Flag.DAMAGED: still.failures + self._misfits + still.corrupt,
            Flag.TIMES_IRREGULAR: times.times_repeated + times.times_backward,
            Flag.INTERLACED: still.interlaced,
            Flag.SIZE_CHANGES: still.size_changes,
        }
        return {flag for flag, is_so in found.items() if is_so}

    def anomalies(self) -> Anomalies:
        """What is known of the frames so far; nothing of the sound."""
        return dataclasses.replace(
            self._steps.anomalies(_TICK),
            bad_packets=self._still.failures + self._misfits,
            corrupt_frames=self._still.corrupt,
            interlaced_frames=self._still.interlaced,
            size_changes=self._still.size_changes,
        )

    def _read(self, data: bytes) -> Bytes | None:
        """The (H, W, 3) picture, of which nothing may be left; None: it is none."""
        match self._media.encoding:
            case FrameEncoding.JPEG:
                return self._still.read(data)
            case FrameEncoding.RGB24:
                shape = (self._media.height, self._media.width, 3)
            case FrameEncoding.FACE_CROP:
                shape = (CROP_SIDE if data else 0, CROP_SIDE, 3)
        if len(data) != math.prod(shape):
            self._misfits += 1
            return None
        return np.frombuffer(data, np.uint8).reshape(shape)

    def _look(self, pixels: Bytes, time_seconds: float) -> tuple[Frame, list[Bytes]]:
        if self._media.encoding is not FrameEncoding.FACE_CROP:
            return self.onlooker.look(pixels, time_seconds)
        if not len(pixels):
            return self.onlooker.show(time_seconds, ()), []
        faces = (TrackedFace(track=1, box=_WHOLE_CROP),)
        return self.onlooker.show(time_seconds, faces), [pixels.transpose(2, 0, 1)]

    def _note_time(self, seconds: float) -> None:
        ticks = round(seconds / _TICK)
        if self._first_time is None:
            self._first_time = seconds
        else:
            self._steps.add(ticks - self._last_ticks)
        self._last_ticks = ticks
        too_many = self.onlooker.frames >= self._options.max_frames
        if too_many or seconds - self._first_time > self._options.max_seconds:
            raise ClipTooLong()
