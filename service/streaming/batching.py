"""Batching of model calls across the streams of a gateway.

While one call is in flight the next batch fills. With several streams crops and patches also wait
a little for those of the others: a call has a cost of its own, and its models compute two at least.
Windows do not wait: those of the crops of one call are ready at the same time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np

from service.domain.array_types import BoolArray, Float32Array, Int64Array, UInt8Array
from service.domain.audio_grid import HOP_SAMPLES
from service.domain.model_signatures import MAX_LIVE_CROPS
from service.domain.ports import Inference

Q = TypeVar("Q")
A = TypeVar("A")

CROP_WAIT_SECONDS: Final = 0.02
"""Longest wait of crops for those of other streams: half of the time between two frames."""
PATCH_WAIT_SECONDS: Final = 0.04
"""Longest wait of patches of audio, which come a second after their frames anyway."""
ECONOMICAL_CROPS: Final = 4
"""Crops that wait for no others: what a call costs by itself is small beside theirs."""
MAX_CROPS: Final = MAX_LIVE_CROPS
"""Crops of one call; more would queue behind the crops of clips."""
MAX_PATCHES: Final = 32
"""Patches of one call; the models are warmed up for this size."""
MAX_WINDOWS: Final = 16
"""Windows of one call of `fuse_live`."""

PatchedAudio = tuple[Float32Array, Int64Array]
"""(S,) samples, a whole number of hops, and (T,) starts of the patches in them, in hops."""
FusionContext = tuple[Float32Array, Float32Array, BoolArray]
MeanAndSpread = tuple[Float32Array, Float32Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class _PendingRequest(Generic[Q, A]):
    """A request that waits for its batch."""

    request: Q
    result: asyncio.Future[A]
    requested_at: float
    """Monotonic seconds."""


class MicroBatcher(Generic[Q, A]):
    """Collects requests for one model and calls it with a batch of them.

    `active_streams` is set by the owner: with one stream no request waits for others.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Q]], Awaitable[Sequence[A]]],
        *,
        size_of: Callable[[Q], int],
        max_size: int,
        economical_size: int | None = None,
        wait_seconds: float = 0.0,
    ) -> None:
        """Create a batcher.

        Args: call: returns results in the order of the requests. max_size: of a batch, summed over
            `size_of`; a single larger request is a batch by itself. economical_size: of a batch
            that waits for no further requests; None: the largest. wait_seconds: longest wait of a
            request for those of the other streams.
        """
        self._call = call
        self._size_of = size_of
        self._max_size = max_size
        self._economical_size = max_size if economical_size is None else economical_size
        self._wait_seconds = wait_seconds
        self.active_streams = 1
        self._pending: deque[_PendingRequest[Q, A]] = deque()
        self._enough_waiting = asyncio.Event()
        self._batch_task: asyncio.Task[None] | None = None

    async def submit(self, request: Q) -> A:
        """Return the result of a request; raises the error of the call it was part of."""
        result: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._pending.append(
            _PendingRequest(request=request, result=result, requested_at=time.monotonic())
        )
        if self._are_enough_waiting():
            self._enough_waiting.set()
        if self._batch_task is None:
            self._batch_task = asyncio.create_task(self._run_batches(), name="micro-batcher")
        return await result

    async def _run_batches(self) -> None:
        try:
            while self._pending:
                await self._wait_for_batch()
                await self._run_batch(self._take_batch())
        finally:
            self._batch_task = None

    async def _wait_for_batch(self) -> None:
        """Wait until enough requests are there, or the first has waited its longest."""
        left_seconds = self._pending[0].requested_at + self._wait_seconds - time.monotonic()
        if left_seconds <= 0 or self._are_enough_waiting():
            return
        self._enough_waiting.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(left_seconds):
                await self._enough_waiting.wait()

    def _are_enough_waiting(self) -> bool:
        """Return whether each stream has a request, or a batch is of an economical size."""
        return (
            len(self._pending) >= self.active_streams
            or sum(self._size_of(each.request) for each in self._pending) >= self._economical_size
        )

    async def _run_batch(self, batch: Sequence[_PendingRequest[Q, A]]) -> None:
        if not batch:
            return
        try:
            results = await self._call([each.request for each in batch])
        except Exception as error:
            for each in batch:
                if not each.result.done():
                    each.result.set_exception(error)
            return
        for each, result in zip(batch, results, strict=True):
            if not each.result.done():
                each.result.set_result(result)

    def _take_batch(self) -> list[_PendingRequest[Q, A]]:
        """Take pending requests in order, as many as fit; cancelled ones are discarded."""
        batch: list[_PendingRequest[Q, A]] = []
        size = 0
        while self._pending:
            pending = self._pending[0]
            if pending.result.done():
                self._pending.popleft()
                continue
            size += self._size_of(pending.request)
            if batch and size > self._max_size:
                break
            batch.append(self._pending.popleft())
        return batch


