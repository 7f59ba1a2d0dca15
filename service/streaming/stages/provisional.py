"""What can be said of a frame at once: from what has been seen and heard by then.

The last LIVE_FRAMES frames of a track go through `live_fusion`. As in a job a face that is away
is carried on; the newest frames, whose second of sound has not been heard to its end, take the
last voice that has.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from service.domain.array_types import BoolArray, Float32Array
from service.domain.clip import Frame
from service.domain.model_signatures import FACE_FEATURES, LIVE_WINDOW_FRAMES, VOICE_FEATURES
from service.domain.options import FaceSelection
from service.domain.ports import Inference
from service.domain.smoothing import KERNEL_RADIUS_SIGMAS
from service.domain.timeline import Estimate
from service.domain.track_manager import MAX_TRACKS
from service.domain.track_statistics import TrackStatistics

OutputByFrame = dict[int, tuple[Float32Array, Float32Array]]
"""Mean and spread of one track, (2,) each, by frame."""


@dataclass(slots=True, kw_only=True)
class _RecentFrame:
    """A frame of the near past. visual: of its tracks; voice: None until it has been heard."""

    frame: Frame
    visual: dict[int, Float32Array]
    voice: Float32Array | None = None


@dataclass(slots=True, kw_only=True)
class _TrackHistory:
    statistics: TrackStatistics = field(default_factory=TrackStatistics)
    last_face: Float32Array | None = None
    """Of the frame before the rows that are kept."""
    recent_estimates: deque[tuple[float, float, float]] = field(
        default_factory=deque[tuple[float, float, float]]
    )
    """Time, valence and arousal of the frames that smooth the next one."""


class ProvisionalEstimator:
    """The near past of one stream, and the estimates that it allows."""

    def __init__(
        self, *, inference: Inference, faces: FaceSelection, smoothing_seconds: float
    ) -> None:
        self._inference = inference
        self._faces = faces
        self._smoothing_seconds = smoothing_seconds
        self._recent_frames: deque[_RecentFrame] = deque()
        self._tracks: dict[int, _TrackHistory] = {}
        self._last_voice = np.zeros(VOICE_FEATURES, np.float32)
        self._unestimated_frames = 0

    def add_frame(self, frame: Frame, faces: Float32Array) -> None:
        """Take the next frame and the (N, 512) faces in it."""
        visual = {face.track: row for face, row in zip(frame.faces, faces, strict=True)}
        for face in frame.faces:
            track = self._tracks.setdefault(face.track, _TrackHistory())
            track.statistics.update(frame.index, face.box)
        self._recent_frames.append(_RecentFrame(frame=frame, visual=visual))
        self._unestimated_frames += 1
        while len(self._recent_frames) > LIVE_WINDOW_FRAMES:
            self._evict_frame(self._recent_frames.popleft())
        if len(self._tracks) > MAX_TRACKS:
            lately = {track for row in self._recent_frames for track in row.visual}
            gone = self._tracks.keys() - lately
            del self._tracks[min(gone, key=lambda track: self._tracks[track].statistics.rank)]

    def add_voice(self, first_index: int, voice: Float32Array) -> None:
        """Take the (T, 128) voice of frames from this one on."""
        rows = {row.frame.index: row for row in self._recent_frames}
        for offset, features in enumerate(voice):
            if (row := rows.get(first_index + offset)) is not None:
                row.voice = features
            else:
                self._last_voice = features

    async def estimate(self) -> list[tuple[Frame, dict[int, Estimate | None]]]:
        """Estimate the frames seen since the last call, LIVE_FRAMES at most: by track, in order."""
        new = (
            [row.frame for row in self._recent_frames][-self._unestimated_frames :]
            if self._unestimated_frames
            else []
        )
        self._unestimated_frames = 0
        answers = await self._fuse(self._select_tracks())
        return [
            (
                frame,
                {
                    track: self._build_estimate(track, frame, told)
                    for track, told in answers.items()
                },
            )
            for frame in new
        ]

    def _select_tracks(self) -> list[int]:
        """Of all the tracks that lately have been there, or of the one that leads so far."""
        lately = {track for row in self._recent_frames for track in row.visual}
        if self._faces is FaceSelection.ALL:
            return sorted(lately)
        ranks = {track: each.statistics.rank for track, each in self._tracks.items()}
        leader = max(ranks, key=ranks.__getitem__, default=None)
        return [] if leader is None else [leader]

    async def _fuse(self, tracks: Sequence[int]) -> dict[int, OutputByFrame]:
        """What is known of each track, by frame."""
        contexts = {track: self._build_context(track) for track in tracks}
        known = {track: each for track, each in contexts.items() if each[2].any()}
        indices = [row.frame.index for row in self._recent_frames]
        answers: dict[int, OutputByFrame] = {track: {} for track in tracks}
        if known:
            means, spreads = await self._inference.fuse_live(
                *(np.stack(each) for each in zip(*known.values(), strict=True))
            )
            for track, mean, spread in zip(known, means, spreads, strict=True):
                mask = known[track][2]
                answers[track] = {
                    index: (mean[place], spread[place])
                    for place, index in enumerate(indices)
                    if mask[place]
                }
        return answers

    def _build_context(self, track: int) -> tuple[Float32Array, Float32Array, BoolArray]:
        """What the fusion gets of a track: (LIVE_FRAMES, 512), (LIVE_FRAMES, 128), the mask."""
        visual = np.zeros((LIVE_WINDOW_FRAMES, FACE_FEATURES), np.float32)
        audio = np.zeros((LIVE_WINDOW_FRAMES, VOICE_FEATURES), np.float32)
        known = np.zeros(LIVE_WINDOW_FRAMES, np.bool_)
        face, voice = self._tracks[track].last_face, self._last_voice
        for place, row in enumerate(self._recent_frames):
            face = row.visual.get(track, face)
            voice = voice if row.voice is None else row.voice
            audio[place] = voice
            if face is not None:
                visual[place], known[place] = face, True
        return visual, audio, known

    def _build_estimate(self, track: int, frame: Frame, outputs: OutputByFrame) -> Estimate | None:
        if frame.index not in outputs:
            return None
        mean, spread = outputs[frame.index]
        valence, arousal = float(mean[0]), float(mean[1])
        smoothed = self._smooth(
            self._tracks[track].recent_estimates, frame.time_seconds, valence, arousal
        )
        return Estimate(
            valence=valence,
            arousal=arousal,
            valence_std=float(spread[0]),
            arousal_std=float(spread[1]),
            valence_smoothed=smoothed[0],
            arousal_smoothed=smoothed[1],
        )

    def _smooth(
        self,
        recent_estimates: deque[tuple[float, float, float]],
        seconds: float,
        valence: float,
        arousal: float,
    ) -> tuple[float, float]:
        """The Gaussian of final results, of which the past half is there."""
        sigma = self._smoothing_seconds
        recent_estimates.append((seconds, valence, arousal))
        while seconds - recent_estimates[0][0] > KERNEL_RADIUS_SIGMAS * sigma:
            recent_estimates.popleft()
        if sigma == 0:
            return valence, arousal
        weights = [math.exp(-0.5 * ((seconds - at) / sigma) ** 2) for at, _, _ in recent_estimates]
        total = sum(weights)
        return (
            sum(w * v for w, (_, v, _) in zip(weights, recent_estimates, strict=True)) / total,
            sum(w * a for w, (_, _, a) in zip(weights, recent_estimates, strict=True)) / total,
        )

    def _evict_frame(self, recent_frame: _RecentFrame) -> None:
        for track, face in recent_frame.visual.items():
            self._tracks[track].last_face = face
        if recent_frame.voice is not None:
            self._last_voice = recent_frame.voice
