"""Standard deviation of an estimate, from the circumstances in which it was made.

    log std = constant + sum of factor * weight, for valence and for arousal

The factors are few and known while serving: the folds' disagreement, how long ago the face was
found, its size and score, how long ago a voice was heard, and the estimate itself. Their weights
are fitted on people that the weights have not met (training/evaluation/calibration.py); without
them the disagreement of the folds is all that is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Final

import numpy as np
from pydantic import Field, FiniteFloat, TypeAdapter

from service.domain.array_types import BoolArray, Float32Array, Float64Array
from service.domain.clip import FaceBox
from service.domain.model_signatures import TARGETS

FACTORS: Final = (
    "constant",
    "disagreement",
    "absence",
    "smallness",
    "doubt",
    "voicelessness",
    "extremity",
)
RISING_FACTORS: Final = ("disagreement", "absence", "smallness", "doubt", "voicelessness")
"""Factors that never make an estimate more certain."""
CONDITIONS: Final = ("absent_seconds", "face_height", "face_score", "voiceless_seconds")
"""Columns of a frame's conditions. Height in pixels and score are those of the last face found; the
score counts while the face is seen."""
MAX_ABSENT_SECONDS: Final = 30.0
"""Bound of both durations; also the duration where a voice was never heard."""
FULL_FACE_PIXELS: Final = 93.0
"""Height of a face that fills its crop: below it a crop is enlarged."""
MIN_FACE_PIXELS: Final = 12.0
_Pair = tuple[FiniteFloat, FiniteFloat]
_MAX_STD: Final = 1.0
_MIN_STD: Final = 1e-3
_TYPICAL_SPREAD: Final = 0.05
_MIN_SPREAD: Final = 0.005
_ABSENCE_SCALE_SECONDS: Final = 0.2
_VOICE_SCALE_SECONDS: Final = 0.5
_SURE_NINES: Final = 5.0
"""A mesh score of .99999 leaves no doubt; frontal faces have more nines, one turned by 45 degrees
about three, by 55 degrees less than one."""


class StdMeaning(StrEnum):
    """Meaning of `valence_std` and `arousal_std`.

    calibrated: fitted to the errors on unseen people. disagreement: of the folds or networks, which
    err together more than they disagree. published_error: the root mean square error that the
    publisher reports, on data of another kind.
    """

    CALIBRATED = "calibrated"
    DISAGREEMENT = "disagreement"
    PUBLISHED_ERROR = "published_error"


@dataclass(slots=True, kw_only=True)
class ConditionTracker:
    """Conditions of the frames of one track, in frame order; restored by its fields."""

    last_face_seconds: float | None = None
    face_height: float = FULL_FACE_PIXELS
    face_score: float = 1.0
    last_voice_seconds: float | None = None

    def observe(
        self, seconds: float, box: FaceBox | None, *, has_voice: bool
    ) -> tuple[float, float, float, float]:
        """Add the next frame; returns its CONDITIONS."""
        if box is not None:
            self.last_face_seconds, self.face_height = seconds, box.height
            self.face_score = box.score
        if has_voice:
            self.last_voice_seconds = seconds
        return (
            _seconds_since(self.last_face_seconds, seconds),
            self.face_height,
            self.face_score,
            _seconds_since(self.last_voice_seconds, seconds),
        )


def _seconds_since(then: float | None, now: float) -> float:
    if then is None:
        return MAX_ABSENT_SECONDS
    return min(max(now - then, 0.0), MAX_ABSENT_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class UncertaintyModel:
    """Standard deviations of estimates; the default is the folds' disagreement as it is.

    scale, floor: of the disagreement, sqrt((scale spread)^2 + floor^2), for (valence, arousal);
        used where there are no weights.
    drift, drift_seconds: where there are no weights, drift^2 (1 - exp(-absent / drift_seconds)) is
        added under the root: how far estimates move on while a face is not seen.
    weights: of each of FACTORS, for (valence, arousal).
    provisional: added to the logarithm for provisional results, (valence, arousal).
    silence: (128,) voice features of silence; a frame has a voice if its features are further from
        them than `silence_radius`.
    frames, subjects: what it was fitted on; 0: not fitted.
    """

    meaning: StdMeaning = StdMeaning.DISAGREEMENT
    scale: _Pair = (1.0, 1.0)
    floor: _Pair = (0.0, 0.0)
    drift: _Pair = (0.0, 0.0)
    drift_seconds: Annotated[FiniteFloat, Field(gt=0)] = 1.0
    weights: Mapping[str, _Pair] = field(default_factory=dict[str, _Pair])
    provisional: _Pair = (0.0, 0.0)
    silence: tuple[FiniteFloat, ...] = ()
    silence_radius: FiniteFloat = 0.0
    frames: int = 0
    subjects: int = 0

    @classmethod
    def parse(cls, document: Mapping[str, object]) -> UncertaintyModel:
        """Parse a calibration; missing keys have their default, unknown ones are ignored.

        Raises: ValueError: a value is malformed, or a calibrated model lacks weights.
        """
        model = _ADAPTER.validate_python(document)
        if model.meaning is StdMeaning.CALIBRATED and set(model.weights) != set(FACTORS):
            raise ValueError(f"a calibration needs the weights of {', '.join(FACTORS)}")
        return model

    def ignore_scores(self) -> UncertaintyModel:
        """Return the model for a face finder whose scores are not those of the mesh."""
        return replace(self, weights={**self.weights, "doubt": (0.0, 0.0)} if self.weights else {})

    def detect_voice(self, voice: Float32Array) -> BoolArray:
        """Return a (T,) mask of the (T, 128) voice features that are not silence."""
        if not self.silence:
            return np.ones(len(voice), np.bool_)
        distance = np.linalg.norm(voice - np.array(self.silence, np.float32), axis=1)
        return np.greater(distance, self.silence_radius)

    def compute_std(
        self,
        mean: Float32Array,
        spread: Float32Array,
        conditions: Float64Array,
        *,
        is_provisional: bool = False,
    ) -> Float32Array:
        """Compute the standard deviations of T estimates.

        Args: mean, spread: of the folds, (T, 2); conditions: (T, 4) by CONDITIONS.
        Returns: (T, 2).
        """
        if self.meaning is not StdMeaning.CALIBRATED:
            absent = conditions[:, :1]
            moved = np.square(self.drift) * -np.expm1(-absent / self.drift_seconds)
            scaled = np.square(spread * np.array(self.scale)) + np.square(self.floor)
            return np.sqrt(scaled + moved).astype(np.float32)
        factors = compute_factors(mean, spread, conditions)
        weights = np.array([self.weights[name] for name in FACTORS])
        logarithm = np.einsum("tfk,fk->tk", factors, weights)
        if is_provisional:
            logarithm += np.array(self.provisional)
        return np.clip(np.exp(logarithm), _MIN_STD, _MAX_STD).astype(np.float32)


UNCALIBRATED: Final = UncertaintyModel()
_ADAPTER: Final = TypeAdapter(UncertaintyModel)


def compute_factors(
    mean: Float32Array, spread: Float32Array, conditions: Float64Array
) -> Float64Array:
    """Compute the FACTORS of T estimates, (T, 7, 2); arguments as in `compute_std`."""
    absent, height, score, voiceless = conditions.T
    pixels = np.clip(height, MIN_FACE_PIXELS, FULL_FACE_PIXELS)
    nines = -np.log10(np.clip(1.0 - score, 10.0**-_SURE_NINES, 1.0))
    by_frame = (
        np.log1p(absent / _ABSENCE_SCALE_SECONDS),
        np.square(np.log2(FULL_FACE_PIXELS / pixels)),
        np.where(absent > 0, 0.0, 1.0 - nines / _SURE_NINES),
        np.log1p(voiceless / _VOICE_SCALE_SECONDS),
    )
    disagreement = np.log(np.maximum(spread, _MIN_SPREAD) / _TYPICAL_SPREAD)
    ones = np.ones((len(mean), len(TARGETS)))
    columns = (ones, disagreement, *(each[:, None] * ones for each in by_frame), np.abs(mean))
    return np.stack(columns, axis=1).astype(np.float64)
