"""Pieces of sound as one.

The models, for all streams of a gateway at once.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np

from service.domain.array_types import BoolArray, Float32Array, Int64Array, UInt8Array
from service.domain.audio_grid import HOP_SAMPLES
from service.domain.model_signatures import MAX_LIVE_CROPS
from service.domain.ports import Inference
from service.streaming.batching.micro_batcher import MicroBatcher

PatchedAudio = tuple[Float32Array, Int64Array]
"""(S,) samples, a whole number of hops, and (T,) where patches start in them, in hops."""


def concatenate_audio(audios: Sequence[PatchedAudio]) -> PatchedAudio:
    """One waveform after the other, and where the patches start in the whole."""
    lengths = [len(waveform) // HOP_SAMPLES for waveform, _ in audios]
    offsets = np.cumsum([0, *lengths[:-1]])
    starts = [each + offset for (_, each), offset in zip(audios, offsets, strict=True)]
    return np.concatenate([waveform for waveform, _ in audios]), np.concatenate(starts)


MAX_CROPS: Final = MAX_LIVE_CROPS
"""Of one call; more would queue behind the crops of clips."""
MAX_PATCHES: Final = 32
"""Of one call; what the models were warmed with."""
MAX_WINDOWS: Final = 16

FusionContext = tuple[Float32Array, Float32Array, BoolArray]
MeanAndSpread = tuple[Float32Array, Float32Array]


class BatchedInference:
    """Satisfies the Inference port; what streams ask at a time goes to Triton in one call."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._face_batcher = MicroBatcher(self._embed_face_batch, size_of=len, max_size=MAX_CROPS)
        self._voice_batcher = MicroBatcher(
            self._embed_voice_batch, size_of=lambda sound: len(sound[1]), max_size=MAX_PATCHES
        )
        self._context_batcher = MicroBatcher(
            self._fuse_context_batch, size_of=_count_windows, max_size=MAX_WINDOWS
        )
        self._streams = 0

    @contextmanager
    def active_stream(self) -> Generator[None]:
        """One stream more asks for as long as the context lasts."""
        self._adjust_stream_count(+1)
        try:
            yield
        finally:
            self._adjust_stream_count(-1)

    async def embed_faces(self, crops: UInt8Array) -> Float32Array:
        """As Inference.embed_faces."""
        if not len(crops):
            return await self._inference.embed_faces(crops)
        return await self._face_batcher.submit(crops)

    async def embed_voice(self, waveform: Float32Array, patch_starts: Int64Array) -> Float32Array:
        """As Inference.embed_voice."""
        return await self._voice_batcher.submit((waveform, patch_starts))

    async def fuse(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> MeanAndSpread:
        """As Inference.fuse; each window by itself."""
        return await self._inference.fuse(visual, audio, mask)

    async def fuse_live(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> MeanAndSpread:
        """As Inference.fuse_live."""
        return await self._context_batcher.submit((visual, audio, mask))

    async def is_ready(self) -> bool:
        """As Inference.is_ready."""
        return await self._inference.is_ready()

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


def _count_windows(context: FusionContext) -> int:
    return len(context[2])
