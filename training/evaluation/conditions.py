"""Estimates of recordings as they are, and under conditions that an uncertainty has to know.

Recordings of people at a desk seldom lose a face for long, show it small or have no sound. Each is
estimated again with that brought about: faces removed, crops coarsened to those of a small face or
partly covered, the voice silenced.
"""

from __future__ import annotations

import math
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import nn

from service.domain.array_types import (
    BoolArray,
    Float32Array,
    Float64Array,
    Int64Array,
    UInt8Array,
)
from service.domain.clip import FaceBox
from service.domain.forward_fill import ForwardFill
from service.domain.model_signatures import CROP_SIDE, LIVE_WINDOW_FRAMES, TARGETS
from service.domain.planar_picture import PlanarPicture
from service.domain.uncertainty import FULL_FACE_PIXELS, ConditionTracker, UncertaintyModel
from service.domain.windows import Features
from service.errors import FaceModelsMissing
from service.faces.mesh import FaceMesh, Region, region_from_mesh
from training.data.crops import read_crop
from training.data.embeddings import EmbeddingStore, embed_crops
from training.data.layout import Recording
from training.evaluation.timelines import TimelineEstimator

DEFAULT_FACE_MODELS: Final = Path(".runtime/faces")
_ABSENT_SECONDS: Final = (0.3, 8.0)
_PRESENT_SECONDS: Final = 3.0
_FACE_PIXELS: Final = (14.0, 110.0)
"""Ranges of the durations and heights drawn, both on a logarithmic scale; mean time in between."""
_COVERED_SHARE: Final = (0.2, 0.7)
_SCORED_CROPS: Final = 12
"""One crop of so many is measured by the mesh; those after it have its score."""
_CROP_REGION: Final = Region(x=56.0, y=60.0, side=160.0, angle_radians=0.0)
_MIN_MESH_SCORE: Final = 0.5
_LIVE_STEP_SECONDS: Final = 0.4
_RATE_TOLERANCE: Final = 0.1
_VOICE_DELAY_SECONDS: Final = 1.0
"""Seconds of the newest frames of a stream whose patch of audio is not complete."""


class Scenario(StrEnum):
    """Condition of a recording."""

    AS_RECORDED = "as_recorded"
    ABSENT = "absent"
    SMALL = "small"
    COVERED = "covered"
    SILENT = "silent"
    ABSENT_SILENT = "absent_silent"
    PROVISIONAL = "provisional"


FINAL_SCENARIOS: Final = tuple(each for each in Scenario if each is not Scenario.PROVISIONAL)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredFrames:
    """The scored frames of one recording in one scenario.

    mean, spread, truth: (N, 2). conditions: (N, 4) by `uncertainty.CONDITIONS`. rate: frames a
    second of the recording, or `variable`.
    """

    scenario: Scenario
    subject: str
    rate: str
    mean: Float32Array
    spread: Float32Array
    truth: Float32Array
    conditions: Float64Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Situation:
    """A recording as it is shown to the folds.

    seen: (T,) frames with a face; visual: (N, 512) of the N faces seen; voice: (T, 128); scores:
    (T,), of the mesh; height: of the face, in pixels.
    """

    seen: BoolArray
    visual: Float32Array
    voice: Float32Array
    scores: Float64Array
    height: float = FULL_FACE_PIXELS


