"""Placement of audio on the frames' time axis in every container; patches and their memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.domain.array_types import Float32Array
from service.domain.media import Flag
from service.media.audio import AudioReader
from service.media.demux import open_container
from service.media.stream_selection import select_audio_stream
from tests.media.clip_factory import AudioTrack, VideoTrack, encode_clip, make_clap
from tests.media.in_process_reading import (
    locate_pattern,
    read_audio,
    read_audio_and_anomalies,
    read_frames,
)

VIDEO = VideoTrack()
VP9 = VideoTrack(codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"})
CLAP_SAMPLES = make_clap(16_000)

OFFSET_CASES = {
    "mp4": ("clip.mp4", VIDEO, AudioTrack()),
    "mp4, late audio": ("clip.mp4", VIDEO, AudioTrack(start_seconds=0.75)),
    "mp4, 44.1 kHz": ("clip.mp4", VIDEO, AudioTrack(rate_hz=44_100)),
    "mov, pcm": ("clip.mov", VIDEO, AudioTrack(codec="pcm_s16le")),
    "matroska, late pcm": ("clip.mkv", VIDEO, AudioTrack(codec="pcm_s16le", start_seconds=0.75)),
    "matroska, late aac": ("clip.mkv", VIDEO, AudioTrack(start_seconds=0.75, rate_hz=44_100)),
    "matroska, six channels": ("clip.mkv", VIDEO, AudioTrack(codec="pcm_s16le", layout="5.1")),
    "webm": ("clip.webm", VP9, AudioTrack(codec="libopus")),
    "passed through": ("clip.mkv", VIDEO, AudioTrack(codec="pcm_f32le", rate_hz=16_000)),
}


@pytest.mark.parametrize(("name", "video", "audio"), OFFSET_CASES.values(), ids=OFFSET_CASES.keys())
def test_a_clap_lands_within_a_millisecond_of_its_time(
    tmp_path: Path, name: str, video: VideoTrack, audio: AudioTrack
) -> None:
    waveform, flags = read_audio(encode_clip(tmp_path / name, video, audio), seconds=4.0)
    assert flags == set()
    for seconds in audio.clap_seconds:
        assert locate_pattern(waveform, CLAP_SAMPLES, near_seconds=seconds) == pytest.approx(
            seconds, abs=0.001
        )


@pytest.mark.parametrize("name", ["clip.ts", "clip.flv"])
def test_audio_is_shifted_with_video_where_the_muxer_shifts_both(tmp_path: Path, name: str) -> None:
    clip = encode_clip(tmp_path / name, VIDEO, AudioTrack(rate_hz=44_100))
    start = read_frames(clip)[0][0]
    waveform, _ = read_audio(clip, seconds=4.0)
    # FLV counts in whole milliseconds, pictures and audio separately
    assert locate_pattern(waveform, CLAP_SAMPLES, near_seconds=1.0 + start) == pytest.approx(
        1.0 + start, abs=0.001
    )


def test_a_gap_is_silent_and_does_not_shift_later_audio(tmp_path: Path) -> None:
    audio = AudioTrack(codec="pcm_s16le", gaps_seconds=[(1.2, 2.0)])
    clip = encode_clip(tmp_path / "clip.mkv", VIDEO, audio)
    waveform, flags, anomalies = read_audio_and_anomalies(clip, seconds=4.0)
    assert locate_pattern(waveform, CLAP_SAMPLES, near_seconds=2.5) == pytest.approx(2.5, abs=0.001)
    assert not waveform[round(1.3 * 16_000) : round(1.9 * 16_000)].any()
    assert flags == {Flag.AUDIO_GAPS}
    assert (anomalies.audio_gaps, anomalies.audio_overlaps) == (1, 0)
    assert anomalies.audio_gap_seconds == pytest.approx(0.8, abs=0.001)


def test_audio_outside_its_track_is_silent(tmp_path: Path) -> None:
    audio = AudioTrack(
        codec="pcm_s16le", start_seconds=0.75, seconds=1.0, clap_seconds=[0.75, 1.73]
    )
    waveform, _ = read_audio(encode_clip(tmp_path / "clip.mkv", VIDEO, audio), seconds=4.0)
    loud = np.flatnonzero(np.abs(waveform) > 1e-3) / 16_000
    assert loud.min() == pytest.approx(0.75, abs=0.002)
    assert loud.max() == pytest.approx(1.75, abs=0.002)


def test_full_scale_stereo_stays_in_range(tmp_path: Path) -> None:
    audio = AudioTrack(codec="pcm_s16le", layout="stereo", gain=1.0)
    waveform, _ = read_audio(encode_clip(tmp_path / "clip.mov", VIDEO, audio), seconds=4.0)
    one, _ = read_audio(
        encode_clip(tmp_path / "mono.mov", VIDEO, AudioTrack(codec="pcm_s16le")), seconds=4.0
    )
    # two equal channels are as loud as one: the downmix is a mean. 16 bits round to 2^-15
    assert waveform == pytest.approx(one, abs=2**-14)
    assert np.abs(waveform).max() <= 1.0


def test_a_clip_without_audio_is_silent_and_flagged(tmp_path: Path) -> None:
    waveform, flags = read_audio(encode_clip(tmp_path / "clip.mp4", VIDEO), seconds=1.0)
    assert not waveform.any()
    assert flags == {Flag.NO_AUDIO}


def test_undecodable_audio_is_silent_and_flagged(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mkv", VIDEO, AudioTrack(codec="flac"))
    clip.write_bytes(clip.read_bytes().replace(b"\xff\xf8", b"\x00\x00"))
    waveform, flags = read_audio(clip, seconds=4.0)
    assert not waveform.any()
    assert Flag.AUDIO_UNREADABLE in flags


def read_patches(clip: Path, *requests: list[int]) -> list[tuple[Float32Array, list[int]]]:
    with open_container(clip) as container:
        audio = AudioReader(container, select_audio_stream(container))
        return [
            (waveform, starts.tolist()) for waveform, starts in map(audio.read_patches, requests)
        ]


def test_patches_do_not_depend_on_how_requests_are_grouped(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VIDEO, AudioTrack())
    whole, _ = read_audio(clip, seconds=6.0)
    requests = [[0, 4, 8], [90, 94, 240], [243, 244, 380]]
    for hops, (waveform, starts) in zip(requests, read_patches(clip, *requests), strict=True):
        for hop, start in zip(hops, starts, strict=True):
            patch = waveform[start * 160 : start * 160 + 15_600]
            assert np.array_equal(patch, whole[hop * 160 : hop * 160 + 15_600])


def test_audio_between_distant_frames_is_not_returned(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VIDEO, AudioTrack())
    hops = [0, 10_000_000, 20_000_000]
    ((waveform, starts),) = read_patches(clip, hops)
    assert starts == [0, 98, 196]
    assert len(waveform) == 3 * 98 * 160


def test_frames_out_of_order_and_before_time_zero_get_their_patch(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VIDEO, AudioTrack())
    ((waveform, starts),) = read_patches(clip, [100, 92, -5, 92])
    assert starts == [105, 97, 0, 97]
    assert not waveform[: 5 * 160].any()
    assert locate_pattern(waveform, CLAP_SAMPLES, near_seconds=1.05) == pytest.approx(
        1.05, abs=0.001
    )


def test_memory_for_audio_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VIDEO, AudioTrack(seconds=60.0))
    stored_samples: list[int] = []
    with open_container(clip) as container:
        audio = AudioReader(container, select_audio_stream(container))
        for first in range(0, 5600, 32):
            audio.read_patches(list(range(first, first + 32)))
            stored_samples.append(audio.stored_samples)
    assert max(stored_samples) < 5 * 16_000
