"""Clips with two audio streams, of which one is damaged."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from av.stream import Disposition, Stream

from tests.media.encoding import add_from_template, mux
from tests.media_corpus.ffmpeg_reference import run_ffmpeg

PICTURES = "-f lavfi -i testsrc2=s=64x48:r=25:d=3"
LOUD = "-f lavfi -i sine=f=440:r=48000:d=3"
H264 = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast"
FIRST = 1
SECOND = 2


def write_two_streams(folder: Path, name: str, *options: str) -> Path:
    """Write a clip with a rich default audio stream, and a poorer one after it."""
    run_ffmpeg(
        f"{PICTURES} {LOUD} {LOUD} -map 0 -map 1 -map 2 {H264} -c:a aac -b:a:0 192k -b:a:1 48k"
        f" -ac:a:0 2 -disposition:a:0 default -disposition:a:1 0 {' '.join(options)} {name}",
        folder=folder,
    )
    return folder / name


def spoil_packets(clip: Path, into: Path, index: int, first: int = 0, last: int = 10**9) -> Path:
    """Copy a clip with noise for some packets of a stream."""
    random = np.random.default_rng(1)
    with av.open(str(clip)) as source, av.open(str(into), "w") as copy:
        streams = [add_from_template(copy, stream) for stream in source.streams]
        streams[FIRST].disposition = Disposition.default
        number = 0
        for packet in source.demux():
            if packet.dts is None:
                continue
            written: Packet[Stream] = packet
            if packet.stream.index == index:
                if first <= number < last:
                    written = Packet(random.bytes(packet.size))
                    written.pts, written.dts = packet.pts, packet.dts
                    written.time_base = packet.time_base
                number += 1
            written.stream = streams[packet.stream.index]
            mux(copy, written)
    return into
