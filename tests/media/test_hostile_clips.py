"""Hostile files: large resources behind small files. Each fails alone, with its typed error."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from service.domain.clip import Chunk
from service.domain.media import Flag
from service.errors import (
    ClipError,
    ClipNotMedia,
    ClipTooLarge,
    ClipTooLong,
    ClipTooManyPixels,
    ClipWithoutFrames,
    DecoderTimedOut,
)
from tests.media import hostile_files
from tests.media.clip_factory import VideoTrack, encode_clip
from tests.media.decode_workers import (
    Reader,
    assert_fails_alone,
    read_frame_count_and_flags,
    wait_for_single_worker,
)
from tests.media.encoding import add_video, encode_video
from tests.media_corpus.ffmpeg_reference import run_ffmpeg

HUGE_SIDE_PIXELS = 16_384


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "ppm", "tiff"])
async def test_images_and_image_sequences_are_refused(
    reader: Reader, tmp_path: Path, suffix: str
) -> None:
    clip = tmp_path / f"%03d.{suffix}"
    codec = {"jpg": "mjpeg", "webp": "libwebp"}.get(suffix, suffix)
    for file in (clip, tmp_path / f"001.{suffix}", tmp_path / f"002.{suffix}"):
        with av.open(str(file).replace("%", "%%"), "w", format="image2") as container:
            pixel_format = (av.Codec(codec, "w").video_formats or [])[0].name
            stream = add_video(container, codec, rate=1, pixel_format=pixel_format)
            encode_video(container, stream, [av.VideoFrame(64, 64, pixel_format)])
    with pytest.raises(ClipNotMedia):
        await reader.read(clip)


async def test_codec_outside_the_allowlist_is_not_decoded(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    track = VideoTrack(codec="flashsv", count=5, options={})
    clip = tmp_path / "clip.flv"
    with av.open(str(clip), "w") as container:
        stream = add_video(container, track.codec, pixel_format="bgr24")
        encode_video(container, stream, (av.VideoFrame(64, 64, "bgr24") for _ in range(5)))
    with av.open(str(clip)) as container:
        assert len(list(container.decode(video=0))) == 5
    await assert_fails_alone(reader, clip, ClipWithoutFrames, good_clip)


async def test_huge_declared_pictures_are_refused(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    clip = hostile_files.write_png_movie(
        tmp_path / "clip.mov",
        hostile_files.encode_black_png(HUGE_SIDE_PIXELS, HUGE_SIDE_PIXELS),
        width=HUGE_SIDE_PIXELS,
        height=HUGE_SIDE_PIXELS,
    )
    assert clip.stat().st_size < 200_000
    await assert_fails_alone(reader, clip, ClipTooManyPixels, good_clip)


@pytest.mark.parametrize("side", [HUGE_SIDE_PIXELS, 7_000])
async def test_huge_undeclared_pictures_are_refused(
    reader: Reader, good_clip: Path, tmp_path: Path, side: int
) -> None:
    clip = hostile_files.write_png_movie(
        tmp_path / "clip.mov", hostile_files.encode_black_png(side, side), width=64, height=64
    )
    await assert_fails_alone(reader, clip, ClipTooManyPixels, good_clip)


async def test_a_stream_that_switches_to_an_oversized_frame_is_refused(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    small = encode_clip(tmp_path / "small.ts", VideoTrack(count=10))
    large = encode_clip(tmp_path / "large.ts", VideoTrack(size=(192, 128), count=10))
    clip = tmp_path / "clip.ts"
    clip.write_bytes(small.read_bytes() + large.read_bytes())
    await assert_fails_alone(
        reader, clip, ClipTooManyPixels, good_clip, max_frame_pixels=192 * 128 - 1
    )


async def test_an_undecodably_large_frame_is_flagged_as_damage(
    reader: Reader, tmp_path: Path
) -> None:
    pictures = [
        *[hostile_files.encode_black_png(64, 64, bits=8)] * 5,
        hostile_files.encode_black_png(HUGE_SIDE_PIXELS, HUGE_SIDE_PIXELS),
    ]
    clip = hostile_files.write_png_movie(tmp_path / "clip.mov", *pictures, width=64, height=64)
    frames, flags = await read_frame_count_and_flags(reader, clip)
    assert frames == 5
    assert Flag.DAMAGED in flags


async def test_a_huge_cover_is_never_decoded(reader: Reader, tmp_path: Path) -> None:
    """8192 x 8192 pixels of 16 bits: 128 MiB once decoded, 130 KB in the file."""
    clip = encode_clip(tmp_path / "clip.mp4", VideoTrack(size=(128, 128), count=320))
    (tmp_path / "cover.png").write_bytes(hostile_files.encode_black_png(8192, 8192, bits=16))
    both = "-i clip.mp4 -i cover.png -map 0 -map 1 -c copy"
    run_ffmpeg(f"{both} -disposition:v:1 attached_pic covered.mp4", folder=tmp_path)
    peaks: list[int] = []
    for file in (clip, tmp_path / "covered.mp4"):
        async with reader.open(file) as messages:
            await anext(messages)
            assert isinstance(await anext(messages), Chunk)
            peaks.append(_peak_mebibytes(await wait_for_single_worker()))
    assert peaks[1] < peaks[0] + 64


def _peak_mebibytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


async def test_more_frames_than_allowed_are_refused_while_decoding(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    clip = encode_clip(tmp_path / "clip.ts", VideoTrack(count=60))
    await assert_fails_alone(reader, clip, ClipTooLong, good_clip, max_clip_frames=50)


async def test_huge_declared_sample_count_is_refused(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    clip = hostile_files.declare_sample_count(
        encode_clip(tmp_path / "clip.mp4", VideoTrack()), 2**31 - 1
    )
    await assert_fails_alone(reader, clip, ClipError, good_clip)


async def test_thousands_of_tracks_are_refused(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    clip = hostile_files.repeat_track(encode_clip(tmp_path / "clip.mp4", VideoTrack()), 5_000)
    await assert_fails_alone(reader, clip, ClipError, good_clip)


async def test_a_hundred_thousand_tags_take_no_more_time_than_allowed(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    clip = hostile_files.add_tags(encode_clip(tmp_path / "clip.mp4", VideoTrack()), 100_000)
    await assert_fails_alone(reader, clip, DecoderTimedOut, good_clip, decode_cpu_seconds=1)


async def test_oversized_files_and_paths_that_are_not_files_are_refused(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    await assert_fails_alone(reader, good_clip, ClipTooLarge, good_clip, max_upload_bytes=1000)
    await assert_fails_alone(reader, Path("/dev/zero"), ClipNotMedia, good_clip)
    await assert_fails_alone(reader, tmp_path, ClipNotMedia, good_clip)
    await assert_fails_alone(reader, tmp_path / "absent", ClipNotMedia, good_clip)
