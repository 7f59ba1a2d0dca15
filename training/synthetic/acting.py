"""Acting: from the valence and arousal that a face shows to its expression tracks."""

from __future__ import annotations

from typing import Final

import numpy as np

from training.synthetic.expression import ExpressionTracks
from training.synthetic.expressivity import Expressivity
from training.synthetic.speech import SpeechGestures
from training.synthetic.trajectory import (
    CONTROL_RATE_HZ,
    Doubles,
    Trajectory,
    draw_smooth_noise,
    smooth_track,
)

_BLINK_SECONDS: Final = 0.18
_BLUSH_SECONDS: Final = 0.6
"""Time constant of blushing, slower than muscles."""
_GLANCE_YAW_RANGE: Final = (1.2, 1.5)


def compute_expressions(
    trajectory: Trajectory,
    speech: SpeechGestures,
    expressivity: Expressivity,
    random: np.random.Generator,
) -> ExpressionTracks:
    """Compute the expression tracks of a speaking face; every muscle has its own noise."""
    steps = len(trajectory.valence)
    valence, arousal = trajectory.valence, trajectory.arousal

    def noise(size: float) -> Doubles:
        return size * draw_smooth_noise(steps, 0.3, random)

    gladness, sadness = np.clip(valence, 0, 1.2), np.clip(-valence, 0, 1.2)
    alertness, calm = np.clip(arousal, 0, 1.2), np.clip(-arousal, 0, 1.2)
    away = _draw_glances(steps, expressivity.glances_per_second, random)
    sway = expressivity.restlessness * (0.5 + 0.5 * np.clip(arousal + 1, 0, 2))
    still = 1 - np.minimum(np.abs(away), 1)
    return ExpressionTracks(
        smile=np.clip(0.05 + 0.9 * valence + noise(0.08), -1.1, 1.1),
        mouth_opening=np.clip(0.8 * speech.opening + 0.16 * alertness, 0, 1),
        mouth_spread=speech.spread * speech.opening,
        brow_raise=np.clip(0.55 * arousal + 0.15 * gladness + noise(0.08), -0.6, 1.1),
        brow_frown=np.clip(sadness * (0.55 + 0.35 * arousal) + noise(0.05), -0.2, 1.1),
        brow_sorrow=np.clip(sadness * (0.5 - 0.4 * arousal) + noise(0.05), -0.2, 1.0),
        lid_opening=np.clip(1.0 + 0.30 * alertness - 0.34 * calm - 0.10 * gladness, 0.45, 1.4)
        * _draw_blinks(steps, expressivity.blinks_per_second, random),
        cheek_raise=np.clip(gladness + noise(0.05), 0, 1),
        blush=np.clip(0.40 + 0.5 * smooth_track(arousal, _BLUSH_SECONDS), 0, 1),
        gaze=np.clip(0.35 * draw_smooth_noise(steps, 0.35, random) + 0.8 * away, -1, 1),
        yaw=0.07 * sway * draw_smooth_noise(steps, 0.5, random) * still + away,
        pitch=0.05 * calm - 0.05 * valence + 0.04 * sway * draw_smooth_noise(steps, 0.4, random),
        roll=(0.05 * sway * draw_smooth_noise(steps, 0.6, random)) * still,
    )


def _draw_blinks(steps: int, per_second: float, random: np.random.Generator) -> Doubles:
    """Draw a (steps,) factor of the lid opening: 1 between blinks, 0 in the middle of one."""
    length = int(_BLINK_SECONDS * CONTROL_RATE_HZ)
    closure = np.sin(np.pi * np.arange(length + 1) / length)
    opening = np.ones(steps + length + 1)
    for start in np.flatnonzero(random.random(steps) < per_second / CONTROL_RATE_HZ):
        window = opening[start : start + length + 1]
        np.minimum(window, 1 - closure, out=window)
    return opening[:steps]


def _draw_glances(steps: int, per_second: float, random: np.random.Generator) -> Doubles:
    """Draw (steps,) radians of yaw: occasional turns far to a side for 0.4 to 1.5 s."""
    yaw = np.zeros(steps)
    for start in np.flatnonzero(random.random(steps) < per_second / CONTROL_RATE_HZ):
        stop = start + int(random.uniform(0.4, 1.5) * CONTROL_RATE_HZ)
        yaw[start:stop] = random.uniform(*_GLANCE_YAW_RANGE) * random.choice((-1, 1))
    return smooth_track(yaw, 0.09)
