"""Files that try: to be led elsewhere, to grow, to stand still. Each fails alone, by its name."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from service.domain.clip import Chunk, ClipClosed
from service.domain.media import Flag
from service.errors import (
    CircumplexError,
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
from tests.media.decode_workers import Reader, decode_worker_pids
from tests.media_corpus.ffmpeg_reference import run_ffmpeg

HUGE_SIDE_PIXELS = 16_384
GOOD_CLIP_FRAMES = 5
"""Of a good clip."""
PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n",
    "hls_key": (
        '#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n'
        "#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n"
    ),
    "concat": "ffconcat version 1.0\nfile {target}\n",
    "dash": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" '
        'mediaPresentationDuration="PT4S" minBufferTime="PT1S"><Period><AdaptationSet '
        'mimeType="video/mp4"><Representation id="1" bandwidth="1000" codecs="avc1.64000a">'
        "<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    ),
    "sdp": (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\na=control:{target}\n"
    ),
}
FOLLOWED_BY_FFMPEG = ("hls", "hls_key", "concat")


@dataclass(slots=True)
class RequestCountingServer:
    """A server on the loopback interface that counts who comes."""

    port: int = 0
    requests: list[str] = field(default_factory=list[str])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/clip.ts"


@asynccontextmanager
async def counting_server() -> AsyncIterator[RequestCountingServer]:
    found = RequestCountingServer()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.requests.append(str(await reader.readline()))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    async with server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


@pytest.fixture(scope="module")
def good_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode_clip(
        tmp_path_factory.mktemp("clips") / "good.ts", VideoTrack(count=GOOD_CLIP_FRAMES)
    )


async def read_frame_count_and_flags(
    reader: Reader, clip: Path, **changes: object
) -> tuple[int, set[Flag]]:
    closed = (await reader.read(clip, **changes))[-1]
    assert isinstance(closed, ClipClosed)
    return closed.frames, set(closed.flags)


async def assert_fails_alone(
    reader: Reader, clip: Path, error: type[CircumplexError], good_clip: Path, **changes: object
) -> None:
    """The clip fails so; the next one does not."""
    with pytest.raises(error):
        await reader.read(clip, **changes)
    assert not decode_worker_pids()
    assert (await read_frame_count_and_flags(reader, good_clip))[0] == GOOD_CLIP_FRAMES


def decode_with_ffmpeg(clip: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What FFmpeg's program makes of a file, with every door open."""
    doors = ("-protocol_whitelist", "file,http,tcp,crypto,data,subfile", *options)
    return subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-stats"),
            *(*doors, "-i", str(clip), "-f", "null", "-"),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.m3u8", "clip.ts"])
async def test_playlist_is_refused_and_nothing_is_fetched(
    reader: Reader, good_clip: Path, tmp_path: Path, kind: str, name: str
) -> None:
    clip = tmp_path / name
    async with counting_server() as server:
        for target in (
            server.url,
            str(good_clip),
            f"file:{good_clip}",
            f"subfile,,start,0,end,0,,:{good_clip}",
        ):
            clip.write_text(PLAYLISTS[kind].format(target=target))
            with pytest.raises(ClipNotMedia):
                await reader.read(clip)
        assert server.requests == []


@pytest.mark.parametrize("kind", FOLLOWED_BY_FFMPEG)
async def test_ffmpeg_without_protection_follows_the_playlist(
    good_clip: Path, tmp_path: Path, kind: str
) -> None:
    clip = tmp_path / ("clip.ffconcat" if kind == "concat" else "clip.m3u8")
    options = ("-safe", "0") if kind == "concat" else ("-allowed_extensions", "ALL")
    async with counting_server() as server:
        clip.write_text(PLAYLISTS[kind].format(target=server.url))
        await asyncio.to_thread(decode_with_ffmpeg, clip, *options)
        assert server.requests
    if kind != "hls_key":
        clip.write_text(PLAYLISTS[kind].format(target=good_clip))
        assert (
            f"frame={GOOD_CLIP_FRAMES:5}"
            in (await asyncio.to_thread(decode_with_ffmpeg, clip, *options)).stderr
        )


