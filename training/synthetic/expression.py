"""Facial expression at one time, and its tracks over time."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from training.synthetic.trajectory import Doubles, interpolate_track


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """Parameters of a facial expression; the defaults are a face at rest."""

    smile: float = 0.0
    """-1 corners down, 1 corners up."""
    mouth_opening: float = 0.0
    mouth_spread: float = 0.0
    """-1 rounded, 1 drawn wide, as vowels do."""
    brow_raise: float = 0.0
    brow_frown: float = 0.0
    """Inner ends together and down."""
    brow_sorrow: float = 0.0
    """Inner ends up."""
    lid_opening: float = 1.0
    """0 closed, 1 relaxed, 1.4 wide."""
    cheek_raise: float = 0.0
    blush: float = 0.25
    gaze: float = 0.0
    """-1 to the left of the image, 1 to its right."""
    yaw: float = 0.0
    """Radians, to the right of the image; pitch is downwards, roll clockwise."""
    pitch: float = 0.0
    roll: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionTracks:
    """Every field of `Expression`, (N,) on the control grid."""

    smile: Doubles
    mouth_opening: Doubles
    mouth_spread: Doubles
    brow_raise: Doubles
    brow_frown: Doubles
    brow_sorrow: Doubles
    lid_opening: Doubles
    cheek_raise: Doubles
    blush: Doubles
    gaze: Doubles
    yaw: Doubles
    pitch: Doubles
    roll: Doubles

    def sample(self, times: Doubles) -> list[Expression]:
        """Interpolate the expression at each of the times."""
        names = [field.name for field in fields(self)]
        rows = np.stack([interpolate_track(getattr(self, name), times) for name in names], axis=1)
        return [Expression(**dict(zip(names, map(float, row), strict=True))) for row in rows]
