"""One actor living through some seconds: what is felt, and what face and voice do about it."""

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
"""Radians beyond which a face counts as turned away: the mesh follows 0.9 and loses 1.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Everything about a clip but its pictures and its sound."""

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
        """The actor of a seed in one of many takes; the same numbers give the same performance.

        disturbed: hands and things come before the face, and it turns away.
        """
        actor, manner = Actor.from_seed(actor_seed), Expressivity.from_seed(actor_seed)
        if not with_occlusions:
            manner = replace(manner, fidgets_per_second=0.0, glances_per_second=0.0)
        seed = actor_seed * 1_000 + take
        random = np.random.default_rng([seed, 3])
        feeling = generate_trajectory(seconds=seconds, seed=seed)
        voice = manner.voice.express(feeling, random)
        speech = generate_speech(voice, actor.timbre, manner.talkativeness, random)
        face = manner.face.express(feeling, random)
        return cls(
            seed=seed,
            seconds=seconds,
            actor=actor,
            feeling=feeling,
            expressions=compute_expressions(face, speech, manner, random),
            speech=speech,
            occluders=draw_occluders(seconds, manner.fidgets_per_second, random),
        )

    @property
    def sample_count(self) -> int:
        """Of sound at 16 kHz."""
        return round(self.seconds * SAMPLE_RATE_HZ)

    def truth_at(self, times: Doubles) -> Doubles:
        """(N, 2) valence and arousal that are felt at the times."""
        tracks = (self.feeling.valence, self.feeling.arousal)
        return np.stack([interpolate_track(track, times) for track in tracks], axis=1)

    def is_visible_at(self, times: Doubles) -> BoolArray:
        """(N,) bool: the face is neither covered nor turned away."""
        yaw = interpolate_track(self.expressions.yaw, times)
        covered = np.zeros(len(times), dtype=np.bool_)
        for occluder in self.occluders:
            covered |= occluder.hides_face_at(times)
        return ~covered & (np.abs(yaw) < MAX_VISIBLE_YAW)