async def test_external_media_reference_is_not_followed(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    other = encode_clip(tmp_path / "other.mov", VideoTrack(count=GOOD_CLIP_FRAMES))
    clip = hostile_files.reference_external_media(
        Path(shutil.copy(other, tmp_path / "clip.mov")), other
    )
    doors = ("-enable_drefs", "1", "-use_absolute_path", "1")
    assert (
        f"frame={GOOD_CLIP_FRAMES:5}"
        in (await asyncio.to_thread(decode_with_ffmpeg, clip, *doors)).stderr
    )
    await assert_fails_alone(reader, clip, ClipWithoutFrames, good_clip)


@pytest.mark.parametrize(
    "name", ["subfile,,start,0,end,9,,:clip.mp4", "concat:a|b.mp4", "%03d.png", "pipe:0", "x.m3u8"]
)
async def test_file_name_is_never_parsed_as_url_or_pattern(
    reader: Reader, good_clip: Path, tmp_path: Path, name: str
) -> None:
    clip = Path(shutil.copy(good_clip, tmp_path / name))
    assert (await read_frame_count_and_flags(reader, clip))[0] == GOOD_CLIP_FRAMES


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "ppm", "tiff"])
async def test_pictures_and_their_sequences_are_no_clips(
    reader: Reader, tmp_path: Path, suffix: str
) -> None:
    clip = tmp_path / f"%03d.{suffix}"
    codec = {"jpg": "mjpeg", "webp": "libwebp"}.get(suffix, suffix)
    for file in (clip, tmp_path / f"001.{suffix}", tmp_path / f"002.{suffix}"):
        with av.open(str(file).replace("%", "%%"), "w", format="image2") as container:
            stream = container.add_stream(codec, rate=1)
            stream.width = stream.height = 64
            stream.pix_fmt = stream.codec_context.codec.video_formats[0].name
            container.mux(stream.encode(av.VideoFrame(64, 64, stream.pix_fmt)))
            container.mux(stream.encode(None))
    with pytest.raises(ClipNotMedia):
        await reader.read(clip)


async def test_a_codec_that_is_not_on_the_list_is_not_decoded(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    track = VideoTrack(codec="flashsv", count=5, options={})
    clip = tmp_path / "clip.flv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream(track.codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "bgr24"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(64, 64, "bgr24")))
        container.mux(stream.encode(None))
    with av.open(str(clip)) as container:
        assert len(list(container.decode(video=0))) == 5
    await assert_fails_alone(reader, clip, ClipWithoutFrames, good_clip)


async def test_huge_pictures_are_refused_by_what_the_file_declares(
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
async def test_huge_pictures_are_refused_by_what_the_decoder_meets(
    reader: Reader, good_clip: Path, tmp_path: Path, side: int
) -> None:
    clip = hostile_files.write_png_movie(
        tmp_path / "clip.mov", hostile_files.encode_black_png(side, side), width=64, height=64
    )
    await assert_fails_alone(reader, clip, ClipTooManyPixels, good_clip)


async def test_a_stream_that_grows_in_its_middle_is_refused(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    small = encode_clip(tmp_path / "small.ts", VideoTrack(count=10))
    large = encode_clip(tmp_path / "large.ts", VideoTrack(size=(192, 128), count=10))
    clip = tmp_path / "clip.ts"
    clip.write_bytes(small.read_bytes() + large.read_bytes())
    await assert_fails_alone(
        reader, clip, ClipTooManyPixels, good_clip, max_frame_pixels=192 * 128 - 1
    )


async def test_pictures_past_every_bound_in_the_middle_are_damage(
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
            (child,) = decode_worker_pids()
            peaks.append(_peak_mebibytes(child))
    assert peaks[1] < peaks[0] + 64


def _peak_mebibytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


async def test_more_frames_than_allowed_are_refused_as_they_come(
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


async def test_files_that_are_larger_than_allowed_or_no_files_are_refused(
    reader: Reader, good_clip: Path, tmp_path: Path
) -> None:
    await assert_fails_alone(reader, good_clip, ClipTooLarge, good_clip, max_upload_bytes=1000)
    await assert_fails_alone(reader, Path("/dev/zero"), ClipNotMedia, good_clip)
    await assert_fails_alone(reader, tmp_path, ClipNotMedia, good_clip)
    await assert_fails_alone(reader, tmp_path / "absent", ClipNotMedia, good_clip)
