"""How long a clip says it is."""

from __future__ import annotations

import math

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream


def declared_seconds(container: InputContainer, stream: VideoStream | AudioStream) -> float | None:
    """How long the container says a stream lasts; None where it does not say, or says nonsense."""
    own = own_seconds(stream)
    return container_seconds(container) if own is None else own


def own_seconds(stream: VideoStream | AudioStream) -> float | None:
    """What is declared of this stream itself."""
    if stream.duration is not None and stream.time_base is not None:
        return _believe(float(stream.duration * stream.time_base))
    tagged = _parse_clock(stream.metadata.get("DURATION", ""))
    return None if tagged is None else max(tagged - (start_seconds(stream) or 0.0), 0.0)


def container_seconds(container: InputContainer) -> float | None:
    """What is declared of the file as a whole."""
    return None if container.duration is None else _believe(container.duration / av.time_base)


def start_seconds(stream: VideoStream | AudioStream) -> float | None:
    """The first timestamp that is declared for a stream."""
    if stream.start_time is None or stream.time_base is None:
        return None
    return float(stream.start_time * stream.time_base)


def _parse_clock(text: str) -> float | None:
    """Matroska's DURATION tag, `HH:MM:SS.fraction`, in seconds."""
    parts = text.split(":")
    if len(parts) != 3:
        return None
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return _believe(3600 * hours + 60 * minutes + seconds)


def _believe(seconds: float) -> float | None:
    """Nothing lasts for less than no time, or for ever."""
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
