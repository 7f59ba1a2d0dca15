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
from tests.media import bombs
from tests.media.children import Reader, children
from tests.media.factory import PictureTrack, write
from tests.torture.reference import ffmpeg

HUGE = 16_384
FRAMES = 5
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
class Server:
    """A server on the loopback interface that counts who comes."""

    port: int = 0
    visitors: list[str] = field(default_factory=list[str])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/clip.ts"


@asynccontextmanager
async def listening() -> AsyncIterator[Server]:
    found = Server()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.visitors.append(str(await reader.readline()))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    async with server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("clips") / "good.ts", PictureTrack(count=FRAMES))


async def frames_of(reader: Reader, clip: Path, **changes: object) -> tuple[int, set[Flag]]:
    closed = (await reader.read(clip, **changes))[-1]
    assert isinstance(closed, ClipClosed)
    return closed.frames, set(closed.flags)


async def fail(
    reader: Reader, clip: Path, error: type[CircumplexError], good: Path, **changes: object
) -> None:
    """The clip fails so; the next one does not."""
    with pytest.raises(error):
        await reader.read(clip, **changes)
    assert not children()
    assert (await frames_of(reader, good))[0] == FRAMES


def follow(clip: Path, *options: str) -> subprocess.CompletedProcess[str]:
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
async def test_a_playlist_leads_nowhere(
    reader: Reader, good: Path, tmp_path: Path, kind: str, name: str
) -> None:
    clip = tmp_path / name
    async with listening() as server:
        for target in (server.url, str(good), f"file:{good}", f"subfile,,start,0,end,0,,:{good}"):
            clip.write_text(PLAYLISTS[kind].format(target=target))
            with pytest.raises(ClipNotMedia):
                await reader.read(clip)
        assert server.visitors == []


@pytest.mark.parametrize("kind", FOLLOWED_BY_FFMPEG)
async def test_the_trap_works_with_a_reader_that_follows(
    good: Path, tmp_path: Path, kind: str
) -> None:
    clip = tmp_path / ("clip.ffconcat" if kind == "concat" else "clip.m3u8")
    options = ("-safe", "0") if kind == "concat" else ("-allowed_extensions", "ALL")
    async with listening() as server:
        clip.write_text(PLAYLISTS[kind].format(target=server.url))
        await asyncio.to_thread(follow, clip, *options)
        assert server.visitors
    if kind != "hls_key":
        clip.write_text(PLAYLISTS[kind].format(target=good))
        assert f"frame={FRAMES:5}" in (await asyncio.to_thread(follow, clip, *options)).stderr


async def test_a_film_without_pictures_does_not_take_those_of_another(
    reader: Reader, good: Path, tmp_path: Path
) -> None:
    other = write(tmp_path / "other.mov", PictureTrack(count=FRAMES))
    clip = bombs.refer(Path(shutil.copy(other, tmp_path / "clip.mov")), other)
    doors = ("-enable_drefs", "1", "-use_absolute_path", "1")
    assert f"frame={FRAMES:5}" in (await asyncio.to_thread(follow, clip, *doors)).stderr
    await fail(reader, clip, ClipWithoutFrames, good)


@pytest.mark.parametrize(
    "name", ["subfile,,start,0,end,9,,:clip.mp4", "concat:a|b.mp4", "%03d.png", "pipe:0", "x.m3u8"]
)
async def test_a_name_is_only_a_name(reader: Reader, good: Path, tmp_path: Path, name: str) -> None:
    clip = Path(shutil.copy(good, tmp_path / name))
    assert (await frames_of(reader, clip))[0] == FRAMES


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
    reader: Reader, good: Path, tmp_path: Path
) -> None:
    track = PictureTrack(codec="flashsv", count=5, options={})
    clip = tmp_path / "clip.flv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream(track.codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "bgr24"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(64, 64, "bgr24")))
        container.mux(stream.encode(None))
    with av.open(str(clip)) as container:
        assert len(list(container.decode(video=0))) == 5
    await fail(reader, clip, ClipWithoutFrames, good)