class ScenarioEstimator:
    """Estimates recordings in every scenario."""

    def __init__(
        self,
        *,
        folds: Sequence[nn.Module],
        visual: nn.Module,
        embeddings: EmbeddingStore,
        estimator: TimelineEstimator,
        transform: Callable[[Features], Features],
        model: UncertaintyModel,
        mesh: FaceMesh | None,
        device: torch.device,
    ) -> None:
        """Create an estimator.

        Args: visual: the backbone as it is served; transform: of an ablation; model: has the
            voice features of silence; mesh: None leaves all scores at 1.
        """
        self._folds = folds
        self._visual = visual
        self._embeddings = embeddings
        self._estimator = estimator
        self._transform = transform
        self._model = model
        self._mesh = mesh
        self._device = device

    def estimate(self, recording: Recording) -> Iterator[ScoredFrames]:
        """Estimate a recording in every scenario; what is drawn depends on its name alone."""
        random = np.random.default_rng(zlib.crc32(recording.name.encode()))
        features = self._embeddings.read_features(recording)
        times = self._embeddings.read_times(recording)
        seen = recording.has_face
        scores = self._measure_scores(recording, lambda crop: crop)
        present = seen & _draw_presence(times, random)
        silence = np.broadcast_to(
            np.array(self._model.silence, np.float32), features.audio.shape
        ).copy()
        as_recorded = _Situation(
            seen=seen, visual=features.visual[seen], voice=features.audio, scores=scores
        )
        absent = replace(as_recorded, seen=present, visual=features.visual[present])
        situations = {
            Scenario.AS_RECORDED: as_recorded,
            Scenario.ABSENT: absent,
            Scenario.SMALL: self._shrink(recording, as_recorded, random),
            Scenario.COVERED: self._cover(recording, as_recorded, random),
            Scenario.SILENT: replace(as_recorded, voice=silence),
            Scenario.ABSENT_SILENT: replace(absent, voice=silence),
        }
        for scenario, situation in situations.items():
            yield self._score(scenario, recording, times, situation)
        yield self._score_provisional(recording, times, as_recorded)

    def _score(
        self,
        scenario: Scenario,
        recording: Recording,
        times: Float64Array,
        situation: _Situation,
    ) -> ScoredFrames:
        visual, known = ForwardFill().fill(situation.seen, situation.visual)
        features = Features(visual=visual, audio=situation.voice, mask=known)
        timeline = self._estimator.estimate_features(self._folds, features, times)
        conditions = self._describe(times, situation)
        rows = recording.is_annotated & known
        return ScoredFrames(
            scenario=scenario,
            subject=recording.subject,
            rate=_name_rate(times),
            mean=timeline.mean[rows],
            spread=timeline.spread[rows],
            truth=recording.targets[rows],
            conditions=conditions[rows],
        )

    @torch.inference_mode()
    def _score_provisional(
        self,
        recording: Recording,
        times: Float64Array,
        situation: _Situation,
    ) -> ScoredFrames:
        """Estimate the newest frame of windows as a stream has them, one every 0.4 s."""
        visual, known = ForwardFill().fill(situation.seen, situation.visual)
        features = self._transform(Features(visual=visual, audio=situation.voice, mask=known))
        rows = _choose_live_rows(times, recording.is_annotated & known)
        outputs = np.zeros((len(self._folds), len(rows), len(TARGETS)), np.float32)
        if len(rows):
            frames = rows[:, None] + np.arange(1 - LIVE_WINDOW_FRAMES, 1)
            latest_voice = _find_latest(times, times[rows] - _VOICE_DELAY_SECONDS)
            voice = features.audio[np.minimum(frames, latest_voice[:, None])]
            parts = (features.visual[frames], voice, known[frames])
            inputs = [torch.as_tensor(part).to(self._device) for part in parts]
            for fold, network in enumerate(self._folds):
                outputs[fold] = network(*inputs)[:, -1].cpu().numpy()
        return ScoredFrames(
            scenario=Scenario.PROVISIONAL,
            subject=recording.subject,
            rate=_name_rate(times),
            mean=outputs.mean(axis=0),
            spread=outputs.std(axis=0),
            truth=recording.targets[rows],
            conditions=self._describe(times, situation)[rows],
        )

    def _describe(self, times: Float64Array, situation: _Situation) -> Float64Array:
        """Compute the conditions of every frame, (T, 4), as serving does."""
        tracker = ConditionTracker()
        voiced = self._model.detect_voice(situation.voice)
        height = situation.height
        boxes = [
            FaceBox(left=0, top=0, width=height, height=height, score=score) if is_seen else None
            for score, is_seen in zip(
                situation.scores.tolist(), situation.seen.tolist(), strict=True
            )
        ]
        rows = zip(times.tolist(), boxes, voiced.tolist(), strict=True)
        return np.array(
            [tracker.observe(seconds, box, has_voice=voice) for seconds, box, voice in rows]
        ).reshape(len(times), -1)

    def _shrink(
        self, recording: Recording, situation: _Situation, random: np.random.Generator
    ) -> _Situation:
        """Embed the crops of the same face from further away."""
        height = _draw_logarithmic(_FACE_PIXELS, random)
        side = max(4, round(CROP_SIDE * min(height / FULL_FACE_PIXELS, 1.0)))
        crops = (_coarsen(crop, side) for crop in _iter_crops(recording, situation.seen))
        visual = embed_crops(self._visual, crops, self._device)
        return replace(situation, visual=visual, height=height)

    def _cover(
        self, recording: Recording, situation: _Situation, random: np.random.Generator
    ) -> _Situation:
        """Embed the crops with a part of the face covered; where the mesh sees none, it is lost."""
        cover = _draw_cover(random)
        scores = self._measure_scores(recording, cover)
        seen = situation.seen & (scores > _MIN_MESH_SCORE)
        crops = (cover(crop) for crop in _iter_crops(recording, seen))
        visual = embed_crops(self._visual, crops, self._device)
        return replace(situation, seen=seen, visual=visual, scores=scores)

    def _measure_scores(
        self, recording: Recording, change: Callable[[UInt8Array], UInt8Array]
    ) -> Float64Array:
        """Measure the mesh's score of the changed crops, (T,)."""
        scores = np.ones(len(recording))
        if self._mesh is None:
            return scores
        score = 1.0
        for place, row in enumerate(np.flatnonzero(recording.has_face).tolist()):
            if place % _SCORED_CROPS == 0:
                crop = change(read_crop(recording.crop_file(row)))
                score = _measure_score(self._mesh, crop)
            scores[row] = score
        return scores


