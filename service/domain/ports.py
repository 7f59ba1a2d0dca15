"""Ports: protocols of the models, the extraction and the blob store, connected in wiring."""

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
    """Client of the served models; its calls raise InferenceUnavailable or InferenceFailed."""

    async def embed_faces(self, crops: UInt8Array) -> Float32Array:
        """Embed (N, 3, 112, 112) uint8 crops; returns (N, 512)."""
        ...

    async def embed_voice(self, waveform: Float32Array, patch_starts: Int64Array) -> Float32Array:
        """Embed (T,) patches of (S,) samples at 16 kHz; returns (T, 128)."""
        ...

    async def fuse(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        """Fuse (T, 512), (T, 128), (T,); returns mean and spread over the folds, (T, 2) each."""
        ...

    async def fuse_live(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        """Fuse the last LIVE_WINDOW_FRAMES frames of B tracks; shapes as in `fuse`, after B."""
        ...


class ClipExtractor(Protocol):
    """Opens a clip and yields its extraction events; raises ClipError."""

    def __call__(
        self, clip: Path, options: AnalysisOptions
    ) -> AbstractAsyncContextManager[AsyncIterator[ExtractionEvent]]:
        """Start the extraction; leaving the context ends it."""
        ...


class StreamExtraction(Protocol):
    """Extraction of one stream in progress; its calls raise ClipError or ServiceError."""

    async def send(self, piece: StreamInput) -> None:
        """Send the next media; waits while those before are not consumed."""
        ...

    async def end(self) -> None:
        """Mark the end of the media; those sent are extracted."""
        ...

    def events(self) -> AsyncIterator[StreamExtractionEvent]:
        """Yield events until ClipClosed; to be read without pause."""
        ...


class StreamExtractor(Protocol):
    """Opens the extraction of a stream; leaving the context ends it within a second.

    Args: snapshot: state of a Snapshot of the same media, to continue from.
    Raises, entering: StreamExpired: it cannot be continued from.
    """

    def __call__(
        self, media: StreamMedia, snapshot: bytes | None = None
    ) -> AbstractAsyncContextManager[StreamExtraction]:
        """Start the extraction."""
        ...


class BlobStore(Protocol):
    """Clips and results by key; calls raise StoreUnavailable, writing calls also StoreFull."""

    async def put(self, key: str, content: AsyncIterator[bytes]) -> int:
        """Write all of `content`, or nothing; returns its size in bytes."""
        ...

    async def get(self, key: str) -> AsyncIterator[bytes]:
        """Stream a blob; raises KeyError where there is none."""
        ...

    def open_file(self, key: str) -> AbstractAsyncContextManager[Path]:
        """Provide a blob as a local file while the context lasts; raises KeyError."""
        ...

    async def delete(self, key: str) -> None:
        """Remove a blob; no error where there is none."""
        ...

    async def delete_all(self, prefix: str) -> int:
        """Remove every blob under `prefix/`; returns how many there were."""
        ...

    def list(self, prefix: str) -> AsyncGenerator[Blob]:
        """Yield every complete blob under `prefix/`, in no order."""
        ...

    async def measure_free_bytes(self) -> int | None:
        """Bytes that new clips may still use; None: unknown. Raises StoreUnavailable."""
        ...

    async def check_free_space(self, size_bytes: int) -> None:
        """Raise StoreFull where a clip of this size should not be accepted; does not wait."""
        ...

    async def sweep(self) -> int:
        """Remove incomplete blobs of killed writers; returns how many."""
        ...

    async def is_ready(self) -> bool:
        """Return whether a blob can be written now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Entry of a listing. modified_at: seconds since the epoch, by the store's clock."""

    key: str
    size_bytes: int
    modified_at: float