async def test_huge_pictures_are_refused_by_what_the_file_declares(
    reader: Reader, good: Path, tmp_path: Path
) -> None:
    clip = bombs.film(tmp_path / "clip.mov", bombs.png(HUGE, HUGE), width=HUGE, height=HUGE)
    assert clip.stat().st_size < 200_000
    await fail(reader, clip, ClipTooManyPixels, good)


@pytest.mark.parametrize("side", [HUGE, 7_000])
async def test_huge_pictures_are_refused_by_what_the_decoder_meets(
    reader: Reader, good: Path, tmp_path: Path, side: int
) -> None:
    clip = bombs.film(tmp_path / "clip.mov", bombs.png(side, side), width=64, height=64)
    await fail(reader, clip, ClipTooManyPixels, good)


async def test_a_stream_that_grows_in_its_middle_is_refused(
    reader: Reader, good: Path, tmp_path: Path
) -> None:
    small = write(tmp_path / "small.ts", PictureTrack(count=10))
    large = write(tmp_path / "large.ts", PictureTrack(size=(192, 128), count=10))
    clip = tmp_path / "clip.ts"
    clip.write_bytes(small.read_bytes() + large.read_bytes())
    await fail(reader, clip, ClipTooManyPixels, good, max_frame_pixels=192 * 128 - 1)


async def test_pictures_past_every_bound_in_the_middle_are_damage(
    reader: Reader, tmp_path: Path
) -> None:
    pictures = [*[bombs.png(64, 64, bits=8)] * 5, bombs.png(HUGE, HUGE)]
    clip = bombs.film(tmp_path / "clip.mov", *pictures, width=64, height=64)
    frames, flags = await frames_of(reader, clip)
    assert frames == 5
    assert Flag.DAMAGED in flags


async def test_a_huge_cover_is_never_decoded(reader: Reader, tmp_path: Path) -> None:
    """8192 x 8192 pixels of 16 bits: 128 MiB once decoded, 130 KB in the file."""
    clip = write(tmp_path / "clip.mp4", PictureTrack(size=(128, 128), count=320))
    (tmp_path / "cover.png").write_bytes(bombs.png(8192, 8192, bits=16))
    both = "-i clip.mp4 -i cover.png -map 0 -map 1 -c copy"
    ffmpeg(f"{both} -disposition:v:1 attached_pic covered.mp4", folder=tmp_path)
    peaks: list[int] = []
    for file in (clip, tmp_path / "covered.mp4"):
        async with reader.open(file) as messages:
            await anext(messages)
            assert isinstance(await anext(messages), Chunk)
            (child,) = children()
            peaks.append(_peak_mebibytes(child))
    assert peaks[1] < peaks[0] + 64


def _peak_mebibytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


async def test_more_frames_than_allowed_are_refused_as_they_come(
    reader: Reader, good: Path, tmp_path: Path
) -> None:
    clip = write(tmp_path / "clip.ts", PictureTrack(count=60))
    await fail(reader, clip, ClipTooLong, good, max_clip_frames=50)


async def test_a_claim_of_two_thousand_million_samples_costs_nothing(
    reader: Reader, good: Path, tmp_path: Path
) -> None:
    clip = bombs.claim_samples(write(tmp_path / "clip.mp4", PictureTrack()), 2**31 - 1)
    await fail(reader, clip, ClipError, good)


async def test_thousands_of_tracks_are_refused(reader: Reader, good: Path, tmp_path: Path) -> None:
    clip = bombs.repeat_track(write(tmp_path / "clip.mp4", PictureTrack()), 5_000)
    await fail(reader, clip, ClipError, good)


async def test_a_hundred_thousand_tags_take_no_more_time_than_allowed(
    reader: Reader, good: Path, tmp_path: Path
) -> None:
    clip = bombs.add_tags(write(tmp_path / "clip.mp4", PictureTrack()), 100_000)
    await fail(reader, clip, DecoderTimedOut, good, decode_cpu_seconds=1)


async def test_files_that_are_larger_than_allowed_or_no_files_are_refused(
    reader: Reader, good: Path, tmp_path: Path
) -> None:
    await fail(reader, good, ClipTooLarge, good, max_upload_bytes=1000)
    await fail(reader, Path("/dev/zero"), ClipNotMedia, good)
    await fail(reader, tmp_path, ClipNotMedia, good)
    await fail(reader, tmp_path / "absent", ClipNotMedia, good)
