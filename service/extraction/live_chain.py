"""Which chain of stages a stream's media go through."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from service.domain.live import FrameStreamMedia, StreamInput
from service.extraction.live_container import extract_container
from service.extraction.live_frames import extract_frames
from service.extraction.live_options import StreamDecodeRequest
from service.features.sighting import FaceFinder
from service.nursery.live_wire import StreamMessage


def extract_stream(
    request: StreamDecodeRequest,
    pieces: Iterator[StreamInput],
    finder: FaceFinder,
    emit: Callable[[StreamMessage], None],
    state: bytes | None = None,
) -> None:
    """Say what becomes of the pieces of a stream's media, until they end.

    Args: state: of a Snapshot of single frames, to go on from.
    Raises: ClipError.
    """
    if isinstance(request.media, FrameStreamMedia):
        extract_frames(request.media, request.options, pieces, finder, emit, state)
    else:
        extract_container(request.options, pieces, finder, emit)
