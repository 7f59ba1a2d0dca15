"""Expressivity: the relation of an actor's feeling to what face and voice show.

The face shows valence reliably and arousal unreliably, the voice the reverse. A channel shows the
feeling with a lag, a gain and a bias of the actor, a slow drift that averaging over a clip does not
remove, and fast noise that it does.
Source: faces show valence, voices arousal (Scherer 2003; Russell, Bachorowski and Fernandez-Dols
2003); the sizes are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from training.synthetic.trajectory import (
    Doubles,
    Trajectory,
    delay_track,
    draw_smooth_noise,
    smooth_track,
)

_NOISE_SECONDS: Final = 0.16
_DRIFT_SECONDS: Final = 3.0
_SETTLE_SECONDS: Final = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class DimensionResponse:
    """Response of one channel in one dimension: shown = bias + gain * felt + drift + noise."""

    gain: float
    bias: float
    drift: float
    noise: float

    def respond(self, felt: Doubles, random: np.random.Generator) -> Doubles:
        """Compute the shown value from the felt one, (N,) each."""
        drift = self.drift * draw_smooth_noise(len(felt), _DRIFT_SECONDS, random)
        noise = self.noise * draw_smooth_noise(len(felt), _NOISE_SECONDS, random)
        return self.bias + self.gain * felt + drift + noise


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionChannel:
    """A face or a voice; lag_seconds: delay after the feeling."""

    lag_seconds: float
    valence: DimensionResponse
    arousal: DimensionResponse

    def express(self, feeling: Trajectory, random: np.random.Generator) -> Trajectory:
        """Compute the shown trajectory; values may slightly exceed [-1, 1]."""

        def delayed(felt: Doubles) -> Doubles:
            return smooth_track(delay_track(felt, self.lag_seconds), _SETTLE_SECONDS)

        return Trajectory(
            valence=self.valence.respond(delayed(feeling.valence), random),
            arousal=self.arousal.respond(delayed(feeling.arousal), random),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Expressivity:
    """An actor's expressive habits.

    talkativeness: approximate share of time spent speaking. restlessness: amplitude of head
    motion. fidgets_per_second: occlusions of the face. glances_per_second: turns of the head.
    """

    face: ExpressionChannel
    voice: ExpressionChannel
    talkativeness: float
    restlessness: float
    blinks_per_second: float
    fidgets_per_second: float
    glances_per_second: float

    @classmethod
    def from_seed(cls, seed: int) -> Self:
        """Draw the habits of the actor of this seed."""
        random = np.random.default_rng([seed, 2])
        return cls(
            face=ExpressionChannel(
                lag_seconds=float(random.uniform(0.2, 0.6)),
                valence=_draw_reliable_response(random),
                arousal=_draw_unreliable_response(random),
            ),
            voice=ExpressionChannel(
                lag_seconds=float(random.uniform(0.2, 0.6)),
                valence=_draw_unreliable_response(random),
                arousal=_draw_reliable_response(random),
            ),
            talkativeness=float(random.uniform(0.6, 0.85)),
            restlessness=float(random.uniform(0.6, 1.5)),
            blinks_per_second=float(random.uniform(0.15, 0.4)),
            fidgets_per_second=float(random.uniform(0.04, 0.12)),
            glances_per_second=float(random.uniform(0.03, 0.08)),
        )


def _draw_reliable_response(random: np.random.Generator) -> DimensionResponse:
    return DimensionResponse(
        gain=float(random.uniform(0.92, 1.08)),
        bias=float(random.normal(0, 0.05)),
        drift=0.05,
        noise=0.27,
    )


def _draw_unreliable_response(random: np.random.Generator) -> DimensionResponse:
    return DimensionResponse(
        gain=float(random.uniform(0.6, 0.95)),
        bias=float(random.normal(0, 0.10)),
        drift=0.28,
        noise=0.30,
    )