class BatchedInference:
    """Inference port that sends the simultaneous requests of all streams in one call."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._face_batcher = MicroBatcher(
            self._embed_face_batch,
            size_of=len,
            max_size=MAX_CROPS,
            economical_size=ECONOMICAL_CROPS,
            wait_seconds=CROP_WAIT_SECONDS,
        )
        self._voice_batcher = MicroBatcher(
            self._embed_voice_batch,
            size_of=lambda audio: len(audio[1]),
            max_size=MAX_PATCHES,
            wait_seconds=PATCH_WAIT_SECONDS,
        )
        self._context_batcher = MicroBatcher(
            self._fuse_context_batch, size_of=_count_windows, max_size=MAX_WINDOWS
        )
        self._streams = 0

    @property
    def has_streams(self) -> bool:
        """True while a stream is active."""
        return self._streams > 0

    @contextmanager
    def active_stream(self) -> Generator[None]:
        """Count one more stream while the context lasts."""
        self._adjust_stream_count(+1)
        try:
            yield
        finally:
            self._adjust_stream_count(-1)

    async def embed_faces(self, crops: UInt8Array) -> Float32Array:
        """See Inference.embed_faces."""
        if not len(crops):
            return await self._inference.embed_faces(crops)
        return await self._face_batcher.submit(crops)

    async def embed_voice(self, waveform: Float32Array, patch_starts: Int64Array) -> Float32Array:
        """See Inference.embed_voice."""
        return await self._voice_batcher.submit((waveform, patch_starts))

    async def fuse(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> MeanAndSpread:
        """See Inference.fuse; not batched."""
        return await self._inference.fuse(visual, audio, mask)

    async def fuse_live(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> MeanAndSpread:
        """See Inference.fuse_live."""
        return await self._context_batcher.submit((visual, audio, mask))

    def _adjust_stream_count(self, change: int) -> None:
        self._streams += change
        for each in (self._face_batcher, self._voice_batcher, self._context_batcher):
            each.active_streams = max(1, self._streams)

    async def _embed_face_batch(self, batch: Sequence[UInt8Array]) -> Sequence[Float32Array]:
        faces = await self._inference.embed_faces(np.concatenate(batch))
        return np.split(faces, np.cumsum([len(crops) for crops in batch])[:-1])

    async def _embed_voice_batch(self, batch: Sequence[PatchedAudio]) -> Sequence[Float32Array]:
        voice = await self._inference.embed_voice(*concatenate_audio(batch))
        return np.split(voice, np.cumsum([len(starts) for _, starts in batch])[:-1])

    async def _fuse_context_batch(self, batch: Sequence[FusionContext]) -> Sequence[MeanAndSpread]:
        visual, audio, mask = (np.concatenate(each) for each in zip(*batch, strict=True))
        mean, spread = await self._inference.fuse_live(visual, audio, mask)
        bounds = np.cumsum([_count_windows(each) for each in batch])[:-1]
        return list(zip(np.split(mean, bounds), np.split(spread, bounds), strict=True))


def concatenate_audio(audios: Sequence[PatchedAudio]) -> PatchedAudio:
    """Concatenate waveforms and shift the starts of their patches accordingly."""
    lengths = [len(waveform) // HOP_SAMPLES for waveform, _ in audios]
    offsets = np.cumsum([0, *lengths[:-1]])
    starts = [each + offset for (_, each), offset in zip(audios, offsets, strict=True)]
    return np.concatenate([waveform for waveform, _ in audios]), np.concatenate(starts)


def _count_windows(context: FusionContext) -> int:
    return len(context[2])
