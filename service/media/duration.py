"""How long a clip says it is."""

from __future__ import annotations

import math

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream


def read_duration_seconds(
    container: InputContainer, stream: VideoStream | AudioStream
) -> float | None:
    """How long the container says a stream lasts; None where it does not say, or says nonsense."""
    own = read_stream_duration_seconds(stream)
    return read_container_duration_seconds(container) if own is None else own


def read_stream_duration_seconds(stream: VideoStream | AudioStream) -> float | None:
    """What is declared of this stream itself."""
    if stream.duration is not None and stream.time_base is not None:
        return _discard_invalid(float(stream.duration * stream.time_base))
    tagged = _parse_duration_tag(stream.metadata.get("DURATION", ""))
    return None if tagged is None else max(tagged - (read_start_seconds(stream) or 0.0), 0.0)


def read_container_duration_seconds(container: InputContainer) -> float | None:
    """What is declared of the file as a whole."""
    return (
        None if container.duration is None else _discard_invalid(container.duration / av.time_base)
    )


def read_start_seconds(stream: VideoStream | AudioStream) -> float | None:
    """The first timestamp that is declared for a stream."""
    if stream.start_time is None or stream.time_base is None:
        return None
    return float(stream.start_time * stream.time_base)


def _parse_duration_tag(text: str) -> float | None:
    """Matroska's DURATION tag, `HH:MM:SS.fraction`, in seconds."""
    parts = text.split(":")
    if len(parts) != 3:
        return None
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return _discard_invalid(3600 * hours + 60 * minutes + seconds)


def _discard_invalid(seconds: float) -> float | None:
    """Nothing lasts for less than no time, or for ever."""
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
