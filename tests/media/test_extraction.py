"""Extraction of clips in a decode process: order, contents, flags and errors."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from service.decoding.extractor import open_clip_extractor
from service.domain.audio_grid import patch_start_hop
from service.domain.clip import Chunk, ClipClosed, ClipOpened, Flag
from service.errors import (
    ClipNotMedia,
    ClipTooLong,
    ClipWithoutVideo,
    DecoderOutOfMemory,
    FaceModelsMissing,
)
from tests.media.clip_factory import AudioTrack, VideoTrack, encode_clip, make_clap
from tests.media.decode_workers import (
    SETTINGS,
    Reader,
    decode_worker_pids,
    settings,
)
from tests.media.in_process_reading import decode_times_with_pyav, locate_pattern
from training.synthetic.clip import render_demo_clip


@pytest.fixture(scope="module")
def speaking_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clip = tmp_path_factory.mktemp("clips") / "spoken.mp4"
    render_demo_clip(clip, seconds=3.0, height=240, width=320)
    return clip


async def test_every_frame_of_a_speaking_face_is_extracted_in_order(
    reader: Reader, speaking_clip: Path
) -> None:
    opened, *chunks, closed = await reader.read(speaking_clip)
    assert isinstance(opened, ClipOpened)
    assert isinstance(closed, ClipClosed)
    frames = [frame for chunk in chunks if isinstance(chunk, Chunk) for frame in chunk.frames]
    assert [frame.index for frame in frames] == list(range(75))
    assert [frame.time_seconds for frame in frames] == decode_times_with_pyav(speaking_clip)
    assert all([face.track for face in frame.faces] == [1] for frame in frames)
    assert (closed.frames, closed.flags) == (75, ())
    assert (opened.media.width, opened.media.height) == (320, 240)


async def test_chunks_hold_what_the_backbones_need(reader: Reader, speaking_clip: Path) -> None:
    chunks = [
        item
        for item in await reader.read(speaking_clip, chunk_frames=32)
        if isinstance(item, Chunk)
    ]
    assert [len(chunk.frames) for chunk in chunks] == [32, 32, 11]
    for chunk in chunks:
        faces = sum(len(frame.faces) for frame in chunk.frames)
        assert chunk.crops.shape == (faces, 3, 112, 112)
        assert chunk.crops.dtype == np.uint8
        assert chunk.waveform.dtype == np.float32
        assert chunk.patch_starts.dtype == np.int64
        hops = [patch_start_hop(frame.time_seconds) for frame in chunk.frames]
        assert (chunk.patch_starts - chunk.patch_starts[0]).tolist() == [h - hops[0] for h in hops]
        assert chunk.patch_starts.max() * 160 + 15_600 <= len(chunk.waveform)
        assert set(chunk.stage_seconds) == {"decode", "face", "sound"}
        assert all(seconds > 0 for seconds in chunk.stage_seconds.values())


async def test_a_clap_is_in_the_patch_of_its_frame(reader: Reader, tmp_path: Path) -> None:
    clip = encode_clip(
        tmp_path / "clip.mkv", VideoTrack(), AudioTrack(codec="pcm_s16le", clap_seconds=[2.0])
    )
    for chunk in await reader.read(clip):
        if isinstance(chunk, Chunk):
            for frame, start in zip(chunk.frames, chunk.patch_starts, strict=True):
                patch = chunk.waveform[start * 160 : start * 160 + 15_600]
                ahead = 2.0 - frame.time_seconds
                if 0.02 < ahead < 0.9:
                    # the patch starts on the 10 ms grid, up to 5 ms from the frame
                    assert locate_pattern(
                        patch, make_clap(16_000), near_seconds=ahead
                    ) == pytest.approx(ahead, abs=0.006)


async def test_missing_face_and_audio_are_both_flagged(reader: Reader, tmp_path: Path) -> None:
    messages = await reader.read(encode_clip(tmp_path / "clip.mp4", VideoTrack(count=20)))
    chunk, closed = messages[1:]
    assert isinstance(chunk, Chunk)
    assert isinstance(closed, ClipClosed)
    assert {frame.faces for frame in chunk.frames} == {()}
    assert chunk.crops.shape == (0, 3, 112, 112)
    assert not chunk.waveform.any()
    assert set(closed.flags) == {Flag.NO_AUDIO, Flag.NO_FACE}


async def test_worker_reports_clip_errors_by_type(reader: Reader, tmp_path: Path) -> None:
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"no clip at all" * 50)
    with pytest.raises(ClipNotMedia):
        await reader.read(junk)
    with pytest.raises(ClipWithoutVideo):
        await reader.read(encode_clip(tmp_path / "sound.m4a", None, AudioTrack()))
    with pytest.raises(ClipTooLong):
        await reader.read(encode_clip(tmp_path / "long.mp4", VideoTrack()), max_clip_seconds=2.0)
    assert not decode_worker_pids()


async def test_missing_face_models_are_reported_until_installed(tmp_path: Path) -> None:
    clip = encode_clip(tmp_path / "clip.mp4", VideoTrack(count=2))
    async with open_clip_extractor(settings(yunet_file=tmp_path / "absent.onnx")) as extraction:
        with pytest.raises(FaceModelsMissing, match="YuNet"):
            await Reader(extraction).read(clip)
    async with open_clip_extractor(settings(face_models_dir=tmp_path)) as extraction:
        with pytest.raises(FaceModelsMissing):
            await Reader(extraction).read(clip)
        for model in SETTINGS.face_models_dir.glob("*.tflite"):
            (tmp_path / model.name).write_bytes(model.read_bytes())
        assert len(await Reader(extraction).read(clip)) == 3


async def test_too_little_memory_is_a_typed_error(reader: Reader, tmp_path: Path) -> None:
    track = VideoTrack(size=(4096, 2160), count=1, options={"preset": "ultrafast"})
    clip = encode_clip(tmp_path / "clip.mp4", track)
    # one picture takes about 75 MiB
    for mebibytes in (2, 12, 36):
        with pytest.raises(DecoderOutOfMemory):
            await reader.read(clip, decode_memory_bytes=mebibytes * 2**20)
    assert len(await reader.read(clip)) == 3


async def test_clips_are_read_concurrently(
    reader: Reader, speaking_clip: Path, tmp_path: Path
) -> None:
    times = [Fraction(k, 7) for k in range(9)]
    other = encode_clip(tmp_path / "clip.mkv", VideoTrack(times=times))
    one, two = await asyncio.gather(reader.read(speaking_clip), reader.read(other))
    assert isinstance(one[-1], ClipClosed)
    assert isinstance(two[-1], ClipClosed)
    assert (one[-1].frames, two[-1].frames) == (75, 9)