def open_mesh(face_models: Path) -> FaceMesh | None:
    """Open the mesh that scores crops; None where the face models are not installed."""
    try:
        return FaceMesh(face_models)
    except FaceModelsMissing:
        return None


def _measure_score(mesh: FaceMesh, crop: UInt8Array) -> float:
    """Measure twice, as tracking does: the second time in the region of the first."""
    picture = PlanarPicture.of(crop)
    first = mesh.measure(picture, _CROP_REGION)
    second = None if first is None else mesh.measure(picture, region_from_mesh(first.points))
    return _MIN_MESH_SCORE if second is None else second.score


def _draw_presence(times: Float64Array, random: np.random.Generator) -> BoolArray:
    present = np.ones(len(times), np.bool_)
    start = times[0] + random.exponential(_PRESENT_SECONDS) if len(times) else 0.0
    while len(times) and start < times[-1]:
        end = start + _draw_logarithmic(_ABSENT_SECONDS, random)
        present &= (times < start) | (times >= end)
        start = end + random.exponential(_PRESENT_SECONDS)
    return present


def _draw_logarithmic(bounds: tuple[float, float], random: np.random.Generator) -> float:
    low, high = map(math.log, bounds)
    return math.exp(random.uniform(low, high))


def _find_latest(times: Float64Array, until: Float64Array) -> Int64Array:
    """Return the row of the latest frame of each time, at least the first."""
    return np.array([max(bisect_right(times.tolist(), each) - 1, 0) for each in until.tolist()])


def _choose_live_rows(times: Float64Array, is_scored: BoolArray) -> Int64Array:
    rows: list[int] = []
    for row in range(LIVE_WINDOW_FRAMES, len(times)):
        if is_scored[row] and (not rows or times[row] - times[rows[-1]] >= _LIVE_STEP_SECONDS):
            rows.append(row)
    return np.array(rows, np.int64)


def _iter_crops(recording: Recording, seen: BoolArray) -> Iterator[UInt8Array]:
    for row in np.flatnonzero(seen).tolist():
        yield read_crop(recording.crop_file(row))


def _draw_cover(random: np.random.Generator) -> Callable[[UInt8Array], UInt8Array]:
    """Draw what covers the face from one side, up to a share of the crop, in one colour."""
    share, quarter_turns = random.uniform(*_COVERED_SHARE), int(random.integers(4))
    colour = random.integers(0, 256, 3).astype(np.uint8)

    def cover(crop: UInt8Array) -> UInt8Array:
        turned = np.rot90(crop, quarter_turns).copy()
        turned[: round(share * CROP_SIDE)] = colour
        return np.ascontiguousarray(np.rot90(turned, -quarter_turns))

    return cover


def _coarsen(crop: UInt8Array, side: int) -> UInt8Array:
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.uint8)


def _name_rate(times: Float64Array) -> str:
    steps = np.diff(times)
    if not len(steps) or np.ptp(steps) > _RATE_TOLERANCE * steps.mean():
        return "variable"
    return f"{1 / steps.mean():.4g}"
