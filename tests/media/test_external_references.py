"""Files that reference other files or servers: nothing outside the clip is ever read."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import imageio_ffmpeg
import pytest

from service.errors import ClipNotMedia, ClipWithoutFrames
from tests.media import hostile_files
from tests.media.clip_factory import VideoTrack, encode_clip
from tests.media.decode_workers import (
    GOOD_CLIP_FRAMES,
    Reader,
    assert_fails_alone,
    read_frame_count_and_flags,
)

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
    """A server on the loopback interface that counts its requests."""

    port: int = 0
    requests: list[str] = field(default_factory=list[str])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/clip.ts"


@asynccontextmanager
async def counting_server() -> AsyncGenerator[RequestCountingServer]:
    found = RequestCountingServer()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.requests.append(str(await reader.readline()))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    async with server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


def decode_with_ffmpeg(clip: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Decode with FFmpeg's program, with every protection off."""
    unprotected = ("-protocol_whitelist", "file,http,tcp,crypto,data,subfile", *options)
    return subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-stats"),
            *(*unprotected, "-i", str(clip), "-f", "null", "-"),
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
    options = ("-enable_drefs", "1", "-use_absolute_path", "1")
    assert (
        f"frame={GOOD_CLIP_FRAMES:5}"
        in (await asyncio.to_thread(decode_with_ffmpeg, clip, *options)).stderr
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
