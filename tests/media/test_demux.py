"""Opening of files, selection of streams, and the error of each refusal."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from service.errors import (
    ClipNotMedia,
    ClipTruncated,
    ClipWithoutFrames,
    ClipWithoutVideo,
    MediaStreamUnknown,
)
from service.media.demux import open_container
from service.media.stream_selection import select_audio_stream
from tests.media.clip_factory import AudioTrack, VideoTrack, encode_clip
from tests.media.encoding import (
    add_audio,
    add_video,
    encode_audio,
    encode_video,
    repeat_picture,
)
from tests.media.in_process_reading import read_all, read_frames


@pytest.mark.parametrize(
    "content", [b"", b"x", b"hello " * 300, bytes(5000), b"\xff\xd8\xff\xe0" * 9]
)
def test_files_that_are_not_media_are_refused(tmp_path: Path, content: bytes) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(content)
    with pytest.raises(ClipNotMedia):
        read_frames(clip)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_an_mp4_without_its_index_is_truncated(tmp_path: Path, share: float) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VideoTrack(), AudioTrack())
    clip.write_bytes(clip.read_bytes()[: int(clip.stat().st_size * share)])
    with pytest.raises(ClipTruncated):
        read_frames(clip)


def test_an_mp4_cut_within_its_index_is_truncated(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VideoTrack(), AudioTrack(), movflags="faststart")
    clip.write_bytes(clip.read_bytes()[:400])
    with pytest.raises(ClipTruncated):
        read_frames(clip)


def test_a_matroska_file_cut_in_its_head_is_truncated(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mkv", VideoTrack())
    clip.write_bytes(clip.read_bytes()[:60])
    with pytest.raises(ClipTruncated):
        read_frames(clip)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.ogg", "libopus"), ("a.flac", "flac")],
)
def test_a_file_with_audio_only_has_no_video(tmp_path: Path, name: str, codec: str) -> None:
    clip = encode_clip(tmp_path / name, None, AudioTrack(codec=codec))
    with pytest.raises(ClipWithoutVideo):
        read_frames(clip)


def test_a_wave_file_has_no_video(tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    with wave.open(str(clip), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.zeros(16_000, np.int16).tobytes())
    with pytest.raises(ClipWithoutVideo):
        read_frames(clip)


def test_a_codec_without_a_decoder_is_not_reported_as_truncation(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mkv", VideoTrack())
    known = b"V_MPEG4/ISO/AVC"
    content = clip.read_bytes()
    assert content.count(known) == 1
    clip.write_bytes(content.replace(known, b"V_OTHER/ISO/AVC"))
    with pytest.raises(ClipWithoutFrames):
        read_frames(clip)


def test_a_cover_picture_is_not_read_as_video(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w") as container:
        cover = add_video(container, "mjpeg", rate=1, pixel_format="yuvj420p")
        cover.disposition = Disposition.attached_pic
        audio = add_audio(container, "aac", rate_hz=48_000)
        encode_video(container, cover, repeat_picture(np.zeros((64, 64, 3), np.uint8), 1))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        encode_audio(container, audio, [frame])
    with pytest.raises(ClipWithoutVideo):
        read_frames(clip)


def test_a_playlist_is_refused_as_not_media(tmp_path: Path) -> None:
    target = encode_clip(tmp_path / "target.ts", VideoTrack())
    playlist = tmp_path / "clip.mp4"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{target}\n#EXT-X-ENDLIST\n")
    with pytest.raises(ClipNotMedia):
        read_frames(playlist)


def test_a_concatenation_script_is_refused_as_not_media(tmp_path: Path) -> None:
    target = encode_clip(tmp_path / "target.mp4", VideoTrack())
    script = tmp_path / "clip.mp4"
    script.write_text(f"ffconcat version 1.0\nfile {target.name}\n")
    with pytest.raises(ClipNotMedia):
        read_frames(script)


def test_a_file_name_is_never_parsed_as_a_protocol(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VideoTrack(count=3))
    renamed = clip.rename(tmp_path / "concat:a|b.mp4")
    assert len(read_frames(renamed)[0]) == 3


def _write_streams(clip: Path, sizes: list[tuple[int, int]], layouts: list[str]) -> Path:
    """Write videos of 5, 10, 15.. pictures in these sizes; the last audio is the default."""
    with av.open(str(clip), "w") as container:
        videos = [add_video(container, "libx264", size=size) for size in sizes]
        audios = [add_audio(container, "aac", rate_hz=48_000, layout=layout) for layout in layouts]
        for audio in audios[-1:]:
            audio.disposition = Disposition.default
        for number, (video, (width, height)) in enumerate(zip(videos, sizes, strict=True), 1):
            picture = np.full((height, width, 3), 40 * number, np.uint8)
            encode_video(container, video, repeat_picture(picture, 5 * number))
        for audio, layout in zip(audios, layouts, strict=True):
            silence = np.zeros((audio.layout.nb_channels, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, "fltp", layout)
            frame.sample_rate, frame.pts = 48_000, 0
            encode_audio(container, audio, [frame])
    return clip


def test_the_first_of_several_videos_is_read(tmp_path: Path) -> None:
    clip = _write_streams(tmp_path / "clip.mkv", [(64, 48), (128, 96), (96, 64)], [])
    times, pictures, _, facts = read_all(clip)

    assert len(times) == 5
    assert pictures[0].shape == (48, 64, 3)
    assert (facts.width, facts.height) == (64, 48)
    assert (facts.video_streams, facts.video_stream_index) == (3, 0)


def test_undecodable_video_stream_is_skipped_for_the_next(tmp_path: Path) -> None:
    clip = _write_streams(tmp_path / "clip.mkv", [(64, 48), (128, 96)], [])
    clip.write_bytes(clip.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_OTHER/ISO/AVC", 1))
    times, _, _, facts = read_all(clip)

    assert len(times) == 10
    assert (facts.video_streams, facts.video_stream_index) == (2, 1)


def test_requested_video_stream_is_selected(tmp_path: Path) -> None:
    clip = _write_streams(tmp_path / "clip.mkv", [(64, 48), (128, 96)], ["mono"])
    times, _, _, facts = read_all(clip, video_stream=1)

    assert len(times) == 10
    assert (facts.video_streams, facts.video_stream_index, facts.width) == (2, 1, 128)


@pytest.mark.parametrize("index", [2, 3, 99])
def test_requesting_a_stream_that_is_not_video_is_refused(tmp_path: Path, index: int) -> None:
    clip = _write_streams(tmp_path / "clip.mkv", [(64, 48), (128, 96)], ["mono"])
    with pytest.raises(MediaStreamUnknown, match=f"{index}"):
        read_all(clip, video_stream=index)


def test_requested_audio_stream_is_selected(tmp_path: Path) -> None:
    clip = _write_streams(tmp_path / "clip.mkv", [(64, 48)], ["mono", "stereo", "5.1"])
    with open_container(clip) as container:
        assert select_audio_stream(container) is container.streams.audio[2]
        assert select_audio_stream(container, 2) is container.streams.audio[1]
        for index in (0, 4):
            with pytest.raises(MediaStreamUnknown):
                select_audio_stream(container, index)


def test_media_info_describes_the_selected_audio_stream(tmp_path: Path) -> None:
    clip = _write_streams(tmp_path / "clip.mkv", [(64, 48)], ["mono", "5.1"])

    assert read_all(clip)[3].audio_channels == 6


def test_media_info_matches_the_container(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VideoTrack(), AudioTrack(layout="stereo"))
    facts = read_all(clip)[3]
    assert (facts.video_codec, facts.audio_codec) == ("h264", "aac")
    assert (facts.video_streams, facts.video_stream_index) == (1, 0)
    assert (facts.width, facts.height, facts.rotation_degrees) == (96, 64, 0)
    assert (facts.average_rate_hz, facts.frames_estimate) == (25.0, 100)
    assert facts.duration_seconds == pytest.approx(4.0)
    assert (facts.audio_rate_hz, facts.audio_channels) == (48_000, 2)
    assert "mp4" in facts.container


@pytest.mark.parametrize(
    ("name", "codec", "size"),
    [("tape.dv", "dvvideo", (720, 576)), ("broadcast.mxf", "mpeg2video", (96, 64))],
)
def test_tape_and_broadcast_formats_are_read(
    tmp_path: Path, name: str, codec: str, size: tuple[int, int]
) -> None:
    track = VideoTrack(codec=codec, size=size, count=5, time_base=Fraction(1, 25), options={})
    times, _ = read_frames(encode_clip(tmp_path / name, track))
    assert times == [k / 25 for k in range(5)]


def test_a_codec_that_is_not_accepted_is_named(tmp_path: Path) -> None:
    track = VideoTrack(codec="snow", count=3, options={"strict": "experimental"})
    with pytest.raises(ClipWithoutFrames, match="coded as snow"):
        read_frames(encode_clip(tmp_path / "clip.avi", track))
