"""Made-up media for the stand-in gateway, and what it has to see in them."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, Iterable

from circumplex_client.live import (
    ContainerBytes,
    ContainerMedia,
    Frame,
    FrameMedia,
    FrameResult,
    LiveChoices,
    LiveResult,
    Piece,
    Sound,
    SoundFormat,
)

from tests.integration.stand_in import FRAME_BYTES, FRAME_SAMPLES, value_of

FRAMES = 90
SINGLE = LiveChoices(media=FrameMedia(sound=SoundFormat(rate_hz=100)))
CONTAINER = LiveChoices(media=ContainerMedia(audio_stream=1), faces="all")


def single_frames(count: int = FRAMES) -> list[Piece]:
    """Frames of up to 2 kB with a little sound after each."""
    chance = random.Random(1)
    pieces: list[Piece] = []
    for index in range(count):
        pieces.append(Frame(index / 25, chance.randbytes(chance.randint(1, 2000))))
        time = index / 25 if index % 9 == 0 else None
        pieces.append(Sound(chance.randbytes(2 * FRAME_SAMPLES), time))
    return pieces


def container() -> list[Piece]:
    """As many bytes as make FRAMES frames, in chunks of any size."""
    chance = random.Random(2)
    data = chance.randbytes(FRAMES * FRAME_BYTES)
    cuts = sorted(chance.sample(range(len(data)), 40))
    return [
        ContainerBytes(data[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
    ]


async def coming(pieces: Iterable[Piece]) -> AsyncGenerator[Piece]:
    """The pieces, a millisecond apart."""
    for piece in pieces:
        yield piece
        await asyncio.sleep(0.001)


def truth_of(pieces: Iterable[Piece]) -> list[float]:
    """What is to be seen in each frame."""
    whole = b"".join(piece.data for piece in pieces if isinstance(piece, ContainerBytes))
    blocks = [whole[start : start + FRAME_BYTES] for start in range(0, len(whole), FRAME_BYTES)]
    return [value_of(data) for data in blocks or (p.data for p in pieces if isinstance(p, Frame))]


def sound_of(pieces: Iterable[Piece]) -> tuple[str]:
    """What the summary says of the sound that has come."""
    sound = b"".join(piece.data for piece in pieces if isinstance(piece, Sound))
    return (hashlib.sha256(sound).hexdigest(),)


def values_of(results: Iterable[LiveResult], *, final: bool) -> dict[int, float]:
    """By index, in the order of their coming; fails where one comes twice."""
    values: dict[int, float] = {}
    for result in results:
        if isinstance(result, FrameResult) and result.is_final == final:
            assert result.index not in values
            estimate = result.tracks[0].estimate
            assert estimate is not None
            values[result.index] = estimate.valence
    return values
