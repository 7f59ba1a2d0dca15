"""Stream manager over a fake extraction and fake models that echo their input."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from circumplex.v1 import annotation_pb2 as wire
from prometheus_client import CollectorRegistry

from service.domain.array_types import BoolArray, Float32Array, Int64Array, UInt8Array
from service.domain.audio_grid import HOP_SAMPLES
from service.domain.caller import ANONYMOUS, Caller
from service.domain.clip import ClipClosed, FaceBox, Frame, TrackedFace
from service.domain.model_signatures import CROP_SIDE, LIVE_WINDOW_FRAMES
from service.domain.stream import (
    AudioExtracted,
    FramesExtracted,
    FrameUnreadable,
    Snapshot,
    StreamExtractionEvent,
    StreamFrame,
    StreamInput,
    StreamMedia,
)
from service.gateway.rpc.annotation_servicer import AnnotationServicer
from service.redis_client.client import connect_redis
from service.settings import YARDSTICK, Settings
from service.streaming.resume.checkpoint_store import CheckpointStore
from service.streaming.stream_manager import StreamManager
from service.telemetry.metrics import Metrics
from tests.fake_estimators import FakeInferenceServer, make_fake_catalog

BOX = FaceBox(left=0, top=0, width=112, height=112, score=1)
CROP_SHAPE = (1, 3, CROP_SIDE, CROP_SIDE)
AUDIO_LAG_FRAMES = 5
CLASSES = ("calm", "glad")
"""Classes of the estimator; the probability of each is a crop's first byte / 255."""
UNREADABLE_BYTE = 255
"""First byte of a frame that the fake extraction reports as unreadable."""


class FakeCropExtraction:
    """Extraction of crops: frames are returned at once, their audio AUDIO_LAG_FRAMES later.

    The audio of a frame is its own number.
    """

    def __init__(self, snapshot: bytes | None, block_frames: int) -> None:
        self._events: asyncio.Queue[StreamExtractionEvent] = asyncio.Queue()
        self._block_frames = block_frames
        self._frames_extracted, self._audio_extracted = json.loads(snapshot or b"[0, 0]")

    async def send(self, piece: StreamInput) -> None:
        if not isinstance(piece, StreamFrame):
            return
        if piece.data and piece.data[0] == UNREADABLE_BYTE:
            self._events.put_nowait(FrameUnreadable())
            return
        faces = (TrackedFace(track=1, box=BOX),) if piece.data else ()
        frame = Frame(index=self._frames_extracted, time_seconds=piece.time_seconds, faces=faces)
        self._frames_extracted += 1
        crops = np.frombuffer(piece.data, np.uint8).reshape(len(faces), *CROP_SHAPE[1:])
        self._events.put_nowait(
            FramesExtracted(frames=(frame,), crops=crops, arrived_at=(piece.arrived_at,))
        )
        self._emit_audio(self._frames_extracted - AUDIO_LAG_FRAMES)
        if self._frames_extracted % self._block_frames == 0:
            state = json.dumps([self._frames_extracted, self._audio_extracted]).encode()
            self._events.put_nowait(Snapshot(frames=self._frames_extracted, samples=0, state=state))

    async def end(self) -> None:
        self._emit_audio(self._frames_extracted)
        self._events.put_nowait(ClipClosed(frames=self._frames_extracted))

    async def events(self) -> AsyncIterator[StreamExtractionEvent]:
        while True:
            event = await self._events.get()
            yield event
            if isinstance(event, ClipClosed):
                return

    def _emit_audio(self, until: int) -> None:
        frames = range(self._audio_extracted, max(until, self._audio_extracted))
        if frames:
            waveform = np.repeat(np.array(frames, np.float32), HOP_SAMPLES)
            starts = np.arange(len(frames), dtype=np.int64)
            self._events.put_nowait(AudioExtracted(waveform=waveform, patch_starts=starts))
        self._audio_extracted = frames.stop


class FakeCropExtractor:
    """Opens fake extractions and counts the open ones."""

    def __init__(self, block_frames: int) -> None:
        self.open_count = 0
        self._block_frames = block_frames

    @asynccontextmanager
    async def __call__(
        self, media: StreamMedia, snapshot: bytes | None = None
    ) -> AsyncGenerator[FakeCropExtraction]:
        self.open_count += 1
        try:
            yield FakeCropExtraction(snapshot, self._block_frames)
        finally:
            self.open_count -= 1


class EchoStreamModels:
    """Models whose features are a crop's first byte and its audio; the fusion returns them."""

    def __init__(self) -> None:
        self.replies_allowed = asyncio.Event()
        self.replies_allowed.set()

    async def embed_faces(self, crops: UInt8Array) -> Float32Array:
        await self.replies_allowed.wait()
        return np.repeat(crops[:, 0, 0, :1].astype(np.float32) / np.float32(255), 512, axis=1)

    async def embed_voice(self, waveform: Float32Array, patch_starts: Int64Array) -> Float32Array:
        features = waveform[patch_starts * HOP_SAMPLES, None] / np.float32(1000)
        return np.repeat(features, 128, axis=1)

    async def fuse(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        mean = np.stack((visual[:, 0], audio[:, 0]), axis=1)
        return mean, np.full((len(visual), 2), 0.1, np.float32)

    async def fuse_live(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        assert visual.shape[1:] == (LIVE_WINDOW_FRAMES, 512)
        return visual[:, :, :2], np.full((*mask.shape, 2), 0.1, np.float32)


class StreamHarness:
    """Stream manager over these fakes and a real Redis."""

    def __init__(self, models_dir: Path, **settings: Any) -> None:
        self.models = EchoStreamModels()
        self.metrics = Metrics(CollectorRegistry())
        small: dict[str, Any] = {"window_frames": 40, "hop_frames": 20, "chunk_frames": 8}
        small["max_streams"] = 4
        served: dict[str, Any] = {"models": YARDSTICK, "model_repository": models_dir}
        self.settings = Settings(**small | served | settings)
        self.extractor = FakeCropExtractor(self.settings.chunk_frames)
        self.redis = connect_redis(self.settings.redis_url, decode_responses=False)
        self.streams = StreamManager(
            settings=self.settings,
            extractor=self.extractor,
            estimators=make_fake_catalog(self.settings, FakeInferenceServer(self.models)),
            checkpoint_store=CheckpointStore(self.redis, self.settings),
            metrics=self.metrics,
        )

    def annotate(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest]
    ) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
        return annotate_messages(self.streams, requests)


def annotate_messages(
    streams: StreamManager,
    requests: AsyncIterator[wire.StreamingAnnotateRequest],
    caller: Caller = ANONYMOUS,
) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
    """Annotate a stream in the messages of the public contract."""
    return AnnotationServicer(streams).streaming_annotate(requests, caller)


def config_request(**fields: Any) -> wire.StreamingAnnotateRequest:
    media = wire.FrameMedia(encoding=wire.FRAME_ENCODING_FACE_CROP)
    return wire.StreamingAnnotateRequest(config=wire.StreamConfig(frames=media, **fields))


def frame_request(index: int, *, face: bool = True) -> wire.StreamingAnnotateRequest:
    """A frame at 25 a second; each byte of its crop is its index."""
    data = bytes([index % 256]) * (3 * CROP_SIDE * CROP_SIDE) if face else b""
    return wire.StreamingAnnotateRequest(frame=wire.VideoFrame(time_seconds=index / 25, data=data))


async def iterate_requests(
    *requests: wire.StreamingAnnotateRequest,
) -> AsyncIterator[wire.StreamingAnnotateRequest]:
    for request in requests:
        yield request
