"""Ridge regression baseline: CCC from the true face and voice parameters, without any network.

Evaluated on held-out actors. `python -m training.synthetic.ridge_baseline` prints the table of
docs/explanation/synthetic-world.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Final, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from service.domain.audio_grid import PATCH_SAMPLES, SAMPLE_RATE_HZ
from training.synthetic.expression import ExpressionTracks
from training.synthetic.performance import Performance
from training.synthetic.trajectory import CONTROL_RATE_HZ, Doubles, interpolate_track

RATE_HZ: Final = 12.5
CONTEXT_SECONDS: Final = 2.0

_FACE_TRACKS: Final = tuple(field.name for field in fields(ExpressionTracks))
_CONTEXT_STEP: Final = 2
"""Frames between the neighbours in a context."""
_RIDGE: Final = 3.0
_MIN_SPEECH_SHARE: Final = 0.1
"""Share of a patch with speech above which its voice counts as audible."""


def measure_ridge_ccc(
    train: Sequence[int], test: Sequence[int], *, seconds: float = 60.0
) -> dict[str, tuple[float, float]]:
    """Measure the CCC of valence and arousal on the test actors, by set of inputs."""
    train_clips, test_clips = (_build_feature_clips(actors, seconds) for actors in (train, test))
    views = {
        "face, one frame": ("face", 0),
        "voice, one moment": ("voice", 0),
        "both, one moment": ("both", 0),
        "face, ±2 s": ("face", 1),
        "voice, ±2 s": ("voice", 1),
        "both, ±2 s": ("both", 1),
    }
    return {
        name: _fit_and_score(
            _stack_features(train_clips, *view),
            _stack_features(test_clips, *view),
            train_clips,
            test_clips,
        )
        for name, view in views.items()
    }


def concordance_correlation(estimate: Doubles, truth: Doubles) -> float:
    """Compute Lin's concordance correlation coefficient."""
    deviations = (estimate - estimate.mean()) * (truth - truth.mean())
    total = estimate.var() + truth.var() + (estimate.mean() - truth.mean()) ** 2
    return float(2 * deviations.mean() / total)


_Clip = dict[str, Doubles]


def _build_feature_clips(actors: Sequence[int], seconds: float) -> list[_Clip]:
    return [
        _compute_features(Performance.from_seed(seed, seconds=seconds), seconds) for seed in actors
    ]


def _compute_features(performance: Performance, seconds: float) -> _Clip:
    """Compute face (N, D), 0 where hidden, voice (N, D) over one patch, and truth (N, 2)."""
    times = np.arange(0, seconds, 1 / RATE_HZ)
    is_visible = performance.is_visible_at(times).astype(np.float64)[:, None]
    face = sample_face_parameters(performance.expressions, times)
    voice = _compute_voice_features(performance, times)
    return {
        "face": np.concatenate([face * is_visible, is_visible], axis=1),
        "voice": voice,
        "both": np.concatenate([face * is_visible, is_visible, voice], axis=1),
        "truth": performance.truth_at(times),
    }


def sample_face_parameters(tracks: ExpressionTracks, times: Doubles) -> Doubles:
    """Sample the face parameters at the times, (N, 13)."""
    return np.stack(
        [interpolate_track(getattr(tracks, name), times) for name in _FACE_TRACKS], axis=1
    )


def _compute_voice_features(performance: Performance, times: Doubles) -> Doubles:
    """Compute the voice parameters, averaged over the patch at each time, (N, 7)."""
    speech = performance.speech
    loudness = np.maximum(speech.loudness, 1e-6)
    columns = [
        np.log10(loudness),
        np.log2(speech.pitch_hz / 120),
        speech.breath,
        speech.rate_hz,
        np.full(len(loudness), performance.actor.timbre.formant_scale),
    ]
    weight = speech.loudness > 0.15 * speech.loudness.max()
    share = _compute_patch_mean(weight.astype(np.float64), times)
    means = [_compute_patch_mean(c * weight, times) / np.maximum(share, 1e-9) for c in columns]
    audible = share > _MIN_SPEECH_SHARE
    columns = [*(mean * audible for mean in means), audible.astype(np.float64), share]
    return np.stack(columns, axis=1)


def _compute_patch_mean(track: Doubles, times: Doubles) -> Doubles:
    total = np.concatenate([[0.0], np.cumsum(track)])
    length = round(PATCH_SAMPLES / SAMPLE_RATE_HZ * CONTROL_RATE_HZ)
    first = np.minimum(np.round(times * CONTROL_RATE_HZ).astype(np.int64), len(track) - 1)
    last = np.minimum(first + length, len(track))
    return (total[last] - total[first]) / np.maximum(last - first, 1)


def _stack_features(clips: list[_Clip], part: str, context: int) -> Doubles:
    reach = round(CONTEXT_SECONDS * RATE_HZ) * context
    return np.concatenate([_add_context(clip[part], reach) for clip in clips])


def _add_context(rows: Doubles, reach: int) -> Doubles:
    padded = np.pad(rows, ((reach, reach), (0, 0)), mode="edge")
    offsets = range(0, 2 * reach + 1, _CONTEXT_STEP)
    return np.concatenate([padded[k : k + len(rows)] for k in offsets], axis=1)


def _fit_and_score(
    train_features: Doubles,
    test_features: Doubles,
    train_clips: list[_Clip],
    test_clips: list[_Clip],
) -> tuple[float, float]:
    truth = np.concatenate([clip["truth"] for clip in train_clips])
    expected = np.concatenate([clip["truth"] for clip in test_clips])
    mean, spread = train_features.mean(axis=0), train_features.std(axis=0) + 1e-9
    x = (train_features - mean) / spread
    gram = x.T @ x + _RIDGE * np.eye(x.shape[1]) * len(x) / 1_000
    weights = cast("Doubles", np.linalg.solve(gram, x.T @ (truth - truth.mean(axis=0))))
    estimate = (test_features - mean) / spread @ weights + truth.mean(axis=0)
    valence, arousal = (concordance_correlation(estimate[:, k], expected[:, k]) for k in range(2))
    return valence, arousal


def main() -> None:
    """Print the table of CCCs."""
    table = Table("seen", "valence", "arousal", "mean")
    for name, (valence, arousal) in measure_ridge_ccc(range(120), range(1_000, 1_040)).items():
        table.add_row(name, *(f"{x:.3f}" for x in (valence, arousal, (valence + arousal) / 2)))
    Console().print(table)


if __name__ == "__main__":
    main()
