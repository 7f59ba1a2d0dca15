"""Stages of the decode process alone: decoding, face work and audio of a clip, in this process.

Each runs the production code of one stage over the same clip, on one thread unless its name says
otherwise. What is `bare` is the least that the libraries need for it: what cannot be saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
from ai_edge_litert.interpreter import Interpreter

from bench.clips import RATE_HZ
from bench.cost import CpuStopwatch, FrameCost
from service.decoding.requests import DecodeRequest
from service.decoding.worker.clip import extract_clip
from service.decoding.worker.face_stage import FaceStage
from service.domain.audio_grid import patch_start_hop
from service.domain.clip import Chunk
from service.domain.options import AnalysisOptions
from service.faces.detections import FaceFinder, MeshTrackerSnapshot
from service.faces.finder import open_face_finder
from service.faces.tflite import MESH_FILE
from service.media.audio import open_audio
from service.media.demux import open_container
from service.media.media_info import ClipLimits
from service.media.stream_selection import select_video_stream
from service.media.video import Picture, VideoReader
from service.settings import Settings

MESH_RUNS: Final = 75
_MEMORY_BYTES: Final = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionBench:
    """A clip, and what its extraction needs."""

    clip: Path
    settings: Settings
    finder: FaceFinder
    fresh: MeshTrackerSnapshot | None
    """State of the finder before its first picture."""

    @staticmethod
    def open(clip: Path, settings: Settings) -> ExtractionBench:
        """Load the face networks."""
        finder = open_face_finder(
            settings.face_models_dir,
            settings.yunet_file,
            max_faces=settings.max_faces,
            min_pixels=settings.min_face_pixels,
        )
        return ExtractionBench(
            clip=clip,
            settings=settings,
            finder=finder,
            fresh=finder.snapshot(),
        )

    def decode(self) -> int:
        """Decode with one thread, to frames as the face stage reads them."""
        return sum(1 for _ in decode_frames(self.clip, self.settings, threads=1))

    def decode_threaded(self) -> int:
        """Decode with the service's number of decoder threads."""
        threads = self.request().threads
        return sum(1 for _ in decode_frames(self.clip, self.settings, threads=threads))

    def measure_faces(self) -> FrameCost:
        """Find, track and cut the faces of each frame, between decoding it and the next."""
        self.finder.restore(self.fresh)
        stage, stopwatch = FaceStage(self.finder), CpuStopwatch()
        for picture in decode_frames(self.clip, self.settings, threads=1):
            with stopwatch:
                stage.find_faces(picture.planes, picture.time_seconds)
        return stopwatch.per_frame(stage.frame_count)

    def read_audio(self) -> int:
        """Decode the audio and cut the patches of every frame."""
        times = [number / RATE_HZ for number in range(count_frames(self.clip))]
        with open_container(self.clip) as container:
            audio = open_audio(container, None)
            chunk = self.settings.chunk_frames
            for first in range(0, len(times), chunk):
                audio.read_patches([patch_start_hop(t) for t in times[first : first + chunk]])
        return len(times)

    def extract(self) -> int:
        """Do all that a decode process does, up to its messages."""
        self.finder.restore(self.fresh)
        events = extract_clip(self.clip, self.request(), self.finder)
        return sum(len(each.frames) for each in events if isinstance(each, Chunk))

    def request(self) -> DecodeRequest:
        """Request that a worker sends to its decode process."""
        return DecodeRequest.from_settings(AnalysisOptions(), self.settings, _MEMORY_BYTES)


def decode_frames(clip: Path, settings: Settings, *, threads: int) -> Iterator[Picture]:
    """Decode a clip with the given number of decoder threads."""
    limits = ClipLimits(
        max_seconds=settings.max_clip_seconds,
        max_frames=settings.max_clip_frames,
        max_pixels=settings.max_frame_pixels,
    )
    with open_container(clip) as container:
        stream = select_video_stream(container, clip)
        yield from VideoReader(container, stream, limits=limits, threads=threads).read()


def decode_bare(clip: Path) -> int:
    """Decode the video with one thread and do nothing with its frames."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def count_frames(clip: Path) -> int:
    """Count the video packets of a clip of this benchmark: one a frame."""
    with av.open(str(clip)) as container:
        return sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))


class BareMesh:
    """The mesh network in the plain interpreter: the least that a newly measured face costs."""

    def __init__(self, settings: Settings) -> None:
        """Load the network."""
        file = settings.face_models_dir / MESH_FILE
        interpreter = Interpreter(model_path=str(file), num_threads=1)
        self._invoke = interpreter.invoke
        interpreter.allocate_tensors()

    def run(self) -> int:
        """Run the network MESH_RUNS times."""
        for _ in range(MESH_RUNS):
            self._invoke()
        return MESH_RUNS
