"""All that it takes to go on with a stream, and where that is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Final

from service.domain.cast import CAST_PARTS, Cast
from service.domain.choices import Faces
from service.domain.live import Snapshot
from service.domain.timeline import Estimate, TimelinePoint
from service.errors import StreamGone
from service.live.config import LiveConfig
from service.live.finals import Finals, Sent
from service.live.parcel import Parcels, ParcelUnreadable
from service.live.pieces import Clock, Position
from service.settings import Settings

FORMAT: Final = 1
"""To be raised when what a checkpoint's parts mean changes, and their names do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A stream behind a block of concluded frames.

    frames: concluded, as the child numbers them. position: what comes next in the media, as they
    were sent. snapshot: of the child there; None of a container. unheard: frames before it that
    the child will tell the sound of once more. dropped: how many frames were dropped so far;
    gone: those of them, as they were sent, that lie beyond the position.
    """

    frames: int
    position: Position
    clock: Clock
    snapshot: Snapshot | None
    unheard: int
    cast: Cast
    finals: Finals
    last_index: int
    dropped_tracks: list[int]
    dropped: int
    gone: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A stream that has come to its end. position: of all its media; summary: serialised."""

    position: Position
    last_index: int
    summary: bytes


PARCELS: Final = Parcels(
    (
        *(Checkpoint, Ending, Position, Clock, Snapshot, Finals, Sent, TimelinePoint, Estimate),
        *(Faces, *CAST_PARTS),
    )
)


def read_state(state: bytes) -> Checkpoint | Ending:
    """Raises StreamGone: nobody can read it."""
    try:
        return PARCELS.unpack(state)
    except ParcelUnreadable as error:
        raise StreamGone("What was kept of the stream cannot be read") from error


def terms_of(config: LiveConfig) -> str:
    """What a client chooses once for its stream."""
    media = {"kind": type(config.media).__name__, **asdict(config.media)}
    return json.dumps({"media": media, "faces": config.faces})


def recipe_of(settings: Settings, weights: Mapping[str, str]) -> str:
    """What must be the same at two gateways for one to go on where the other broke off."""
    told = {
        "format": [FORMAT, PARCELS.layout, version("circumplex")],
        "weights": dict(weights),
        "method": [settings.window_frames, settings.hop_frames, settings.smoothing_seconds],
        "block": settings.chunk_frames,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
