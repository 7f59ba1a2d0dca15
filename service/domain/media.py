"""Media facts of a clip: declared by its container, and found by decoding it to its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Flag(StrEnum):
    """Caveat of a result."""

    NO_AUDIO = "no_audio"
    """No audio: the voice is taken as silence."""
    NO_FACE = "no_face"
    """No face in any frame: valence and arousal are null throughout."""
    CROWDED = "crowded"
    """More faces in a frame, or more tracks, than the limits: the larger faces are tracked, and the
    tracks present in more frames are stored."""
    DAMAGED = "damaged"
    """Some packets could not be decoded; the rows are the frames that could."""
    TRUNCATED = "truncated"
    """The file ends before its declared end."""
    AUDIO_UNREADABLE = "audio_unreadable"
    """The audio stream could not be decoded; taken as silence from there on."""
    AUDIO_GAPS = "audio_gaps"
    """Timestamps of the audio have gaps or jumps; gaps are taken as silence."""
    AUDIO_OPPOSITE_PHASE = "audio_opposite_phase"
    """Channels of the audio would cancel each other; the stronger one is used where they do."""
    AUDIO_STREAM_SKIPPED = "audio_stream_skipped"
    """A better-placed audio stream could not be decoded; another one of the file is used."""
    TIMES_IRREGULAR = "times_irregular"
    """Some frames have no timestamp of their own, or times repeat or step back."""
    INTERLACED = "interlaced"
    """Some frames consist of two fields; only the first, at the frame's time, is analysed."""
    TONE_MAPPED = "tone_mapped"
    """High dynamic range, mapped to standard range."""
    WEIGHTS_SYNTHETIC = "weights_synthetic"
    """The weights have learnt from drawings only: on real faces the numbers mean nothing."""
    WEIGHTS_UNMEASURED = "weights_unmeasured"
    """The weights have never been measured on recordings of people that were rated."""
    SIZE_CHANGES = "size_changes"
    """Frames differ in size or shape; boxes are in pixels of the first one's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """Declared properties of a clip; None where not declared, or unknown.

    Those of video are taken from the first frame, those of audio from the container. Colours have
    FFmpeg's names.
    """

    container: str
    container_seconds: float | None = None
    video_streams: int
    """Video streams of the file, cover pictures not counted; one of them is analysed."""
    video_stream_index: int
    """Index of the analysed one among all streams of the file, as in ffprobe."""
    video_codec: str
    video_profile: str | None = None
    pixel_format: str | None = None
    bit_depth: int | None = None
    color_range: str | None = None
    """`limited` or `full`."""
    color_matrix: str | None = None
    color_transfer: str | None = None
    color_primaries: str | None = None
    hdr: str | None = None
    """`pq` or `hlg`."""
    field_order: str | None = None
    """`progressive`, `top` or `bottom` field first."""
    width: int
    """As displayed, upright and with square pixels, like `height`."""
    height: int
    coded_width: int | None = None
    """As decoded, before `sample_aspect_ratio` and rotation, like `coded_height`."""
    coded_height: int | None = None
    sample_aspect_ratio: str | None = None
    """Width to height of one coded pixel, for example `4:3`."""
    rotation_degrees: int
    """Counter-clockwise, applied after mirroring; 0 to 359."""
    mirrored: bool = False
    """Left and right are swapped before rotation."""
    average_rate_hz: float | None
    nominal_rate_hz: float | None = None
    """Frame rate of the grid on which all timestamps seem to lie."""
    time_base: str | None = None
    """Seconds of one tick of the frames' timestamps, for example `1/90000`."""
    video_start_seconds: float | None = None
    """First timestamp declared by the container; the first row may be later."""
    duration_seconds: float | None
    """Duration of the video declared by the container."""
    frames_estimate: int | None
    """Frames declared by the container; for progress only."""
    audio_streams: int = 0
    audio_stream_index: int | None = None
    audio_codec: str | None
    audio_profile: str | None = None
    audio_rate_hz: int | None
    audio_channels: int | None
    audio_layout: str | None = None
    audio_start_seconds: float | None = None
    audio_duration_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomalies:
    """Irregularities found by decoding a clip to its end; of audio, up to the last frame.

    Counts are of frames, packets (`*_packets`) or places (`audio_gaps` and so on).
    """

    variable_rate: bool = False
    """Frames are not equally spaced, apart from rounding to the time base."""
    shortest_step_seconds: float | None = None
    """Between two frames of increasing time, like `longest_step_seconds`."""
    longest_step_seconds: float | None = None
    times_inferred: int = 0
    """Frames without a timestamp, or whose presentation times repeatedly step back."""
    times_repeated: int = 0
    times_backward: int = 0
    bad_packets: int = 0
    """Video packets that are damaged or failed to decode."""
    corrupt_frames: int = 0
    """Frames that the decoder concealed errors in; they have rows like any other."""
    interlaced_frames: int = 0
    size_changes: int = 0
    audio_bad_packets: int = 0
    audio_gaps: int = 0
    """Places where audio is missing between two packets."""
    audio_gap_seconds: float = 0.0
    audio_overlaps: int = 0
    """Places where timestamps of audio step back; the later packet is used."""
    audio_format_changes: int = 0
    audio_first_seconds: float | None = None
    """Time of the first audio, without encoder priming."""
    audio_last_seconds: float | None = None
