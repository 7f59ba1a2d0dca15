"""Single frames and sound through the confined child: what a job of a clip of them gives."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from service.domain.clip import Flag
from service.domain.live import (
    FrameEncoding,
    FrameMedia,
    Heard,
    LiveFrame,
    LiveSound,
    SampleEncoding,
    Seen,
    Snapshot,
    SoundFormat,
    Unreadable,
)
from service.errors import ClipTooLong, ClipTooManyPixels, StreamGone
from service.extraction.live_door import LiveExtraction
from tests.media.children import Reader, settings
from tests.media.streaming import (
    JPEGS,
    PCM,
    Performed,
    account_of,
    assert_equal,
    follow,
    interleave,
    read_packets,
)


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory, performed: Performed) -> Path:
    """Motion JPEG and stereo samples of 44.1 kHz in Matroska."""
    clip = tmp_path_factory.mktemp("clips") / "jpegs.mkv"
    pictures, waveform = performed
    resampler = av.AudioResampler(format="s16", layout="stereo", rate=PCM.rate_hz)
    with av.open(str(clip), "w") as container:
        video: Any = container.add_stream("mjpeg", rate=Fraction(25))
        video.width, video.height, video.pix_fmt = 160, 120, "yuvj420p"
        audio: Any = container.add_stream("pcm_s16le", rate=PCM.rate_hz, layout="stereo")
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        sound = av.AudioFrame.from_ndarray(waveform[None], format="flt", layout="mono")
        sound.sample_rate = 16_000
        for frame in [*resampler.resample(sound), *resampler.resample(None)]:
            container.mux(audio.encode(frame))
    return clip


async def test_single_frames_and_samples_are_a_clip_of_them(
    live: LiveExtraction, reader: Reader, jpegs: Path
) -> None:
    expected = account_of(await reader.read(jpegs))
    assert sum(len(frame.faces) for frame in expected.frames) > 20
    packets, sound = read_packets(jpegs)
    pieces = interleave(packets, sound)
    frames = [piece for piece in pieces if isinstance(piece, LiveFrame)]
    sounds = [piece for piece in pieces if isinstance(piece, LiveSound)]
    for order in (pieces, [*frames, *sounds], [*sounds, *frames]):
        assert_equal(expected, account_of(await follow(live, JPEGS, order)))


async def test_an_extraction_goes_on_in_another_child(live: LiveExtraction, jpegs: Path) -> None:
    packets, sound = read_packets(jpegs)
    packets.insert(20, (0.79, b"no picture"))
    pieces = interleave(packets, sound)
    whole = await follow(live, JPEGS, pieces)
    snapshots = [each for each in whole if isinstance(each, Snapshot)]
    assert [each.frames for each in snapshots] == [32]
    for snapshot in snapshots:
        place = whole.index(snapshot)
        told = sum(isinstance(each, Seen | Unreadable) for each in whole[:place])
        frames = [at for at, piece in enumerate(pieces) if isinstance(piece, LiveFrame)]
        sent = pieces[: frames[told - 1] + 1]
        samples = sum(len(piece.data) for piece in sent if isinstance(piece, LiveSound))
        assert samples == snapshot.samples * PCM.frame_bytes
        rest = await follow(live, JPEGS, pieces[len(sent) :], snapshot.state)
        assert_equal(account_of(whole[place:]), account_of(rest))
        later = [each for each in rest if isinstance(each, Snapshot)]
        assert later == snapshots[snapshots.index(snapshot) + 1 :]


async def test_a_state_of_something_else_is_refused(live: LiveExtraction) -> None:
    for state in (b"", bytes(100), b"\xff" * 2**20):
        with pytest.raises(StreamGone):
            await follow(live, JPEGS, [], state)


async def test_raw_pictures_and_crops_are_taken_as_they_are(
    live: LiveExtraction, performed: Performed
) -> None:
    pictures, _ = performed
    raw = FrameMedia(encoding=FrameEncoding.RGB24, width=160, height=120)
    sent = [
        LiveFrame(time_seconds=at / 25, data=picture.tobytes(), arrived_at=1.0 + at)
        for at, picture in enumerate(pictures[:12])
    ]
    seen = account_of(await follow(live, raw, sent))
    assert [len(frame.faces) for frame in seen.frames] == [1] * 12
    assert Flag.NO_AUDIO in seen.closed.flags

    ready = FrameMedia(encoding=FrameEncoding.FACE_CROP)
    crops = [crop.transpose(1, 2, 0).tobytes() for crop in seen.crops]
    crops[5] = b""
    sent = [
        LiveFrame(time_seconds=at / 25, data=crop, arrived_at=1.0) for at, crop in enumerate(crops)
    ]
    taken = account_of(await follow(live, ready, sent))
    np.testing.assert_array_equal(taken.crops, np.delete(seen.crops, 5, axis=0))
    faces = [[face.track for face in frame.faces] for frame in taken.frames]
    assert faces == [[1]] * 5 + [[]] + [[1]] * 6
    assert {box.width for frame in taken.frames if (box := frame.face_of(1))} == {112.0}


async def test_what_is_no_picture_is_told_and_the_stream_goes_on(
    live: LiveExtraction, jpegs: Path
) -> None:
    packets, _ = read_packets(jpegs)
    good = packets[0][1]
    broken = [b"", b"no picture", b"\xff\xd8\xff\xe0", good[:60], bytes(5000)]
    sent = [
        LiveFrame(time_seconds=at / 25, data=data, arrived_at=float(at))
        for at, data in enumerate([*broken, good])
    ]
    messages = await follow(live, FrameMedia(encoding=FrameEncoding.JPEG), sent)
    assert [type(message) for message in messages[:5]] == [Unreadable] * 5
    account = account_of(messages)
    assert [frame.index for frame in account.frames] == [0]
    assert account.frames[0].time_seconds == 5 / 25
    assert account.closed.anomalies.bad_packets == 5
    assert Flag.DAMAGED in account.closed.flags


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "channels"),
    [("s16", 8_000, 1), ("f32", 16_000, 1), ("f32", 22_050, 8), ("s16", 192_000, 5)],
)
async def test_sound_of_any_rate_goes_on_in_another_child(
    live: LiveExtraction, encoding: str, rate_hz: int, channels: int
) -> None:
    shape = SoundFormat(encoding=SampleEncoding(encoding), rate_hz=rate_hz, channels=channels)
    media = FrameMedia(encoding=FrameEncoding.FACE_CROP, sound=shape)
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (2 * rate_hz, channels))
    samples = noise.astype("<f4") if encoding == "f32" else (32767 * noise).astype("<i2")
    step = rate_hz // 25
    pieces: list[LiveSound | LiveFrame] = []
    for at in range(50):
        part = samples[at * step : (at + 1) * step if at < 49 else None]
        pieces.append(LiveSound(data=part.tobytes(), time_seconds=None if at else 0.25))
        pieces.append(LiveFrame(time_seconds=at / 25, data=b"", arrived_at=1.0))
    whole = await follow(live, media, pieces)
    (snapshot,) = (each for each in whole if isinstance(each, Snapshot))
    rest = await follow(live, media, pieces[2 * snapshot.frames :], snapshot.state)
    uninterrupted = account_of(whole[whole.index(snapshot) :])
    assert np.abs(uninterrupted.patches).max() > 0.05
    np.testing.assert_allclose(account_of(rest).patches, uninterrupted.patches, rtol=0, atol=1e-6)
    # nothing before the first sample, noise right after it
    first = account_of(whole).patches[0]
    assert not first[:3990].any()
    assert np.abs(first[4010:4500]).max() > 0.01


async def test_sound_that_is_much_too_late_is_silence(live: LiveExtraction) -> None:
    media = FrameMedia(encoding=FrameEncoding.FACE_CROP, sound=PCM)
    async with live(media) as stream:
        for at in range(40):
            await stream.send(LiveFrame(time_seconds=float(at), data=b"", arrived_at=1.0))
        heard = 0
        async for message in stream.extracts():
            if isinstance(message, Heard):
                heard += len(message.patch_starts)
                if heard == 9:  # those that the last one is more than 30 s after
                    await stream.end()
    assert heard == 40


async def test_limits_of_single_frames_are_those_of_clips(
    live: LiveExtraction, jpegs: Path
) -> None:
    few = replace(live, settings=settings(max_clip_frames=10, max_frame_pixels=160 * 120))
    packets, _ = read_packets(jpegs)
    with pytest.raises(ClipTooLong):
        await follow(few, FrameMedia(encoding=FrameEncoding.JPEG), interleave(packets, b""))
    raw = FrameMedia(encoding=FrameEncoding.RGB24, width=162, height=120)
    with pytest.raises(ClipTooManyPixels):
        await follow(few, raw, [])
    enormous = packets[0][1].replace(b"\x00\x78\x00\xa0", b"\xff\xff\xff\xff", 1)
    assert enormous != packets[0][1]
    with pytest.raises(ClipTooManyPixels):
        await follow(few, JPEGS, interleave([(0.0, enormous)], b""))
