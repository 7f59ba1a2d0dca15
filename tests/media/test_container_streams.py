"""Extraction of containers sent as streams: equal to that of the clip; limits and errors."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from service.decoding.extractor import ForkedStreamExtractor
from service.domain.clip import ClipOpened, Flag
from service.domain.stream import AudioExtracted, ContainerStreamMedia, FramesExtracted
from service.errors import ClipNotMedia, ClipTooLong, ClipTooManyPixels, ClipTruncated
from tests.media.clip_factory import AudioTrack, VideoTrack, encode_clip
from tests.media.decode_workers import Reader, settings
from tests.media.encoding import add_from_template, mux
from tests.media.stream_extraction import (
    RenderedPerformance,
    assert_same_output,
    collect_output,
    run_stream_extraction,
    split_bytes,
)
from tests.media_corpus.audio_damage import FIRST, SECOND, spoil_packets, write_two_streams
from training.synthetic.clip import write_clip

FRAGMENTED_MP4 = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    "frag_duration": "200000",
}


@pytest.mark.parametrize(
    ("name", "codecs", "muxer"),
    [
        ("fragments.mp4", ("libx264", "aac"), FRAGMENTED_MP4),
        ("clip.webm", ("libvpx-vp9", "libopus"), {"live": "1"}),
        ("clip.ts", ("libx264", "aac"), {}),
        ("index-first.mp4", ("libx264", "aac"), {"movflags": "+faststart"}),
        ("clip.avi", ("mpeg4", "pcm_s16le"), {}),
        ("clip.flv", ("libx264", "aac"), {}),
    ],
)
async def test_streamed_container_equals_the_clip_for_any_chunking(
    stream_extractor: ForkedStreamExtractor,
    reader: Reader,
    rendered: RenderedPerformance,
    tmp_path: Path,
    name: str,
    codecs: tuple[str, str],
    muxer: dict[str, str],
) -> None:
    clip, (pictures, waveform) = tmp_path / name, rendered
    video, audio = codecs
    write_clip(
        clip,
        pictures,
        waveform=waveform,
        video_codec=video,
        audio_codec=audio,
        container_options=muxer,
    )
    expected = collect_output(await reader.read(clip))
    assert sum(len(frame.faces) for frame in expected.frames) > 0
    assert np.abs(expected.patches).max() > 0.01
    data = clip.read_bytes()
    for sizes in (random.Random(7), len(data)):
        opened, *rest = await run_stream_extraction(
            stream_extractor, ContainerStreamMedia(), split_bytes(data, sizes)
        )
        assert isinstance(opened, ClipOpened)
        assert (opened.media.width, opened.media.duration_seconds) == (160, None)
        assert_same_output(expected, collect_output(rest))


async def test_audio_that_can_be_decoded_is_heard_as_in_the_clip(
    stream_extractor: ForkedStreamExtractor, reader: Reader, tmp_path: Path
) -> None:
    whole = write_two_streams(tmp_path, "whole.mkv", "-c:a flac")
    clip = spoil_packets(whole, tmp_path / "a.mkv", FIRST)
    opened, *rest = await reader.read(clip)
    assert isinstance(opened, ClipOpened)
    assert (opened.media.audio_streams, opened.media.audio_stream_index) == (2, SECOND)
    expected = collect_output(rest)
    assert Flag.AUDIO_STREAM_SKIPPED in expected.closed.flags
    assert Flag.DAMAGED not in expected.closed.flags
    assert np.abs(expected.patches).max() > 0.05
    _, *streamed = await run_stream_extraction(
        stream_extractor, ContainerStreamMedia(), split_bytes(clip.read_bytes(), 4096)
    )
    assert_same_output(expected, collect_output(streamed))


async def test_container_can_be_streamed_byte_by_byte(
    stream_extractor: ForkedStreamExtractor, reader: Reader, tmp_path: Path
) -> None:
    clip = encode_clip(tmp_path / "a.mkv", VideoTrack(size=(32, 32), count=20))
    expected = collect_output(await reader.read(clip))
    messages = await run_stream_extraction(
        stream_extractor, ContainerStreamMedia(), split_bytes(clip.read_bytes(), 1)
    )
    assert_same_output(expected, collect_output(messages))


@pytest.mark.parametrize(
    "audio",
    [
        None,
        AudioTrack(codec="pcm_s16le", seconds=1.5, clap_seconds=[1.0]),
        AudioTrack(codec="pcm_s16le", start_seconds=1.2, seconds=2.0, clap_seconds=[2.0]),
        AudioTrack(
            codec="pcm_s16le", seconds=4.0, gaps_seconds=[(0.5, 1.5)], clap_seconds=[0.3, 2.0]
        ),
    ],
    ids=["none", "ends early", "starts late", "has a gap"],
)
async def test_frames_without_audio_get_the_same_patches_as_a_job(
    stream_extractor: ForkedStreamExtractor,
    reader: Reader,
    tmp_path: Path,
    audio: AudioTrack | None,
) -> None:
    clip = encode_clip(
        tmp_path / "a.mkv", VideoTrack(size=(32, 32), rate=Fraction(10), count=30), audio
    )
    expected = collect_output(await reader.read(clip))
    pieces = split_bytes(clip.read_bytes(), random.Random(3))
    assert_same_output(
        expected,
        collect_output(
            await run_stream_extraction(stream_extractor, ContainerStreamMedia(), pieces)
        ),
    )


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
async def test_interrupted_container_equals_a_truncated_clip(
    stream_extractor: ForkedStreamExtractor, reader: Reader, tmp_path: Path, name: str
) -> None:
    muxer = FRAGMENTED_MP4 if name.endswith("mp4") else {}
    whole = encode_clip(tmp_path / name, VideoTrack(size=(32, 32), count=25), AudioTrack(), **muxer)
    data = whole.read_bytes()
    data = data[: data.rfind(b"mdat") + 9 if muxer else len(data) * 2 // 3]
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(data)
    expected = collect_output(await reader.read(cut))
    assert (Flag.TRUNCATED in expected.closed.flags) == (not name.endswith("ts"))
    messages = await run_stream_extraction(
        stream_extractor, ContainerStreamMedia(), split_bytes(data, random.Random(5))
    )
    assert_same_output(expected, collect_output(messages))


async def test_frames_are_extracted_before_the_stream_ends(
    stream_extractor: ForkedStreamExtractor, tmp_path: Path
) -> None:
    clip = encode_clip(tmp_path / "a.mp4", VideoTrack(count=50), AudioTrack(), **FRAGMENTED_MP4)
    pieces = list(split_bytes(clip.read_bytes(), 2000))
    half = len(pieces) // 2
    async with stream_extractor(ContainerStreamMedia()) as stream:
        messages = stream.events()
        for piece in pieces[:half]:
            await stream.send(piece)
        assert isinstance(await anext(messages), ClipOpened)
        extracted = await anext(messages)
        assert isinstance(extracted, FramesExtracted)
        arrived = [piece.arrived_at for piece in pieces[:half]]
        assert arrived[0] <= extracted.arrived_at[0] <= arrived[-1]


async def test_video_does_not_wait_for_missing_audio(
    stream_extractor: ForkedStreamExtractor, tmp_path: Path
) -> None:
    """The header announces audio; its packets are left out."""
    clip, silent = tmp_path / "a.mkv", tmp_path / "b.mkv"
    encode_clip(clip, VideoTrack(size=(32, 32), rate=Fraction(1), count=60), AudioTrack())
    with av.open(str(clip)) as source, av.open(str(silent), "w") as target:
        streams = {each: add_from_template(target, each) for each in source.streams}
        packets: Iterator[Any] = source.demux(source.streams.video[0])
        for packet in packets:
            if packet.size:
                packet.stream = streams[packet.stream]
                mux(target, packet)
    data = silent.read_bytes()
    async with stream_extractor(ContainerStreamMedia()) as stream:
        for piece in split_bytes(data, 4096):
            await stream.send(piece)
        frames = patches = 0
        async for message in stream.events():
            if isinstance(message, FramesExtracted):
                frames += len(message.frames)
            elif isinstance(message, AudioExtracted):
                patches += len(message.patch_starts)
                assert not message.waveform.any()
            # the end was not sent: only frames older than 30 s get their patches
            if frames >= 55 and patches >= 20:
                break


@pytest.mark.parametrize("kind", ["junk", "cut", "late index"])
async def test_unstreamable_input_raises_a_typed_error(
    stream_extractor: ForkedStreamExtractor, tmp_path: Path, kind: str
) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VideoTrack(count=20))
    data, error, detail = {
        "junk": (b"no clip at all" * 500, ClipNotMedia, None),
        "cut": (
            encode_clip(tmp_path / "a.mkv", VideoTrack()).read_bytes()[:200],
            ClipTruncated,
            None,
        ),
        "late index": (clip.read_bytes(), ClipNotMedia, "index of this file"),
    }[kind]
    with pytest.raises(error, match=detail):
        await run_stream_extraction(
            stream_extractor, ContainerStreamMedia(), split_bytes(data, 100)
        )


async def test_limits_are_those_of_clips(
    stream_extractor: ForkedStreamExtractor, tmp_path: Path
) -> None:
    few = replace(
        stream_extractor, settings=settings(max_clip_frames=10, max_frame_pixels=160 * 120)
    )
    clip = encode_clip(tmp_path / "clip.ts", VideoTrack(count=20, size=(160, 120)))
    large = encode_clip(tmp_path / "large.mkv", VideoTrack(count=2, size=(162, 120)))
    with pytest.raises(ClipTooLong):
        await run_stream_extraction(
            few, ContainerStreamMedia(), split_bytes(clip.read_bytes(), 1000)
        )
    with pytest.raises(ClipTooManyPixels):
        await run_stream_extraction(
            few, ContainerStreamMedia(), split_bytes(large.read_bytes(), 1000)
        )
