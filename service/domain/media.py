"""What is known of a clip as media: what it declares, and what reading it to its end tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Flag(StrEnum):
    """What a reader of the result should know about the clip."""

    NO_AUDIO = "no_audio"
    """No sound: the voice is taken as silence."""
    NO_FACE = "no_face"
    """Not one face: valence and arousal are null throughout."""
    CROWDED = "crowded"
    """More faces than are followed at a time, or more tracks than are kept: the larger, and the
    more present, are."""
    DAMAGED = "damaged"
    """Some packets could not be decoded; the rows are the frames that could."""
    TRUNCATED = "truncated"
    """The file ends before it says that it does."""
    AUDIO_UNREADABLE = "audio_unreadable"
    """A sound stream is there and could not be decoded; taken as silence from there on."""
    AUDIO_GAPS = "audio_gaps"
    """The sound pauses or jumps on its clock; taken as silence where there is none."""
    TIMES_IRREGULAR = "times_irregular"
    """Some frames have no timestamp of their own, or times repeat or step back."""
    INTERLACED = "interlaced"
    """Some frames hold two fields; the first, which is the one of their time, is looked at."""
    TONE_MAPPED = "tone_mapped"
    """High dynamic range, brought to the range of ordinary pictures."""
    SIZE_CHANGES = "size_changes"
    """Frames differ in size or shape; boxes are in pixels of the first one's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """What the file says of the clip; None where it says nothing, or names nothing known.

    Of pictures it is what the first frame says, of sound what the container says. Colours carry
    FFmpeg's names.
    """

    container: str
    container_seconds: float | None = None
    video_streams: int
    """Moving pictures in the file, cover pictures not counted; one of them is analysed."""
    video_stream_index: int
    """The analysed one's place among all streams of the file, as ffprobe counts them."""
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
    """Width to height of one coded pixel, `4:3` say."""
    rotation_degrees: int
    """Counter-clockwise, applied after mirroring; 0 to 359."""
    mirrored: bool = False
    """Left and right are swapped before rotation."""
    average_rate_hz: float | None
    nominal_rate_hz: float | None = None
    """The rate whose multiples all timestamps seem to be."""
    time_base: str | None = None
    """Seconds of one tick of the frames' timestamps, `1/90000` say."""
    video_start_seconds: float | None = None
    """The first timestamp that the container declares; the first row may be later."""
    duration_seconds: float | None
    """How long the container says the pictures last."""
    frames_estimate: int | None
    """Frames the container promises; for progress only, never for the rows."""
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
    """What only reading a clip to its end tells; of sound, as far as the frames go.

    Counts are of frames, packets (`*_packets`) or places (`audio_gaps` and so on).
    """

    variable_rate: bool = False
    """Frames are not equally far apart, rounding to the time base aside."""
    shortest_step_seconds: float | None = None
    """Between two frames of rising time, like `longest_step_seconds`."""
    longest_step_seconds: float | None = None
    times_inferred: int = 0
    """Frames without a timestamp, or whose presentation times fall back again and again."""
    times_repeated: int = 0
    times_backward: int = 0
    bad_packets: int = 0
    """Packets of pictures that are damaged or failed to decode."""
    corrupt_frames: int = 0
    """Frames that the decoder patched up; rows like any other."""
    interlaced_frames: int = 0
    size_changes: int = 0
    audio_bad_packets: int = 0
    audio_gaps: int = 0
    """Places where sound is missing between two pieces of it."""
    audio_gap_seconds: float = 0.0
    audio_overlaps: int = 0
    """Places where timestamps of sound step back; the later piece is heard."""
    audio_format_changes: int = 0
    audio_first_seconds: float | None = None
    """Where sound was first heard, priming left out."""
    audio_last_seconds: float | None = None
