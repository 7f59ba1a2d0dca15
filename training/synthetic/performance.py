"""Performance of one actor: the true feeling, and the face and voice that express it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from service.domain.array_types import BoolArray
from service.domain.audio_grid import SAMPLE_RATE_HZ
from training.synthetic.acting import compute_expressions
from training.synthetic.actor import Actor
from training.synthetic.expression import ExpressionTracks
from training.synthetic.expressivity import Expressivity
from training.synthetic.occlusion import Occluder, draw_occluders
from training.synthetic.speech import SpeechGestures, generate_speech
from training.synthetic.trajectory import (
    Doubles,
    Trajectory,
    generate_trajectory,
    interpolate_track,
)

MAX_VISIBLE_YAW: Final = 0.95
"""Yaw in radians beyond which a face is not visible: the face mesh tracks 0.9 and loses 1.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Parameters of a clip, from which its frames and audio are rendered."""

    seed: int
    seconds: float
    actor: Actor
    feeling: Trajectory
    expressions: ExpressionTracks
    speech: SpeechGestures
    occluders: tuple[Occluder, ...]

    @classmethod
    def from_seed(
        cls, actor_seed: int, *, seconds: float, take: int = 0, with_occlusions: bool = True
    ) -> Self:
        """Create a take of the actor of a seed; deterministic for the same arguments.

        with_occlusions: occluders cover the face, and the head turns away.
        """
        actor, expressivity = Actor.from_seed(actor_seed), Expressivity.from_seed(actor_seed)
        if not with_occlusions:
            expressivity = replace(expressivity, fidgets_per_second=0.0, glances_per_second=0.0)
        seed = actor_seed * 1_000 + take
        random = np.random.default_rng([seed, 3])
        feeling = generate_trajectory(seconds=seconds, seed=seed)
        voice = expressivity.voice.express(feeling, random)
        speech = generate_speech(voice, actor.timbre, expressivity.talkativeness, random)
        face = expressivity.face.express(feeling, random)
        return cls(
            seed=seed,
            seconds=seconds,
            actor=actor,
            feeling=feeling,
            expressions=compute_expressions(face, speech, expressivity, random),
            speech=speech,
            occluders=draw_occluders(seconds, expressivity.fidgets_per_second, random),
        )

    @property
    def sample_count(self) -> int:
        """Number of audio samples at 16 kHz."""
        return round(self.seconds * SAMPLE_RATE_HZ)

    def truth_at(self, times: Doubles) -> Doubles:
        """Return the true valence and arousal at the times, (N, 2)."""
        tracks = (self.feeling.valence, self.feeling.arousal)
        return np.stack([interpolate_track(track, times) for track in tracks], axis=1)

    def is_visible_at(self, times: Doubles) -> BoolArray:
        """Return a (N,) mask: the face is neither occluded nor turned away."""
        yaw = interpolate_track(self.expressions.yaw, times)
        covered = np.zeros(len(times), dtype=np.bool_)
        for occluder in self.occluders:
            covered |= occluder.hides_face_at(times)
        return ~covered & (np.abs(yaw) < MAX_VISIBLE_YAW)
