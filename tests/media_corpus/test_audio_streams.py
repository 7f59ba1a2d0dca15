"""Choice of the audio stream: the best-placed that can be decoded, and what is said of others."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.stream import Stream

from service.domain.media import Flag
from service.media.audio import open_audio
from service.media.demux import open_container, open_growing_file
from service.media.growing_file import GrowingFile
from tests.media.encoding import add_from_template, mux
from tests.media.in_process_reading import read_audio, read_audio_and_anomalies
from tests.media_corpus.audio_damage import FIRST, SECOND, spoil_packets, write_two_streams
from tests.media_corpus.ffmpeg_reference import run_ffmpeg

PICTURES = "-f lavfi -i testsrc2=s=64x48:r=25:d=3"
LOUD = "-f lavfi -i sine=f=440:r=48000:d=3"
H264 = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast"


def rename_codec(clip: Path, place: int) -> None:
    """Give an audio stream of an MP4 or MOV a codec that nobody knows."""
    data = bytearray(clip.read_bytes())
    for known in (b"mp4a\0", b"esds\0"):
        at = -1
        for _ in range(place + 1):
            at = data.index(known, at + 1)
        data[at : at + 4] = b"zzzz"
    clip.write_bytes(data)


def read_stream_index(clip: Path, requested: int | None = None) -> int:
    with open_container(clip) as container:
        audio = open_audio(container, requested)
        audio.prove_stream()
        assert audio.stream is not None
        return audio.stream.index


def test_a_stream_without_a_decoder_is_skipped_and_reported(tmp_path: Path) -> None:
    clip = write_two_streams(tmp_path, "a.mp4")
    assert read_stream_index(clip) == FIRST
    assert read_audio(clip, seconds=2.0)[1] == set()
    rename_codec(clip, 0)
    assert read_stream_index(clip) == SECOND
    waveform, flags = read_audio(clip, seconds=2.0)
    assert flags == {Flag.AUDIO_STREAM_SKIPPED}
    assert np.abs(waveform).max() > 0.05
    rename_codec(clip, 0)
    waveform, flags = read_audio(clip, seconds=2.0)
    assert flags == {Flag.AUDIO_UNREADABLE}
    assert not waveform.any()


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_a_stream_whose_packets_cannot_be_decoded_is_skipped(tmp_path: Path, name: str) -> None:
    write_two_streams(tmp_path, "whole.mkv", "-c:a flac")
    run_ffmpeg(f"-i whole.mkv -map 0 -c copy -c:a ac3 b{Path(name).suffix}", folder=tmp_path)
    clip = spoil_packets(tmp_path / f"b{Path(name).suffix}", tmp_path / name, FIRST)
    assert read_stream_index(clip) == SECOND
    waveform, flags = read_audio(clip, seconds=2.0)
    assert flags == {Flag.AUDIO_STREAM_SKIPPED}
    # nothing is lost of the packets that came before the decision
    expected, _ = read_audio(clip, seconds=2.0, audio_stream=SECOND)
    np.testing.assert_array_equal(waveform, expected)
    assert Flag.AUDIO_UNREADABLE in read_audio(clip, seconds=2.0, audio_stream=FIRST)[1]


def test_a_stream_that_is_damaged_later_is_kept(tmp_path: Path) -> None:
    whole = write_two_streams(tmp_path, "whole.mkv", "-c:a flac")
    clip = spoil_packets(whole, tmp_path / "a.mkv", FIRST, first=5, last=12)
    assert read_stream_index(clip) == FIRST
    assert read_audio(clip, seconds=2.0)[1] == {Flag.DAMAGED, Flag.AUDIO_GAPS}


def test_a_clip_that_arrives_is_heard_in_the_stream_that_can_be_decoded(tmp_path: Path) -> None:
    whole = write_two_streams(tmp_path, "whole.mkv", "-c:a flac")
    clip = spoil_packets(whole, tmp_path / "a.mkv", FIRST)
    file = GrowingFile()
    file.put(clip.read_bytes(), 0.0)
    file.end()
    with open_growing_file(file, 10_000) as container:
        audio = open_audio(container, None)
        waveform, _ = audio.read_patches(list(range(150)))
    expected, _ = read_audio(clip, seconds=1.5, audio_stream=SECOND)
    np.testing.assert_array_equal(waveform[: len(expected)], expected)
    assert audio.flags() == {Flag.AUDIO_STREAM_SKIPPED}


def test_an_audio_stream_without_packets_is_no_audio(tmp_path: Path) -> None:
    clip = tmp_path / "a.mkv"
    run_ffmpeg(f"{PICTURES} {LOUD} -map 0 -map 1 {H264} -c:a aac -t 3 b.mkv", folder=tmp_path)
    with av.open(str(tmp_path / "b.mkv")) as source, av.open(str(clip), "w") as copy:
        for stream in source.streams:
            add_from_template(copy, stream)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                mux(copy, packet)
    waveform, flags = read_audio(clip, seconds=2.0)
    assert flags == {Flag.NO_AUDIO}
    assert not waveform.any()


def test_a_decoder_that_is_not_accepted_is_not_used(tmp_path: Path) -> None:
    run_ffmpeg(
        f"{PICTURES} {LOUD} -c:v mpeg4 -c:a g723_1 -ar 8000 -b:a 6300 a.avi", folder=tmp_path
    )
    assert read_audio(tmp_path / "a.avi", seconds=2.0)[1] == {Flag.AUDIO_UNREADABLE}


def join_packets(clip: Path, counts: Iterator[int]) -> list[tuple[int, bytes]]:
    """Join successive packets of the audio of a clip; returns (milliseconds, bytes)."""
    joined: list[tuple[int, bytes]] = []
    with av.open(str(clip)) as source:
        waiting: list[tuple[int, bytes]] = []
        count = next(counts)
        for packet in source.demux(audio=0):
            if packet.size and packet.pts is not None:
                waiting.append((round(1000 * packet.pts * packet.time_base), bytes(packet)))
            if waiting and (len(waiting) == count or not packet.size):
                joined.append((max(0, waiting[0][0]), b"".join(data for _, data in waiting)))
                waiting, count = [], next(counts)
    return joined


def repeat(*counts: int) -> Iterator[int]:
    while True:
        yield from counts


@pytest.mark.parametrize("codec", ["aac", "libmp3lame"])
@pytest.mark.parametrize("counts", [(4,), (2, 2, 2, 1), (23, 24)], ids=str)
def test_chunks_of_several_packets_in_avi_are_continuous(
    tmp_path: Path, codec: str, counts: tuple[int, ...]
) -> None:
    run_ffmpeg(f"{LOUD} -c:a {codec} -ar 44100 a.mkv", folder=tmp_path)
    run_ffmpeg(f"{PICTURES} -c:v mpeg4 v.avi", folder=tmp_path)
    clip = tmp_path / "a.avi"
    with (
        av.open(str(tmp_path / "v.avi")) as pictures,
        av.open(str(tmp_path / "a.mkv")) as audio,
        av.open(str(clip), "w") as copy,
    ):
        video = add_from_template(copy, pictures.streams[0])
        sound = add_from_template(copy, audio.streams[0])
        packets: list[tuple[float, Packet[Stream]]] = []
        for packet in pictures.demux():
            if packet.dts is not None:
                packet.stream = video
                packets.append((float(packet.dts * packet.time_base), packet))
        for milliseconds, data in join_packets(tmp_path / "a.mkv", repeat(*counts)):
            joined: Packet[Stream] = Packet(data)
            joined.pts = joined.dts = milliseconds
            joined.time_base, joined.stream = Fraction(1, 1000), sound
            packets.append((milliseconds / 1000, joined))
        for _, packet in sorted(packets, key=lambda each: each[0]):
            mux(copy, packet)
    waveform, flags, anomalies = read_audio_and_anomalies(clip, seconds=2.5)
    assert flags == set()
    assert (anomalies.audio_gaps, anomalies.audio_overlaps) == (0, 0)
    loudness = np.abs(waveform[4000:]).reshape(-1, 160).max(axis=1)
    assert loudness.min() > 0.05
