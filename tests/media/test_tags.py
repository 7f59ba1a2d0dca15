"""Tags that are not UTF-8, and odd ones, in clips and in streams: decoded like any other clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from circumplex_client.live.pyav_io import remux_fragmented

from service.media.demux import open_growing_file
from service.media.growing_file import GrowingFile
from service.media.stream_selection import select_video_stream
from service.media.video import VideoReader
from tests.media.encoding import add_video, encode_video
from tests.media.in_process_reading import GENEROUS_LIMITS, read_video

PLACEHOLDER = "placeholder of a tag"
TEXTS = {
    "latin-1": "Café à Orléans".encode("latin-1"),
    "shift-jis": "日本語の題名".encode("shift-jis"),
    "lone surrogate": b"\xed\xa0\x80",
    "cut character": "title é".encode()[:-1],
    "no text": bytes(range(0x80, 0x94)),
    "nul": b"a\0b",
}
FRAMES = 5


def _write_tagged_clip(clip: Path, codec: str, text: bytes) -> Path:
    """Write a clip with the same bytes in all tags of file, stream and chapter."""
    options = {"movflags": "faststart+use_metadata_tags"} if clip.suffix != ".mkv" else {}
    size = (176, 144) if codec == "h263" else (64, 64)
    with av.open(str(clip), "w", options=options) as container:
        container.metadata.update(dict.fromkeys(("title", "comment", "artist"), PLACEHOLDER))
        video = add_video(container, codec, size=size)
        video.metadata.update(dict.fromkeys(("title", "handler_name", "comment"), PLACEHOLDER))
        container.set_chapters(
            [
                {
                    "id": 1,
                    "start": 0,
                    "end": 100,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": PLACEHOLDER},
                }
            ]
            if clip.suffix in (".mkv", ".mp4")
            else []
        )
        frames = [av.VideoFrame(*size, "yuv420p") for _ in range(FRAMES)]
        encode_video(container, video, frames)
    content = clip.read_bytes()
    placeholder = PLACEHOLDER.encode()
    assert placeholder in content
    clip.write_bytes(content.replace(placeholder, text.ljust(len(placeholder), b" ")))
    return clip


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "mpeg4"),
        ("a.mov", "mpeg4"),
        ("a.mkv", "mpeg4"),
        ("a.avi", "mpeg4"),
        ("a.flv", "flv"),
        ("a.3gp", "h263"),
        ("a.ts", "mpeg2video"),
    ],
)
def test_tags_of_any_bytes_are_no_reason_to_refuse(
    tmp_path: Path, name: str, codec: str, text: bytes
) -> None:
    clip = _write_tagged_clip(tmp_path / name, codec, text)
    reading = read_video(clip)
    assert len(reading.times) == FRAMES
    assert not reading.flags
    file = GrowingFile()
    file.put(clip.read_bytes(), 0.0)
    file.end()
    with open_growing_file(file, GENEROUS_LIMITS.max_pixels) as container:
        stream = select_video_stream(container, file)
        reader = VideoReader(container, stream, limits=GENEROUS_LIMITS, threads=1)
        assert [picture.time_seconds for picture in reader.read()] == reading.times


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_client_streams_a_clip_with_tags_of_any_bytes(tmp_path: Path, text: bytes) -> None:
    clip = _write_tagged_clip(tmp_path / "a.mov", "mpeg4", text)
    remuxed = tmp_path / "remuxed.mov"
    remuxed.write_bytes(b"".join(data for _, data in remux_fragmented(clip)))
    assert read_video(remuxed).times == read_video(clip).times
