"""Random media for the stub gateway, and the results expected for them."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, Iterable

from circumplex_client.live import (
    AudioChunk,
    ContainerChunk,
    ContainerInput,
    FrameInput,
    FrameResult,
    ImageFrame,
    LiveResult,
    LiveStreamOptions,
    MediaChunk,
    RawAudioFormat,
)

from tests.integration.stub_gateway import FRAME_BYTES, FRAME_SAMPLES, hash_to_valence

FRAME_COUNT = 90
FRAME_OPTIONS = LiveStreamOptions(media=FrameInput(audio=RawAudioFormat(rate_hz=100)))
CONTAINER_OPTIONS = LiveStreamOptions(media=ContainerInput(audio_stream=1), faces="all")


def make_frames(count: int = FRAME_COUNT) -> list[MediaChunk]:
    """Frames of up to 2 kB, each followed by a little audio."""
    chance = random.Random(1)
    pieces: list[MediaChunk] = []
    for index in range(count):
        pieces.append(ImageFrame(index / 25, chance.randbytes(chance.randint(1, 2000))))
        time = index / 25 if index % 9 == 0 else None
        pieces.append(AudioChunk(chance.randbytes(2 * FRAME_SAMPLES), time))
    return pieces


def make_container() -> list[MediaChunk]:
    """Container bytes of FRAME_COUNT frames, in chunks of random sizes."""
    chance = random.Random(2)
    data = chance.randbytes(FRAME_COUNT * FRAME_BYTES)
    cuts = sorted(chance.sample(range(len(data)), 40))
    return [
        ContainerChunk(data[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
    ]


async def iterate_slowly(pieces: Iterable[MediaChunk]) -> AsyncGenerator[MediaChunk]:
    """Yield the pieces, a millisecond apart."""
    for piece in pieces:
        yield piece
        await asyncio.sleep(0.001)


def expected_valences(pieces: Iterable[MediaChunk]) -> list[float]:
    """Expected valence of each frame."""
    whole = b"".join(piece.data for piece in pieces if isinstance(piece, ContainerChunk))
    blocks = [whole[start : start + FRAME_BYTES] for start in range(0, len(whole), FRAME_BYTES)]
    return [
        hash_to_valence(data)
        for data in blocks or (p.data for p in pieces if isinstance(p, ImageFrame))
    ]


def expected_audio_flag(pieces: Iterable[MediaChunk]) -> tuple[str]:
    """Expected flags of the summary: a hash of the audio."""
    audio = b"".join(piece.data for piece in pieces if isinstance(piece, AudioChunk))
    return (hashlib.sha256(audio).hexdigest(),)


def valences_by_index(results: Iterable[LiveResult], *, final: bool) -> dict[int, float]:
    """Valences by index, in the order received; fails where an index is repeated."""
    values: dict[int, float] = {}
    for result in results:
        if isinstance(result, FrameResult) and result.is_final == final:
            assert result.index not in values
            estimate = result.tracks[0].estimate
            assert estimate is not None
            values[result.index] = estimate.valence
    return values
