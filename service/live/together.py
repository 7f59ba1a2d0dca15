"""The models, for all streams of a gateway at once."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np

from service.domain.arrays import Booleans, Bytes, Floats, Integers
from service.domain.ports import Inference
from service.domain.signatures import LIVE_CROPS
from service.live.gathering import Gathering
from service.live.sounds import Sound, join

MAX_CROPS: Final = LIVE_CROPS
"""Of one call; more would queue behind the crops of clips."""
MAX_PATCHES: Final = 32
"""Of one call; what the models were warmed with."""
MAX_WINDOWS: Final = 16

Context = tuple[Floats, Floats, Booleans]
Told = tuple[Floats, Floats]


class Together:
    """Satisfies the Inference port; what streams ask at a time goes to Triton in one call."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._faces = Gathering(self._embed_faces, size_of=len, most=MAX_CROPS)
        self._voices = Gathering(
            self._embed_voices, size_of=lambda sound: len(sound[1]), most=MAX_PATCHES
        )
        self._contexts = Gathering(self._fuse_live, size_of=_windows_of, most=MAX_WINDOWS)
        self._streams = 0

    @contextmanager
    def stream(self) -> Generator[None]:
        """One stream more asks for as long as the context lasts."""
        self._count(+1)
        try:
            yield
        finally:
            self._count(-1)

    async def embed_faces(self, crops: Bytes) -> Floats:
        """As Inference.embed_faces."""
        if not len(crops):
            return await self._inference.embed_faces(crops)
        return await self._faces.ask(crops)

    async def embed_voice(self, waveform: Floats, patch_starts: Integers) -> Floats:
        """As Inference.embed_voice."""
        return await self._voices.ask((waveform, patch_starts))

    async def fuse(self, visual: Floats, audio: Floats, mask: Booleans) -> Told:
        """As Inference.fuse; each window by itself."""
        return await self._inference.fuse(visual, audio, mask)

    async def fuse_live(self, visual: Floats, audio: Floats, mask: Booleans) -> Told:
        """As Inference.fuse_live."""
        return await self._contexts.ask((visual, audio, mask))

    async def is_ready(self) -> bool:
        """As Inference.is_ready."""
        return await self._inference.is_ready()

    def _count(self, change: int) -> None:
        self._streams += change
        for each in (self._faces, self._voices, self._contexts):
            each.streams = max(1, self._streams)

    async def _embed_faces(self, asked: Sequence[Bytes]) -> Sequence[Floats]:
        faces = await self._inference.embed_faces(np.concatenate(asked))
        return np.split(faces, np.cumsum([len(crops) for crops in asked])[:-1])

    async def _embed_voices(self, asked: Sequence[Sound]) -> Sequence[Floats]:
        voice = await self._inference.embed_voice(*join(asked))
        return np.split(voice, np.cumsum([len(starts) for _, starts in asked])[:-1])

    async def _fuse_live(self, asked: Sequence[Context]) -> Sequence[Told]:
        visual, audio, mask = (np.concatenate(each) for each in zip(*asked, strict=True))
        mean, spread = await self._inference.fuse_live(visual, audio, mask)
        bounds = np.cumsum([_windows_of(each) for each in asked])[:-1]
        return list(zip(np.split(mean, bounds), np.split(spread, bounds), strict=True))


def _windows_of(context: Context) -> int:
    return len(context[2])
