"""One actor living through some seconds: what is felt, and what face and voice do about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from service.domain.arrays import Booleans
from service.domain.time import SAMPLE_RATE_HZ
from training.synthetic.acting import act
from training.synthetic.actor import Actor
from training.synthetic.expression import ExpressionTracks
from training.synthetic.latent import Doubles, Trajectory, at_times, live
from training.synthetic.manner import Manner
from training.synthetic.occlusion import Occluder, place_occluders
from training.synthetic.speech import Gestures, utter

AWAY_YAW: Final = 0.95
"""Radians beyond which a face counts as turned away: the mesh follows 0.9 and loses 1.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Everything about a clip but its pictures and its sound."""

    seed: int
    seconds: float
    actor: Actor
    feeling: Trajectory
    expressions: ExpressionTracks
    speech: Gestures
    occluders: tuple[Occluder, ...]

    @classmethod
    def of_seed(
        cls, actor_seed: int, *, seconds: float, take: int = 0, disturbed: bool = True
    ) -> Self:
        """The actor of a seed in one of many takes; the same numbers give the same performance.

        disturbed: hands and things come before the face, and it turns away.
        """
        actor, manner = Actor.of_seed(actor_seed), Manner.of_seed(actor_seed)
        if not disturbed:
            manner = replace(manner, fidgets_per_second=0.0, glances_per_second=0.0)
        seed = actor_seed * 1_000 + take
        random = np.random.default_rng([seed, 3])
        feeling = live(seconds=seconds, seed=seed)
        voice = manner.voice.show(feeling, random)
        speech = utter(voice, actor.timbre, manner.talkativeness, random)
        face = manner.face.show(feeling, random)
        return cls(
            seed=seed,
            seconds=seconds,
            actor=actor,
            feeling=feeling,
            expressions=act(face, speech, manner, random),
            speech=speech,
            occluders=place_occluders(seconds, manner.fidgets_per_second, random),
        )

    @property
    def samples(self) -> int:
        """Of sound at 16 kHz."""
        return round(self.seconds * SAMPLE_RATE_HZ)

    def truth(self, times: Doubles) -> Doubles:
        """(N, 2) valence and arousal that are felt at the times."""
        tracks = (self.feeling.valence, self.feeling.arousal)
        return np.stack([at_times(track, times) for track in tracks], axis=1)

    def visible(self, times: Doubles) -> Booleans:
        """(N,) bool: the face is neither covered nor turned away."""
        yaw = at_times(self.expressions.yaw, times)
        covered = np.zeros(len(times), dtype=np.bool_)
        for occluder in self.occluders:
            covered |= occluder.hides(times)
        return ~covered & (np.abs(yaw) < AWAY_YAW)
