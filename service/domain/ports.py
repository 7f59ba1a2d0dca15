"""What the story needs from outside, as protocols: rooms implement them, wiring connects them.

What a blob store tells of a blob.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from service.domain.array_types import BoolArray, Float32Array, Int64Array, UInt8Array
from service.domain.clip import ExtractionEvent
from service.domain.options import AnalysisOptions
from service.domain.stream import StreamExtractionEvent, StreamInput, StreamMedia


class Inference(Protocol):
    """The served models; raises InferenceUnavailable or InferenceFailed."""

    async def embed_faces(self, crops: UInt8Array) -> Float32Array:
        """(N, 3, 112, 112) uint8 to (N, 512)."""
        ...

    async def embed_voice(self, waveform: Float32Array, patch_starts: Int64Array) -> Float32Array:
        """(S,) at 16 kHz and (T,) hops to (T, 128)."""
        ...

    async def fuse(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        """(T, 512), (T, 128), (T,) to the folds' mean (T, 2) and spread (T, 2)."""
        ...

    async def fuse_live(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        """As `fuse`, for the near past of B tracks: (B, LIVE_FRAMES, ..) to (B, LIVE_FRAMES, 2)."""
        ...

    async def is_ready(self) -> bool:
        """Whether every model is loaded and warm."""
        ...


class ClipExtractor(Protocol):
    """Opens a clip and yields ClipOpened, chunks and ClipClosed; raises ClipError."""

    def __call__(
        self, clip: Path, options: AnalysisOptions
    ) -> AbstractAsyncContextManager[AsyncIterator[ExtractionEvent]]: ...


class StreamExtraction(Protocol):
    """The extraction of one stream under way; raises ClipError, ServiceError."""

    async def send(self, piece: StreamInput) -> None:
        """Hand over the next media; waits while those before are not taken."""
        ...

    async def end(self) -> None:
        """Say that no more media will come; what is there is worked off."""
        ...

    def events(self) -> AsyncIterator[StreamExtractionEvent]:
        """What becomes of the media, until ClipClosed; to be read at once and all the time."""
        ...


class StreamExtractor(Protocol):
    """Opens the extraction of a stream; leaving the context ends it within a second.

    Args: snapshot: the state of a Snapshot of the same media, to go on from.
    Raises, entering: StreamGone: the state is not one that can be gone on from.
    """

    def __call__(
        self, media: StreamMedia, snapshot: bytes | None = None
    ) -> AbstractAsyncContextManager[StreamExtraction]: ...


class BlobStore(Protocol):
    """Clips and results by key; raises StoreUnavailable, and StoreFull where it is written to."""

    async def put(self, key: str, content: AsyncIterator[bytes]) -> int:
        """Write all of `content`, or nothing; returns its size in bytes."""
        ...

    async def get(self, key: str) -> AsyncIterator[bytes]:
        """Stream a blob; raises KeyError where there is none."""
        ...

    def open_file(self, key: str) -> AbstractAsyncContextManager[Path]:
        """A blob as a local file for as long as the context lasts; raises KeyError."""
        ...

    async def delete(self, key: str) -> None:
        """Remove a blob; no error where there is none."""
        ...

    async def delete_all(self, prefix: str) -> int:
        """Remove every blob under `prefix/`; returns how many there were."""
        ...

    def list(self, prefix: str) -> AsyncGenerator[Blob]:
        """Every whole blob under `prefix/`, in no order."""
        ...

    async def check_free_space(self, size_bytes: int) -> None:
        """At once: raises StoreFull where a clip of this size should not come in."""
        ...

    async def sweep(self) -> int:
        """Remove what killed writers left half-written; returns how many."""
        ...

    async def is_ready(self) -> bool:
        """Whether a blob can be written now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One blob as it is listed; `modified_at` in seconds since the epoch, by the store's clock."""

    key: str
    size_bytes: int
    modified_at: float
