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
    Snapshot,
    Unreadable,
)
from service.domain.media import Anomalies, Flag
from service.domain.signatures import CROP_SIDE
from service.domain.state import State, pack, unpack
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
from service.nursery.live_wire import MAX_PACKED_BYTES, LiveMessage

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
    state: bytes | None = None,
) -> None:
    """Look at single frames and listen to raw sound until they end, saying what they are.

    Args: state: of a Snapshot of the same media, to go on from.
    Raises: ClipTooLong, ClipTooManyPixels.
    """
    chain = _Chain(media, options, finder, say)
    if state is not None:
        chain.restore(unpack(state))
    for piece in pieces:
        if isinstance(piece, LiveFrame):
            chain.see(piece)
        elif isinstance(piece, LiveSound):
            chain.hear(piece)
    chain.close()


class _Chain:
    """What is done to each piece."""

    def __init__(self, media: FrameMedia, options: Options, finder: FaceFinder, say: Say) -> None:
        self._say = say
        self._chunk_frames = options.chunk_frames
        self._sound = None if media.sound is None else RawSound(media.sound)
        self._hearing = Hearing(
            SoundTrack() if self._sound is None else self._sound.track,
            say,
            max_frames=options.chunk_frames,
            ahead_seconds=SOUND_AHEAD_SECONDS,
        )
        if self._sound is None:
            self._hearing.end()
        self._frames = _Frames(media, options, Onlooker(finder))

    def see(self, piece: LiveFrame) -> None:
        seen = self._frames.see(piece)
        self._say(seen)
        if isinstance(seen, Seen):
            self._hearing.expect(patch_start_hop(piece.time_seconds))
            frames = seen.frames[-1].index + 1
            if frames % self._chunk_frames == 0:
                self._say_snapshot(frames)

    def hear(self, piece: LiveSound) -> None:
        if self._sound is not None:
            self._keep(self._sound.push(piece.data, piece.time_seconds))

    def close(self) -> None:
        flags, anomalies = self._frames.flags(), self._frames.anomalies()
        if self._sound is None:
            flags |= {Flag.NO_AUDIO}
        else:
            self._keep(self._sound.flush())
            self._hearing.end()
            flags |= self._sound.flags()
            anomalies = self._sound.report(anomalies)
        self._hearing.finish()
        flags |= {Flag.AUDIO_GAPS} if self._hearing.lacks_sound else set[Flag]()
        self._say(close_clip(self._frames.onlooker, flags, anomalies))

    def restore(self, state: State) -> None:
        self._frames.restore(state["frames"])
        self._hearing.restore(state["hearing"])
        if self._sound is not None:
            self._sound.restore(state["sound"])

    def _say_snapshot(self, frames: int) -> None:
        sound = self._sound
        state = pack(
            {
                "frames": self._frames.save(),
                "hearing": self._hearing.save(),
                "sound": None if sound is None else sound.save(),
            }
        )
        if len(state) <= MAX_PACKED_BYTES:
            samples = 0 if sound is None else sound.samples
            self._say(Snapshot(frames=frames, samples=samples, state=state))

    def _keep(self, pieces: Iterator[Piece]) -> None:
        watch = Watch()
        for piece in pieces:
            self._hearing.keep(piece, watch.seconds)
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

    def save(self) -> State:
        """All that the frames so far have left behind."""
        return {
            "onlooker": self.onlooker.save(),
            "still": self._still.save(),
            "steps": self._steps.save(),
            "first_time": self._first_time,
            "last_ticks": self._last_ticks,
            "misfits": self._misfits,
        }

    def restore(self, state: State) -> None:
        """Go on where others were saved."""
        self.onlooker.restore(state["onlooker"])
        self._still.restore(state["still"])
        self._steps.restore(state["steps"])
        self._first_time, self._last_ticks = state["first_time"], state["last_ticks"]
        self._misfits = state["misfits"]

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
