"""Media information of a small clip, for tests that do not depend on its values."""

from __future__ import annotations

from service.domain.media import MediaInfo

MEDIA_INFO = MediaInfo(
    container="mp4",
    video_streams=1,
    video_stream_index=0,
    video_codec="h264",
    width=64,
    height=48,
    rotation_degrees=0,
    average_rate_hz=25.0,
    duration_seconds=0.4,
    frames_estimate=10,
    audio_codec=None,
    audio_rate_hz=None,
    audio_channels=None,
)
