"""A decode child and models that are quick, and say what they were given."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from circumplex.v1 import annotation_pb2 as wire
from prometheus_client import CollectorRegistry

from service.domain.arrays import Booleans, Bytes, Floats, Integers
from service.domain.caller import ANYONE
from service.domain.clip import ClipClosed, FaceBox, Frame, TrackedFace
from service.domain.live import (
    Heard,
    LiveExtract,
    LiveFrame,
    LiveMedia,
    LivePiece,
    Seen,
    Snapshot,
    Unreadable,
)
from service.domain.signatures import CROP_SIDE, LIVE_FRAMES
from service.domain.time import HOP_SAMPLES
from service.jobs.connection import connect
from service.live.archive import Archive
from service.live.streams import Streams
from service.settings import Settings
from service.telemetry.metrics import Metrics

BOX = FaceBox(left=0, top=0, width=112, height=112, score=1)
SHAPE = (1, 3, CROP_SIDE, CROP_SIDE)
LAG_FRAMES = 5
UNREADABLE = 255
"""The first byte of what is no crop."""


class CropChild:
    """A child for crops: every frame is seen at once, and heard when so many more were sent.

    What a frame hears is its own number.
    """

    def __init__(self, snapshot: bytes | None, block_frames: int) -> None:
        self._said: asyncio.Queue[LiveExtract] = asyncio.Queue()
        self._block_frames = block_frames
        self._seen, self._heard = json.loads(snapshot or b"[0, 0]")

    async def send(self, piece: LivePiece) -> None:
        if not isinstance(piece, LiveFrame):
            return
        if piece.data and piece.data[0] == UNREADABLE:
            self._said.put_nowait(Unreadable())
            return
        faces = (TrackedFace(track=1, box=BOX),) if piece.data else ()
        frame = Frame(index=self._seen, time_seconds=piece.time_seconds, faces=faces)
        self._seen += 1
        crops = np.frombuffer(piece.data, np.uint8).reshape(len(faces), *SHAPE[1:])
        self._said.put_nowait(Seen(frames=(frame,), crops=crops, arrived_at=(piece.arrived_at,)))
        self._hear(self._seen - LAG_FRAMES)
        if self._seen % self._block_frames == 0:
            state = json.dumps([self._seen, self._heard]).encode()
            self._said.put_nowait(Snapshot(frames=self._seen, samples=0, state=state))

    async def end(self) -> None:
        self._hear(self._seen)
        self._said.put_nowait(ClipClosed(frames=self._seen))

    async def extracts(self) -> AsyncIterator[LiveExtract]:
        while True:
            extract = await self._said.get()
            yield extract
            if isinstance(extract, ClipClosed):
                return

    def _hear(self, until: int) -> None:
        heard = range(self._heard, max(until, self._heard))
        if heard:
            sound = np.repeat(np.array(heard, np.float32), HOP_SAMPLES)
            starts = np.arange(len(heard), dtype=np.int64)
            self._said.put_nowait(Heard(waveform=sound, patch_starts=starts))
        self._heard = heard.stop


class CropChildren:
    """Opens children and knows how many are there."""

    def __init__(self, block_frames: int) -> None:
        self.open = 0
        self._block_frames = block_frames

    @asynccontextmanager
    async def __call__(
        self, media: LiveMedia, snapshot: bytes | None = None
    ) -> AsyncGenerator[CropChild]:
        self.open += 1
        try:
            yield CropChild(snapshot, self._block_frames)
        finally:
            self.open -= 1


class EchoModels:
    """Features are a crop's first byte and what is heard; fusion answers with them."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def embed_faces(self, crops: Bytes) -> Floats:
        await self.may_answer.wait()
        return np.repeat(crops[:, 0, 0, :1].astype(np.float32) / 255, 512, axis=1)

    async def embed_voice(self, waveform: Floats, patch_starts: Integers) -> Floats:
        return np.repeat(waveform[patch_starts * HOP_SAMPLES, None] / 1000, 128, axis=1)

    async def fuse(self, visual: Floats, audio: Floats, mask: Booleans) -> tuple[Floats, Floats]:
        mean = np.stack((visual[:, 0], audio[:, 0]), axis=1)
        return mean, np.full((len(visual), 2), 0.1, np.float32)

    async def fuse_live(
        self, visual: Floats, audio: Floats, mask: Booleans
    ) -> tuple[Floats, Floats]:
        assert visual.shape[1:] == (LIVE_FRAMES, 512)
        return visual[:, :, :2], np.full((*mask.shape, 2), 0.1, np.float32)

    async def is_ready(self) -> bool:
        return True


class Stage:
    """Streams over such children and models."""

    def __init__(self, **settings: float | str) -> None:
        self.models = EchoModels()
        self.metrics = Metrics(CollectorRegistry())
        self.settings = Settings(
            **{"window_frames": 40, "hop_frames": 20, "chunk_frames": 8, "max_streams": 4}
            | settings
        )
        self.children = CropChildren(self.settings.chunk_frames)
        self.redis = connect(self.settings.redis_url, decodes=False)
        self.streams = Streams(
            settings=self.settings,
            extractor=self.children,
            inference=self.models,
            weights=dict,
            archive=Archive(self.redis, self.settings),
            metrics=self.metrics,
        )

    def annotate(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest]
    ) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
        return self.streams.annotate(requests, ANYONE)


def config(**fields: object) -> wire.StreamingAnnotateRequest:
    media = wire.FrameMedia(encoding=wire.FRAME_ENCODING_FACE_CROP)
    return wire.StreamingAnnotateRequest(config=wire.StreamConfig(frames=media, **fields))


def frame(index: int, *, face: bool = True) -> wire.StreamingAnnotateRequest:
    """A frame at 25 a second; its crop holds its own index in every byte."""
    data = bytes([index % 256]) * (3 * CROP_SIDE * CROP_SIDE) if face else b""
    return wire.StreamingAnnotateRequest(frame=wire.VideoFrame(time_seconds=index / 25, data=data))


async def sent(
    *requests: wire.StreamingAnnotateRequest,
) -> AsyncIterator[wire.StreamingAnnotateRequest]:
    for request in requests:
        yield request
