"""Provisional estimates of a frame, from the frames and audio received so far.

The last LIVE_WINDOW_FRAMES frames of a track go through `live_fusion`. As in a job a missing face
is filled forward; the newest frames, whose patch of audio is not complete, take the last voice
features.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from service.domain.array_types import BoolArray, Float32Array
from service.domain.clip import Estimate, Frame, TrackStatistics
from service.domain.model_signatures import FACE_FEATURES, LIVE_WINDOW_FRAMES, VOICE_FEATURES
from service.domain.options import FaceSelection
from service.domain.ports import Inference
from service.domain.smoothing import KERNEL_RADIUS_SIGMAS
from service.domain.track_manager import MAX_TRACKS
from service.domain.uncertainty import UNCALIBRATED, ConditionTracker, UncertaintyModel

OutputByFrame = dict[int, tuple[Float32Array, Float32Array]]
"""Mean and spread of one track, (2,) each, by frame."""


@dataclass(slots=True, kw_only=True)
class _RecentFrame:
    """A frame of the window. visual: (512,) of its tracks; voice: (128,), None until embedded."""

    frame: Frame
    visual: dict[int, Float32Array]
    voice: Float32Array | None = None
    has_voice: bool = False
    """Whether `voice` is more than silence."""


@dataclass(slots=True, kw_only=True)
class _TrackHistory:
    """State of one track beyond the frames of the window."""

    statistics: TrackStatistics = field(default_factory=TrackStatistics)
    last_face: Float32Array | None = None
    """Features before the frames of the window."""
    conditions: ConditionTracker = field(default_factory=ConditionTracker)
    """Of the frames before the window."""
    recent_estimates: deque[tuple[float, float, float]] = field(
        default_factory=deque[tuple[float, float, float]]
    )
    """Time, valence and arousal of the frames within the smoothing radius."""


class ProvisionalEstimator:
    """Window of the latest frames of one stream, and the estimates made from it."""

    def __init__(
        self,
        *,
        inference: Inference,
        faces: FaceSelection,
        smoothing_seconds: float,
        uncertainty: UncertaintyModel = UNCALIBRATED,
    ) -> None:
        self._inference = inference
        self._uncertainty = uncertainty
        self._faces = faces
        self._smoothing_seconds = smoothing_seconds
        self._recent_frames: deque[_RecentFrame] = deque()
        self._tracks: dict[int, _TrackHistory] = {}
        self._early_voice: dict[int, tuple[Float32Array, bool]] = {}
        """Voice of frames whose faces are not embedded yet, and whether it counts."""
        self._last_voice = np.zeros(VOICE_FEATURES, np.float32)
        self._had_voice = False
        self._last_voice_seconds: float | None = None
        """Of the frames before the window, or of their latest audio."""
        self._unestimated_frames = 0

    def add_frame(self, frame: Frame, faces: Float32Array) -> None:
        """Add the next frame and the (N, 512) faces in it."""
        visual = {face.track: row for face, row in zip(frame.faces, faces, strict=True)}
        for face in frame.faces:
            track = self._tracks.setdefault(face.track, _TrackHistory())
            track.statistics.update(frame.index, face.box)
        voice, has_voice = self._early_voice.pop(frame.index, (None, False))
        self._recent_frames.append(
            _RecentFrame(frame=frame, visual=visual, voice=voice, has_voice=has_voice)
        )
        self._unestimated_frames += 1
        while len(self._recent_frames) > LIVE_WINDOW_FRAMES:
            self._evict_frame(self._recent_frames.popleft())
        if len(self._tracks) > MAX_TRACKS:
            absent = self._tracks.keys() - self._recent_tracks()
            del self._tracks[min(absent, key=lambda track: self._tracks[track].statistics.rank)]

    def add_voice(self, first_index: int, voice: Float32Array) -> None:
        """Add the (T, 128) voice of the frames from this one on, which may be added later."""
        rows = {row.frame.index: row for row in self._recent_frames}
        latest = max(rows, default=-1)
        has_voice: list[bool] = self._uncertainty.detect_voice(voice).tolist()
        for index, features, voiced in zip(count(first_index), voice, has_voice, strict=False):
            if (row := rows.get(index)) is not None:
                row.voice, row.has_voice = features, voiced
            elif index > latest:
                self._early_voice[index] = features, voiced
            else:
                first_seconds = self._recent_frames[0].frame.time_seconds
                self._set_last_voice(features, first_seconds, has_voice=voiced)

    async def estimate(self) -> list[tuple[Frame, dict[int, Estimate | None]]]:
        """Estimate the frames added since the last call, LIVE_WINDOW_FRAMES at most, in order."""
        rows = list(self._recent_frames)
        first = max(len(rows) - self._unestimated_frames, 0)
        self._unestimated_frames = 0
        if first == len(rows):
            return []
        fused = await self._fuse(self._select_tracks(), first)
        conditions = {track: self._compute_conditions(track, first) for track in fused}
        return [
            (
                row.frame,
                {
                    track: self._build_estimate(track, row.frame, outputs, conditions[track])
                    for track, outputs in fused.items()
                },
            )
            for row in rows[first:]
        ]

    def _select_tracks(self) -> list[int]:
        """Select all tracks of the window, or the primary one so far."""
        if self._faces is FaceSelection.ALL:
            return sorted(self._recent_tracks())
        ranks = {track: each.statistics.rank for track, each in self._tracks.items()}
        primary = max(ranks, key=ranks.__getitem__, default=None)
        return [] if primary is None else [primary]

    def _recent_tracks(self) -> set[int]:
        return {track for row in self._recent_frames for track in row.visual}

    async def _fuse(self, tracks: Sequence[int], first: int) -> dict[int, OutputByFrame]:
        """Return the fusion output of each track for the frames from place `first`, by frame."""
        contexts = {track: self._build_context(track) for track in tracks}
        known = {track: each for track, each in contexts.items() if each[2].any()}
        indices = [row.frame.index for row in self._recent_frames]
        fused: dict[int, OutputByFrame] = {track: {} for track in tracks}
        if known:
            means, spreads = await self._inference.fuse_live(
                *(np.stack(each) for each in zip(*known.values(), strict=True))
            )
            for track, mean, spread in zip(known, means, spreads, strict=True):
                mask = known[track][2]
                fused[track] = {
                    index: (mean[place], spread[place])
                    for place, index in enumerate(indices[first:], first)
                    if mask[place]
                }
        return fused

    def _build_context(self, track: int) -> tuple[Float32Array, Float32Array, BoolArray]:
        """Build the model input of a track: visual (T, 512), audio (T, 128) and the mask (T,)."""
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

    def _compute_conditions(self, track: int, first: int) -> dict[int, tuple[float, ...]]:
        """Compute the conditions of the frames from place `first`; audio still due is as before."""
        rows = list(self._recent_frames)
        tracker, has_voice = self._conditions_before(track, rows[:first])
        conditions: dict[int, tuple[float, ...]] = {}
        for row in rows[first:]:
            has_voice = has_voice if row.voice is None else row.has_voice
            frame = row.frame
            conditions[frame.index] = tracker.observe(
                frame.time_seconds, frame.find_face(track), has_voice=has_voice
            )
        return conditions

    def _conditions_before(
        self, track: int, rows: Sequence[_RecentFrame]
    ) -> tuple[ConditionTracker, bool]:
        """Return the conditions after these first frames of the window, and whether voice counts.

        Only the last face and the last voice in them matter.
        """
        voice_seconds, has_voice = self._last_voice_seconds, self._had_voice
        for row in rows:
            has_voice = has_voice if row.voice is None else row.has_voice
            if has_voice:
                voice_seconds = row.frame.time_seconds
        tracker = replace(self._tracks[track].conditions, last_voice_seconds=voice_seconds)
        for row in reversed(rows):
            if track in row.visual:
                frame = row.frame
                tracker.observe(frame.time_seconds, frame.find_face(track), has_voice=False)
                break
        return tracker, has_voice

    def _build_estimate(
        self,
        track: int,
        frame: Frame,
        outputs: OutputByFrame,
        conditions: dict[int, tuple[float, ...]],
    ) -> Estimate | None:
        if frame.index not in outputs:
            return None
        mean, spread = outputs[frame.index]
        ((valence_std, arousal_std),) = self._uncertainty.compute_std(
            mean[None],
            spread[None],
            np.array([conditions[frame.index]], np.float64),
            is_provisional=True,
        ).tolist()
        valence, arousal = float(mean[0]), float(mean[1])
        smoothed = self._smooth(
            self._tracks[track].recent_estimates, frame.time_seconds, valence, arousal
        )
        return Estimate(
            valence=valence,
            arousal=arousal,
            valence_std=valence_std,
            arousal_std=arousal_std,
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
        """Smooth with the past half of the Gaussian that final results are smoothed with."""
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
        frame = recent_frame.frame
        for track, face in recent_frame.visual.items():
            history = self._tracks[track]
            history.last_face = face
            history.conditions.observe(frame.time_seconds, frame.find_face(track), has_voice=False)
        if recent_frame.voice is not None:
            self._set_last_voice(
                recent_frame.voice, frame.time_seconds, has_voice=recent_frame.has_voice
            )

    def _set_last_voice(self, voice: Float32Array, seconds: float, *, has_voice: bool) -> None:
        self._last_voice, self._had_voice = voice, has_voice
        if has_voice:
            self._last_voice_seconds = seconds
