"""Which chain of stages a stream's media go through."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from service.domain.live import FrameMedia, LivePiece
from service.extraction.live_container import follow_container
from service.extraction.live_frames import follow_frames
from service.extraction.live_options import LiveOptions
from service.features.sighting import FaceFinder
from service.nursery.live_wire import LiveMessage


def follow(
    told: LiveOptions,
    pieces: Iterator[LivePiece],
    finder: FaceFinder,
    say: Callable[[LiveMessage], None],
    state: bytes | None = None,
) -> None:
    """Say what becomes of the pieces of a stream's media, until they end.

    Args: state: of a Snapshot of single frames, to go on from.
    Raises: ClipError.
    """
    if isinstance(told.media, FrameMedia):
        follow_frames(told.media, told.options, pieces, finder, say, state)
    else:
        follow_container(told.options, pieces, finder, say)
