"""Audio-video sync: a flash and a clap made together are read together."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from service.domain.media import Flag
from tests.media.clip_factory import make_clap
from tests.media.in_process_reading import locate_pattern, read_audio_and_anomalies, read_video
from tests.media_corpus.ffmpeg_reference import run_ffmpeg
from tests.media_corpus.file_edits import concatenate_files

FLASH_SECONDS = 1.2
FLASH = (
    "-f lavfi -i color=black:s=64x48:r=25:d=2.4,"
    "drawbox=color=white:t=fill:enable=between(t\\,1.19\\,1.23)"
)
H264 = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -g 12"
REORDERED = "-pix_fmt yuv420p -c:v libx264 -preset veryfast -b_strategy 0 -bf 3 -g 12"
VP8 = "-c:v libvpx -deadline realtime -cpu-used 8"
VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"
OFFSETS_SECONDS = [-0.5, -0.137, 0.0, 0.021, 0.26, 0.5]
WHOLE_FRAME_OFFSETS_SECONDS = [-0.48, -0.2, 0.04, 0.36, 0.48]
"""Whole frames at 25 Hz: FFmpeg rounds video times to those."""
FORMATS = {
    "mp4, aac": ("clip.mp4", f"{H264} -c:a aac", 48_000),
    "mp4, aac 44.1 kHz, b-frames": ("clip.mp4", f"{REORDERED} -c:a aac", 44_100),
    "mp4, opus": ("clip.mp4", f"{H264} -c:a libopus", 48_000),
    "mp4 in fragments": (
        "clip.mp4",
        f"{H264} -c:a aac -movflags frag_keyframe+empty_moov+delay_moov",
        48_000,
    ),
    "mov, pcm": ("clip.mov", f"{H264} -c:a pcm_s16le", 44_100),
    "mov, aac": ("clip.mov", f"{REORDERED} -c:a aac", 48_000),
    "matroska, aac": ("clip.mkv", f"{REORDERED} -c:a aac", 48_000),
    "matroska, mp3": ("clip.mkv", f"{H264} -c:a libmp3lame", 44_100),
    "matroska, flac": ("clip.mkv", f"{H264} -c:a flac", 48_000),
    "webm, vp8 and opus": ("clip.webm", f"{VP8} -c:a libopus", 48_000),
    "webm, vp9 and opus": ("clip.webm", f"{VP9} -c:a libopus", 48_000),
    "webm, vp8 and vorbis": ("clip.webm", f"{VP8} -c:a libvorbis", 44_100),
    "ts, aac": ("clip.ts", f"{H264} -c:a aac", 48_000),
    "ts, mp2": ("clip.ts", f"{REORDERED} -c:a mp2", 44_100),
    "ts, ac-3": ("clip.ts", f"{H264} -c:a ac3", 48_000),
}


def write_claps(path: Path, *, rate_hz: int, start_seconds: float) -> None:
    """Write 2.4 s of audio with a clap at the flash, for audio that starts at `start_seconds`."""
    samples = np.zeros(round(2.4 * rate_hz))
    first = round((FLASH_SECONDS - start_seconds) * rate_hz)
    noise = make_clap(rate_hz)
    samples[first : first + len(noise)] = noise
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((32_767 * samples).astype("<i2").tobytes())


def measure_av_offset_seconds(clip: Path) -> float:
    """Measure the seconds from the flash to the clap."""
    reading = read_video(clip)
    levels = [float(picture.mean()) for picture in reading.pixels]
    flash = reading.times[int(np.argmax(levels))]
    waveform, _, _ = read_audio_and_anomalies(clip, seconds=reading.times[-1] + 1.0)
    return locate_pattern(waveform, make_clap(16_000), near_seconds=flash) - flash


@pytest.mark.parametrize(("name", "codecs", "rate_hz"), FORMATS.values(), ids=FORMATS.keys())
def test_flash_and_clap_are_together(tmp_path: Path, name: str, codecs: str, rate_hz: int) -> None:
    av_offsets: dict[float, float] = {}
    for offset in OFFSETS_SECONDS:
        write_claps(tmp_path / "clap.wav", rate_hz=rate_hz, start_seconds=offset)
        run_ffmpeg(f"{FLASH} -itsoffset {offset} -i clap.wav {codecs} {name}", folder=tmp_path)
        av_offsets[offset] = measure_av_offset_seconds(tmp_path / name)
    assert av_offsets == pytest.approx(dict.fromkeys(OFFSETS_SECONDS, 0.0), abs=0.002)


@pytest.mark.parametrize("kind", ["mp4, aac", "matroska, aac", "webm, vp9 and opus", "ts, mp2"])
def test_flash_and_clap_are_together_when_video_starts_elsewhere(tmp_path: Path, kind: str) -> None:
    name, codecs, rate_hz = FORMATS[kind]
    av_offsets: dict[float, float] = {}
    for offset in WHOLE_FRAME_OFFSETS_SECONDS:
        write_claps(tmp_path / "clap.wav", rate_hz=rate_hz, start_seconds=-offset)
        run_ffmpeg(
            f"-itsoffset {offset} {FLASH} -i clap.wav -fps_mode passthrough {codecs} {name}",
            folder=tmp_path,
        )
        av_offsets[offset] = measure_av_offset_seconds(tmp_path / name)
    assert av_offsets == pytest.approx(dict.fromkeys(WHOLE_FRAME_OFFSETS_SECONDS, 0.0), abs=0.002)


@pytest.mark.parametrize("kind", ["mp4, aac", "matroska, flac", "webm, vp8 and opus", "ts, ac-3"])
def test_clap_after_an_audio_gap_stays_in_sync(tmp_path: Path, kind: str) -> None:
    name, codecs, rate_hz = FORMATS[kind]
    write_claps(tmp_path / "clap.wav", rate_hz=rate_hz, start_seconds=0.0)
    gap = "-af aselect=not(between(t\\,0.3\\,0.8))"
    run_ffmpeg(f"{FLASH} -i clap.wav {gap} {codecs} {name}", folder=tmp_path)
    assert measure_av_offset_seconds(tmp_path / name) == pytest.approx(0.0, abs=0.002)
    _, flags, anomalies = read_audio_and_anomalies(tmp_path / name, seconds=2.0)
    assert flags == {Flag.AUDIO_GAPS}
    assert anomalies.audio_gaps == 1
    # codecs end and begin on whole frames
    assert anomalies.audio_gap_seconds == pytest.approx(0.5, abs=0.06)


def test_claps_stay_in_sync_when_rate_and_channels_change(tmp_path: Path) -> None:
    for number, rate_hz in enumerate((48_000, 44_100)):
        write_claps(tmp_path / "clap.wav", rate_hz=rate_hz, start_seconds=0.0)
        run_ffmpeg(
            f"{FLASH} -i clap.wav {H264} -c:a aac -ac {number + 1} -output_ts_offset {2.4 * number}"
            f" {number}.ts",
            folder=tmp_path,
        )
    concatenate_files("0.ts", "1.ts", into="clip.ts")(tmp_path)
    reading = read_video(tmp_path / "clip.ts")
    waveform, flags, anomalies = read_audio_and_anomalies(tmp_path / "clip.ts", seconds=8.0)
    flashes = [
        seconds
        for seconds, picture in zip(reading.times, reading.pixels, strict=True)
        if picture.mean() > 128
    ]
    assert len(flashes) == 2
    for flash in flashes:
        assert locate_pattern(waveform, make_clap(16_000), near_seconds=flash) == pytest.approx(
            flash, abs=0.002
        )
    assert anomalies.audio_format_changes == 1
    assert Flag.AUDIO_UNREADABLE not in flags


@pytest.mark.parametrize("speed", [0.99, 1.003, 1.01])
def test_audio_follows_timestamps_that_drift_from_its_sample_rate(
    tmp_path: Path, speed: float
) -> None:
    write_claps(tmp_path / "clap.wav", rate_hz=48_000, start_seconds=0.0)
    run_ffmpeg(f"{FLASH} -i clap.wav {H264} -c:a libopus b.mkv", folder=tmp_path)
    run_ffmpeg(f"-i b.mkv -c copy -bsf:a setts=ts=TS*{speed} clip.mkv", folder=tmp_path)
    expected = FLASH_SECONDS * (speed - 1)
    assert measure_av_offset_seconds(tmp_path / "clip.mkv") == pytest.approx(expected, abs=0.004)


def test_jittering_timestamps_cause_no_gaps(tmp_path: Path) -> None:
    write_claps(tmp_path / "clap.wav", rate_hz=48_000, start_seconds=0.0)
    run_ffmpeg(f"{FLASH} -i clap.wav {H264} -c:a libopus b.mkv", folder=tmp_path)
    run_ffmpeg("-i b.mkv -c copy -bsf:a setts=ts=TS+mod(N\\,3) clip.mkv", folder=tmp_path)
    assert measure_av_offset_seconds(tmp_path / "clip.mkv") == pytest.approx(0.0, abs=0.003)
    _, flags, anomalies = read_audio_and_anomalies(tmp_path / "clip.mkv", seconds=2.0)
    assert (flags, anomalies.audio_gaps, anomalies.audio_overlaps) == (set(), 0, 0)


def test_waveform_is_silent_outside_the_audio_stream(tmp_path: Path) -> None:
    run_ffmpeg(
        f"{FLASH} -itsoffset 0.7 -f lavfi -i sine=d=0.9:r=48000 {H264} -c:a aac clip.mp4",
        folder=tmp_path,
    )
    waveform, flags, anomalies = read_audio_and_anomalies(tmp_path / "clip.mp4", seconds=2.4)
    loud = np.flatnonzero(np.abs(waveform) > 0.03) / 16_000
    assert (loud.min(), loud.max()) == pytest.approx((0.7, 1.6), abs=0.005)
    assert flags == set()
    assert anomalies.audio_first_seconds == pytest.approx(0.7, abs=0.03)
