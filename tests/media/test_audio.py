"""Sound lies where the frames' clock says, in every container."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.domain.media import Flag
from service.media.audio import Sound
from service.media.demux import open_container
from service.media.streams import choose_sound
from tests.media.factory import PictureTrack, SoundTrack, clap, write
from tests.media.reading import hear, listen, locate, read_pictures

PICTURES = PictureTrack()
VP9 = PictureTrack(codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"})
CLAP = clap(16_000)

PLACED = {
    "mp4": ("clip.mp4", PICTURES, SoundTrack()),
    "mp4, late sound": ("clip.mp4", PICTURES, SoundTrack(starts_at=0.75)),
    "mp4, 44.1 kHz": ("clip.mp4", PICTURES, SoundTrack(rate_hz=44_100)),
    "mov, pcm": ("clip.mov", PICTURES, SoundTrack(codec="pcm_s16le")),
    "matroska, late pcm": ("clip.mkv", PICTURES, SoundTrack(codec="pcm_s16le", starts_at=0.75)),
    "matroska, late aac": ("clip.mkv", PICTURES, SoundTrack(starts_at=0.75, rate_hz=44_100)),
    "matroska, six channels": ("clip.mkv", PICTURES, SoundTrack(codec="pcm_s16le", layout="5.1")),
    "webm": ("clip.webm", VP9, SoundTrack(codec="libopus")),
    "passed through": ("clip.mkv", PICTURES, SoundTrack(codec="pcm_f32le", rate_hz=16_000)),
}


@pytest.mark.parametrize(("name", "pictures", "sound"), PLACED.values(), ids=PLACED.keys())
def test_a_clap_lands_within_a_millisecond_of_its_time(
    tmp_path: Path, name: str, pictures: PictureTrack, sound: SoundTrack
) -> None:
    waveform, flags = hear(write(tmp_path / name, pictures, sound), seconds=4.0)
    assert flags == set()
    for seconds in sound.claps_at:
        assert locate(waveform, CLAP, near=seconds) == pytest.approx(seconds, abs=0.001)


@pytest.mark.parametrize("name", ["clip.ts", "clip.flv"])
def test_sound_moves_with_pictures_where_the_muxer_moves_both(tmp_path: Path, name: str) -> None:
    clip = write(tmp_path / name, PICTURES, SoundTrack(rate_hz=44_100))
    start = read_pictures(clip)[0][0]
    waveform, _ = hear(clip, seconds=4.0)
    # FLV counts in whole milliseconds, the pictures and the sound apart
    assert locate(waveform, CLAP, near=1.0 + start) == pytest.approx(1.0 + start, abs=0.001)


def test_a_pause_is_silent_and_moves_nothing(tmp_path: Path) -> None:
    sound = SoundTrack(codec="pcm_s16le", pauses=[(1.2, 2.0)])
    clip = write(tmp_path / "clip.mkv", PICTURES, sound)
    waveform, flags, anomalies = listen(clip, seconds=4.0)
    assert locate(waveform, CLAP, near=2.5) == pytest.approx(2.5, abs=0.001)
    assert not waveform[round(1.3 * 16_000) : round(1.9 * 16_000)].any()
    assert flags == {Flag.AUDIO_GAPS}
    assert (anomalies.audio_gaps, anomalies.audio_overlaps) == (1, 0)
    assert anomalies.audio_gap_seconds == pytest.approx(0.8, abs=0.001)


def test_there_is_silence_before_and_after_the_sound(tmp_path: Path) -> None:
    sound = SoundTrack(codec="pcm_s16le", starts_at=0.75, seconds=1.0, claps_at=[0.75, 1.73])
    waveform, _ = hear(write(tmp_path / "clip.mkv", PICTURES, sound), seconds=4.0)
    loud = np.flatnonzero(np.abs(waveform) > 1e-3) / 16_000
    assert loud.min() == pytest.approx(0.75, abs=0.002)
    assert loud.max() == pytest.approx(1.75, abs=0.002)


def test_full_scale_stereo_stays_in_range(tmp_path: Path) -> None:
    sound = SoundTrack(codec="pcm_s16le", layout="stereo", loudness=1.0)
    waveform, _ = hear(write(tmp_path / "clip.mov", PICTURES, sound), seconds=4.0)
    one, _ = hear(
        write(tmp_path / "mono.mov", PICTURES, SoundTrack(codec="pcm_s16le")), seconds=4.0
    )
    # two equal channels are as loud as one: the downmix is a mean. 16 bits round to 2^-15
    assert waveform == pytest.approx(one, abs=2**-14)
    assert np.abs(waveform).max() <= 1.0


def test_a_clip_without_sound_is_silent_and_flagged(tmp_path: Path) -> None:
    waveform, flags = hear(write(tmp_path / "clip.mp4", PICTURES), seconds=1.0)
    assert not waveform.any()
    assert flags == {Flag.NO_AUDIO}


def test_sound_that_cannot_be_decoded_is_silent_and_flagged(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mkv", PICTURES, SoundTrack(codec="flac"))
    clip.write_bytes(clip.read_bytes().replace(b"\xff\xf8", b"\x00\x00"))
    waveform, flags = hear(clip, seconds=4.0)
    assert not waveform.any()
    assert Flag.AUDIO_UNREADABLE in flags


def cut(clip: Path, *requests: list[int]) -> list[tuple[np.ndarray, list[int]]]:
    with open_container(clip) as container:
        sound = Sound(container, choose_sound(container))
        return [(waveform, starts.tolist()) for waveform, starts in map(sound.cut, requests)]


def test_every_patch_is_the_same_sound_however_it_is_asked_for(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", PICTURES, SoundTrack())
    whole, _ = hear(clip, seconds=6.0)
    requests = [[0, 4, 8], [90, 94, 240], [243, 244, 380]]
    for hops, (waveform, starts) in zip(requests, cut(clip, *requests), strict=True):
        for hop, start in zip(hops, starts, strict=True):
            patch = waveform[start * 160 : start * 160 + 15_600]
            assert np.array_equal(patch, whole[hop * 160 : hop * 160 + 15_600])


def test_frames_far_apart_do_not_drag_the_sound_between_them_along(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", PICTURES, SoundTrack())
    hops = [0, 10_000_000, 20_000_000]
    ((waveform, starts),) = cut(clip, hops)
    assert starts == [0, 98, 196]
    assert len(waveform) == 3 * 98 * 160


def test_frames_out_of_order_and_before_time_zero_get_their_patch(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", PICTURES, SoundTrack())
    ((waveform, starts),) = cut(clip, [100, 92, -5, 92])
    assert starts == [105, 97, 0, 97]
    assert not waveform[: 5 * 160].any()
    assert locate(waveform, CLAP, near=1.05) == pytest.approx(1.05, abs=0.001)


def test_memory_for_sound_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", PICTURES, SoundTrack(seconds=60.0))
    kept: list[int] = []
    with open_container(clip) as container:
        sound = Sound(container, choose_sound(container))
        for first in range(0, 5600, 32):
            sound.cut(list(range(first, first + 32)))
            kept.append(sound.kept_samples)
    assert max(kept) < 5 * 16_000
