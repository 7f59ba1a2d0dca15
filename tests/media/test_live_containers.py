"""Files that come as a stream, through the confined child: what a job of the same clip gives."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from service.domain.clip import ClipOpened, Flag
from service.domain.live import ContainerMedia, Heard, Seen
from service.errors import ClipNotMedia, ClipTooLong, ClipTooManyPixels, ClipTruncated
from service.extraction.live_door import LiveExtraction
from tests.media.children import Reader, settings
from tests.media.factory import PictureTrack, SoundTrack, write
from tests.media.streaming import Performed, account_of, assert_equal, cut_bytes, follow
from training.synthetic.clip import write_clip

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"}


@pytest.mark.parametrize(
    ("name", "codecs", "muxer"),
    [
        ("fragments.mp4", ("libx264", "aac"), FRAGMENTS),
        ("clip.webm", ("libvpx-vp9", "libopus"), {"live": "1"}),
        ("clip.ts", ("libx264", "aac"), {}),
        ("index-first.mp4", ("libx264", "aac"), {"movflags": "+faststart"}),
        ("clip.avi", ("mpeg4", "pcm_s16le"), {}),
        ("clip.flv", ("libx264", "aac"), {}),
    ],
)
async def test_a_container_gives_the_same_however_it_comes(
    live: LiveExtraction,
    reader: Reader,
    performed: Performed,
    tmp_path: Path,
    name: str,
    codecs: tuple[str, str],
    muxer: dict[str, str],
) -> None:
    clip, (pictures, waveform) = tmp_path / name, performed
    video, audio = codecs
    write_clip(
        clip,
        pictures,
        waveform=waveform,
        video_codec=video,
        audio_codec=audio,
        container_options=muxer,
    )
    expected = account_of(await reader.read(clip))
    assert sum(len(frame.faces) for frame in expected.frames) > 0
    assert np.abs(expected.patches).max() > 0.01
    data = clip.read_bytes()
    for sizes in (random.Random(7), len(data)):
        opened, *rest = await follow(live, ContainerMedia(), cut_bytes(data, sizes))
        assert isinstance(opened, ClipOpened)
        assert (opened.media.width, opened.media.duration_seconds) == (160, None)
        assert_equal(expected, account_of(rest))


async def test_a_container_byte_by_byte_is_a_container(
    live: LiveExtraction, reader: Reader, tmp_path: Path
) -> None:
    clip = write(tmp_path / "a.mkv", PictureTrack(size=(32, 32), count=20))
    expected = account_of(await reader.read(clip))
    messages = await follow(live, ContainerMedia(), cut_bytes(clip.read_bytes(), 1))
    assert_equal(expected, account_of(messages))


@pytest.mark.parametrize(
    "sound",
    [
        None,
        SoundTrack(codec="pcm_s16le", seconds=1.5, claps_at=[1.0]),
        SoundTrack(codec="pcm_s16le", starts_at=1.2, seconds=2.0, claps_at=[2.0]),
        SoundTrack(codec="pcm_s16le", seconds=4.0, pauses=[(0.5, 1.5)], claps_at=[0.3, 2.0]),
    ],
    ids=["none", "ends early", "starts late", "pauses"],
)
async def test_frames_without_sound_hear_what_a_job_hears(
    live: LiveExtraction, reader: Reader, tmp_path: Path, sound: SoundTrack | None
) -> None:
    clip = write(
        tmp_path / "a.mkv", PictureTrack(size=(32, 32), rate=Fraction(10), count=30), sound
    )
    expected = account_of(await reader.read(clip))
    pieces = cut_bytes(clip.read_bytes(), random.Random(3))
    assert_equal(expected, account_of(await follow(live, ContainerMedia(), pieces)))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
async def test_a_container_that_breaks_off_is_a_clip_that_was_cut(
    live: LiveExtraction, reader: Reader, tmp_path: Path, name: str
) -> None:
    muxer = FRAGMENTS if name.endswith("mp4") else {}
    whole = write(tmp_path / name, PictureTrack(size=(32, 32), count=25), SoundTrack(), **muxer)
    data = whole.read_bytes()
    data = data[: data.rfind(b"mdat") + 9 if muxer else len(data) * 2 // 3]
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(data)
    expected = account_of(await reader.read(cut))
    assert (Flag.TRUNCATED in expected.closed.flags) == (not name.endswith("ts"))
    messages = await follow(live, ContainerMedia(), cut_bytes(data, random.Random(5)))
    assert_equal(expected, account_of(messages))


async def test_frames_are_seen_while_more_is_to_come(live: LiveExtraction, tmp_path: Path) -> None:
    clip = write(tmp_path / "a.mp4", PictureTrack(count=50), SoundTrack(), **FRAGMENTS)
    pieces = list(cut_bytes(clip.read_bytes(), 2000))
    half = len(pieces) // 2
    async with live(ContainerMedia()) as stream:
        messages = stream.extracts()
        for piece in pieces[:half]:
            await stream.send(piece)
        assert isinstance(await anext(messages), ClipOpened)
        seen = await anext(messages)
        assert isinstance(seen, Seen)
        arrived = [piece.arrived_at for piece in pieces[:half]]
        assert arrived[0] <= seen.arrived_at[0] <= arrived[-1]


async def test_pictures_do_not_wait_for_sound_that_never_comes(
    live: LiveExtraction, tmp_path: Path
) -> None:
    """A track of sound is announced, and its packets are left out."""
    clip, silent = tmp_path / "a.mkv", tmp_path / "b.mkv"
    write(clip, PictureTrack(size=(32, 32), rate=Fraction(1), count=60), SoundTrack())
    with av.open(str(clip)) as source, av.open(str(silent), "w") as target:
        streams: Any = {each: target.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = streams[packet.stream]
                target.mux(packet)
    data = silent.read_bytes()
    async with live(ContainerMedia()) as stream:
        for piece in cut_bytes(data, 4096):
            await stream.send(piece)
        seen = heard = 0
        async for message in stream.extracts():
            if isinstance(message, Seen):
                seen += len(message.frames)
            elif isinstance(message, Heard):
                heard += len(message.patch_starts)
                assert not message.waveform.any()
            # the end was not sent: what is heard is what has waited for more than 30 s
            if seen >= 55 and heard >= 20:
                break


@pytest.mark.parametrize("kind", ["junk", "cut", "late index"])
async def test_what_cannot_be_streamed_is_named(
    live: LiveExtraction, tmp_path: Path, kind: str
) -> None:
    clip = write(tmp_path / "clip.mp4", PictureTrack(count=20))
    data, error, told = {
        "junk": (b"no clip at all" * 500, ClipNotMedia, None),
        "cut": (write(tmp_path / "a.mkv", PictureTrack()).read_bytes()[:200], ClipTruncated, None),
        "late index": (clip.read_bytes(), ClipNotMedia, "index of this file"),
    }[kind]
    with pytest.raises(error, match=told):
        await follow(live, ContainerMedia(), cut_bytes(data, 100))


async def test_limits_are_those_of_clips(live: LiveExtraction, tmp_path: Path) -> None:
    few = replace(live, settings=settings(max_clip_frames=10, max_frame_pixels=160 * 120))
    clip = write(tmp_path / "clip.ts", PictureTrack(count=20, size=(160, 120)))
    large = write(tmp_path / "large.mkv", PictureTrack(count=2, size=(162, 120)))
    with pytest.raises(ClipTooLong):
        await follow(few, ContainerMedia(), cut_bytes(clip.read_bytes(), 1000))
    with pytest.raises(ClipTooManyPixels):
        await follow(few, ContainerMedia(), cut_bytes(large.read_bytes(), 1000))
