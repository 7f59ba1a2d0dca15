"""Extraction of single frames and raw audio: equal to that of a clip of them; resumption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from service.decoding.extractor import ForkedStreamExtractor
from service.domain.clip import Flag
from service.domain.stream import (
    AudioExtracted,
    AudioFormat,
    FrameEncoding,
    FramesExtracted,
    FrameStreamMedia,
    FrameUnreadable,
    SampleEncoding,
    Snapshot,
    StreamAudio,
    StreamFrame,
)
from service.errors import ClipTooLong, ClipTooManyPixels, StreamExpired
from tests.media.decode_workers import Reader, settings
from tests.media.encoding import add_audio, add_video, encode
from tests.media.stream_extraction import (
    JPEG_MEDIA,
    PCM_FORMAT,
    RenderedPerformance,
    assert_same_output,
    collect_output,
    interleave,
    read_packets,
    run_stream_extraction,
)

ANSWERS = (FramesExtracted, FrameUnreadable)


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory, rendered: RenderedPerformance) -> Path:
    """Encode Motion JPEG and stereo samples of 44.1 kHz in Matroska."""
    clip = tmp_path_factory.mktemp("clips") / "jpegs.mkv"
    pictures, waveform = rendered
    resampler = av.AudioResampler(format="s16", layout="stereo", rate=PCM_FORMAT.rate_hz)
    with av.open(str(clip), "w") as container:
        video = add_video(container, "mjpeg", size=(160, 120), pixel_format="yuvj420p")
        audio = add_audio(container, "pcm_s16le", rate_hz=PCM_FORMAT.rate_hz, layout="stereo")
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            encode(container, video, frame)
        audio_frame = av.AudioFrame.from_ndarray(waveform[None], format="flt", layout="mono")
        audio_frame.sample_rate = 16_000
        for frame in [*resampler.resample(audio_frame), *resampler.resample(None)]:
            encode(container, audio, frame)
    return clip


async def test_single_frames_and_audio_equal_the_clip_of_them(
    stream_extractor: ForkedStreamExtractor, reader: Reader, jpegs: Path
) -> None:
    expected = collect_output(await reader.read(jpegs))
    assert sum(len(frame.faces) for frame in expected.frames) > 20
    packets, pcm = read_packets(jpegs)
    pieces = interleave(packets, pcm)
    frames = [piece for piece in pieces if isinstance(piece, StreamFrame)]
    audio_pieces = [piece for piece in pieces if isinstance(piece, StreamAudio)]
    for order in (pieces, [*frames, *audio_pieces], [*audio_pieces, *frames]):
        assert_same_output(
            expected,
            collect_output(await run_stream_extraction(stream_extractor, JPEG_MEDIA, order)),
        )


async def test_extraction_resumes_from_a_snapshot_in_another_worker(
    stream_extractor: ForkedStreamExtractor, jpegs: Path
) -> None:
    packets, pcm = read_packets(jpegs)
    packets.insert(20, (0.79, b"no picture"))
    pieces = interleave(packets, pcm)
    whole = await run_stream_extraction(stream_extractor, JPEG_MEDIA, pieces)
    snapshots = [each for each in whole if isinstance(each, Snapshot)]
    assert [each.frames for each in snapshots] == [32]
    for snapshot in snapshots:
        place = whole.index(snapshot)
        answers = [each for each in whole[:place] if isinstance(each, ANSWERS)]
        frames = [at for at, piece in enumerate(pieces) if isinstance(piece, StreamFrame)]
        sent = pieces[: frames[len(answers) - 1] + 1]
        samples = sum(len(piece.data) for piece in sent if isinstance(piece, StreamAudio))
        assert samples == snapshot.samples * PCM_FORMAT.frame_bytes
        rest = await run_stream_extraction(
            stream_extractor, JPEG_MEDIA, pieces[len(sent) :], snapshot.state
        )
        assert_same_output(collect_output(whole[place:]), collect_output(rest))
        later = [each for each in rest if isinstance(each, Snapshot)]
        assert later == snapshots[snapshots.index(snapshot) + 1 :]


async def test_invalid_snapshot_is_refused(stream_extractor: ForkedStreamExtractor) -> None:
    for state in (b"", bytes(100), b"\xff" * 2**20):
        with pytest.raises(StreamExpired):
            await run_stream_extraction(stream_extractor, JPEG_MEDIA, [], state)


async def test_raw_frames_and_crops_are_used_unchanged(
    stream_extractor: ForkedStreamExtractor, rendered: RenderedPerformance
) -> None:
    pictures, _ = rendered
    raw = FrameStreamMedia(encoding=FrameEncoding.RGB24, width=160, height=120)
    sent = [
        StreamFrame(time_seconds=at / 25, data=picture.tobytes(), arrived_at=1.0 + at)
        for at, picture in enumerate(pictures[:12])
    ]
    extracted = collect_output(await run_stream_extraction(stream_extractor, raw, sent))
    assert [len(frame.faces) for frame in extracted.frames] == [1] * 12
    assert Flag.NO_AUDIO in extracted.closed.flags

    ready = FrameStreamMedia(encoding=FrameEncoding.FACE_CROP)
    crops = [crop.transpose(1, 2, 0).tobytes() for crop in extracted.crops]
    crops[5] = b""
    sent = [
        StreamFrame(time_seconds=at / 25, data=crop, arrived_at=1.0)
        for at, crop in enumerate(crops)
    ]
    output = collect_output(await run_stream_extraction(stream_extractor, ready, sent))
    np.testing.assert_array_equal(output.crops, np.delete(extracted.crops, 5, axis=0))
    faces = [[face.track for face in frame.faces] for frame in output.frames]
    assert faces == [[1]] * 5 + [[]] + [[1]] * 6
    assert {box.width for frame in output.frames if (box := frame.find_face(1))} == {112.0}


async def test_undecodable_frames_are_reported_and_the_stream_continues(
    stream_extractor: ForkedStreamExtractor, jpegs: Path
) -> None:
    packets, _ = read_packets(jpegs)
    good = packets[0][1]
    broken = [b"", b"no picture", b"\xff\xd8\xff\xe0", good[:60], bytes(5000)]
    sent = [
        StreamFrame(time_seconds=at / 25, data=data, arrived_at=float(at))
        for at, data in enumerate([*broken, good])
    ]
    messages = await run_stream_extraction(
        stream_extractor, FrameStreamMedia(encoding=FrameEncoding.JPEG), sent
    )
    assert [type(message) for message in messages[:5]] == [FrameUnreadable] * 5
    output = collect_output(messages)
    assert [frame.index for frame in output.frames] == [0]
    assert output.frames[0].time_seconds == 5 / 25
    assert output.closed.anomalies.bad_packets == 5
    assert Flag.DAMAGED in output.closed.flags


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "channels"),
    [("s16", 8_000, 1), ("f32", 16_000, 1), ("f32", 22_050, 8), ("s16", 192_000, 5)],
)
async def test_audio_of_any_rate_resumes_from_a_snapshot(
    stream_extractor: ForkedStreamExtractor, encoding: str, rate_hz: int, channels: int
) -> None:
    audio_format = AudioFormat(
        encoding=SampleEncoding(encoding), rate_hz=rate_hz, channels=channels
    )
    media = FrameStreamMedia(encoding=FrameEncoding.FACE_CROP, audio=audio_format)
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (2 * rate_hz, channels))
    samples = noise.astype("<f4") if encoding == "f32" else (32767 * noise).astype("<i2")
    step = rate_hz // 25
    pieces: list[StreamAudio | StreamFrame] = []
    for at in range(50):
        part = samples[at * step : (at + 1) * step if at < 49 else None]
        pieces.append(StreamAudio(data=part.tobytes(), time_seconds=None if at else 0.25))
        pieces.append(StreamFrame(time_seconds=at / 25, data=b"", arrived_at=1.0))
    whole = await run_stream_extraction(stream_extractor, media, pieces)
    (snapshot,) = (each for each in whole if isinstance(each, Snapshot))
    rest = await run_stream_extraction(
        stream_extractor, media, pieces[2 * snapshot.frames :], snapshot.state
    )
    uninterrupted = collect_output(whole[whole.index(snapshot) :])
    assert np.abs(uninterrupted.patches).max() > 0.05
    np.testing.assert_allclose(
        collect_output(rest).patches, uninterrupted.patches, rtol=0, atol=1e-6
    )
    # nothing before the first sample, noise right after it
    first = collect_output(whole).patches[0]
    assert not first[:3990].any()
    assert np.abs(first[4010:4500]).max() > 0.01


async def test_audio_that_never_arrives_is_replaced_by_silence(
    stream_extractor: ForkedStreamExtractor,
) -> None:
    media = FrameStreamMedia(encoding=FrameEncoding.FACE_CROP, audio=PCM_FORMAT)
    async with stream_extractor(media) as stream:
        for at in range(40):
            await stream.send(StreamFrame(time_seconds=float(at), data=b"", arrived_at=1.0))
        patches = 0
        async for message in stream.events():
            if isinstance(message, AudioExtracted):
                patches += len(message.patch_starts)
                if patches == 9:  # frames more than 30 s before the last one
                    await stream.end()
    assert patches == 40


async def test_limits_of_single_frames_are_those_of_clips(
    stream_extractor: ForkedStreamExtractor, jpegs: Path
) -> None:
    few = replace(
        stream_extractor, settings=settings(max_clip_frames=10, max_frame_pixels=160 * 120)
    )
    packets, _ = read_packets(jpegs)
    with pytest.raises(ClipTooLong):
        await run_stream_extraction(
            few, FrameStreamMedia(encoding=FrameEncoding.JPEG), interleave(packets, b"")
        )
    raw = FrameStreamMedia(encoding=FrameEncoding.RGB24, width=162, height=120)
    with pytest.raises(ClipTooManyPixels):
        await run_stream_extraction(few, raw, [])
    enormous = packets[0][1].replace(b"\x00\x78\x00\xa0", b"\xff\xff\xff\xff", 1)
    assert enormous != packets[0][1]
    with pytest.raises(ClipTooManyPixels):
        await run_stream_extraction(few, JPEG_MEDIA, interleave([(0.0, enormous)], b""))
