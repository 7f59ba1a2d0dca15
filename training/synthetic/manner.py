"""How an actor shows feelings: gains, leanings and lags that differ from person to person.

Face and voice each leak one half of the truth well and the other badly: the face is honest
about valence, the voice about arousal. What is shown is the feeling, later, with a leaning of
the actor, a slow drift that no patience averages out, and quick stirrings that time does.
Source: faces tell valence, voices arousal (Scherer 2003; Russell, Bachorowski and
Fernandez-Dols 2003); the sizes are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from training.synthetic.latent import Doubles, Trajectory, delay, smooth, waver

_STIR_SECONDS: Final = 0.16
_DRIFT_SECONDS: Final = 3.0
_SETTLE_SECONDS: Final = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """How one channel shows one dimension: shown = leaning + gain * felt + drift + stirring."""

    gain: float
    leaning: float
    drift: float
    stirring: float

    def show(self, felt: Doubles, random: np.random.Generator) -> Doubles:
        """The dimension as this channel shows it."""
        drift = self.drift * waver(len(felt), _DRIFT_SECONDS, random)
        stirring = self.stirring * waver(len(felt), _STIR_SECONDS, random)
        return self.leaning + self.gain * felt + drift + stirring


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A face or a voice. lag_seconds: how long after the feeling it moves."""

    lag_seconds: float
    valence: Leak
    arousal: Leak

    def show(self, feeling: Trajectory, random: np.random.Generator) -> Trajectory:
        """The feeling as this channel shows it; may leave the plane a little."""

        def late(felt: Doubles) -> Doubles:
            return smooth(delay(felt, self.lag_seconds), _SETTLE_SECONDS)

        return Trajectory(
            valence=self.valence.show(late(feeling.valence), random),
            arousal=self.arousal.show(late(feeling.arousal), random),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """An actor's habits.

    talkativeness: share of the time spent speaking, about. restlessness: of the head.
    fidgets_per_second: hands or things before the face. glances_per_second: turns away.
    """

    face: Channel
    voice: Channel
    talkativeness: float
    restlessness: float
    blinks_per_second: float
    fidgets_per_second: float
    glances_per_second: float

    @classmethod
    def of_seed(cls, seed: int) -> Self:
        """The habits of the person of this seed."""
        random = np.random.default_rng([seed, 2])
        return cls(
            face=Channel(
                lag_seconds=float(random.uniform(0.2, 0.6)),
                valence=_clear(random),
                arousal=_muddled(random),
            ),
            voice=Channel(
                lag_seconds=float(random.uniform(0.2, 0.6)),
                valence=_muddled(random),
                arousal=_clear(random),
            ),
            talkativeness=float(random.uniform(0.6, 0.85)),
            restlessness=float(random.uniform(0.6, 1.5)),
            blinks_per_second=float(random.uniform(0.15, 0.4)),
            fidgets_per_second=float(random.uniform(0.04, 0.12)),
            glances_per_second=float(random.uniform(0.03, 0.08)),
        )


def _clear(random: np.random.Generator) -> Leak:
    return Leak(
        gain=float(random.uniform(0.92, 1.08)),
        leaning=float(random.normal(0, 0.05)),
        drift=0.05,
        stirring=0.27,
    )


def _muddled(random: np.random.Generator) -> Leak:
    return Leak(
        gain=float(random.uniform(0.6, 0.95)),
        leaning=float(random.normal(0, 0.10)),
        drift=0.28,
        stirring=0.30,
    )
