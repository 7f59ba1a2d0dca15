"""Format-independent damage: changes of bits, bytes and byte runs, and truncation."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

MAX_BYTES: Final = 1 << 18
"""Maximum size of an input."""
_MAX_RUN_BYTES: Final = 512
_NUMBER_WIDTHS: Final = (1, 2, 4, 4, 8)


def interesting_value(rng: Random, bits: int, original: int) -> int:
    """Choose a value of `bits` bits that is likely to overflow arithmetic or exceed a limit."""
    top = 1 << bits
    value = rng.choice(
        (
            *(0, 1, 2, 3, 7, 8, top - 1, top - 2, top // 2, top // 2 - 1, top // 2 + 1),
            *(
                top // 4,
                top // 8,
                top // 16,
                top // 1000,
                original - 1,
                original + 1,
                2 * original,
                -original,
            ),
            *(rng.getrandbits(bits), 1 << rng.randrange(bits)),
        )
    )
    return value % top


def overwrite_number(data: bytes, rng: Random, within: int | None = None) -> bytes:
    """Overwrite one aligned number, within the first bytes or anywhere, with an interesting one."""
    width = rng.choice([width for width in _NUMBER_WIDTHS if width <= len(data)] or [0])
    if not width:
        return data
    last = min(len(data), within or len(data)) - width
    place = rng.randrange(0, last + 1, width)
    order = rng.choice(("big", "big", "big", "little"))
    original = int.from_bytes(data[place : place + width], order)
    number = interesting_value(rng, 8 * width, original).to_bytes(width, order)
    return data[:place] + number + data[place + width :]


def damage(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Apply one mutation; returns the data and the mutation's name."""
    mutation = rng.choice(_MUTATIONS)
    return mutation(data, rng)[:MAX_BYTES], mutation.__name__.strip("_")


def splice(head: bytes, tail: bytes, rng: Random) -> bytes:
    """Join the beginning of one file and the end of another."""
    cut, join = rng.randrange(len(head) + 1), rng.randrange(len(tail) + 1)
    return (head[:cut] + tail[join:])[:MAX_BYTES]


def _flip_bits(data: bytes, rng: Random) -> bytes:
    flipped = bytearray(data)
    if data:
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _flip_nearby(data: bytes, rng: Random) -> bytes:
    start, stop = _choose_range(data, rng)
    noisy = bytes(byte ^ (rng.getrandbits(8) & rng.getrandbits(8)) for byte in data[start:stop])
    return data[:start] + noisy + data[stop:]


def _fill(data: bytes, rng: Random) -> bytes:
    start, stop = _choose_range(data, rng)
    filler = rng.choice((b"\x00", b"\xff", b"\x80", b"\x01"))
    return data[:start] + filler * (stop - start) + data[stop:]


def _insert(data: bytes, rng: Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.randrange(1, 64)) + data[place:]


def _delete(data: bytes, rng: Random) -> bytes:
    start, stop = _choose_range(data, rng)
    return data[:start] + data[stop:]


def _repeat(data: bytes, rng: Random) -> bytes:
    start, stop = _choose_range(data, rng)
    return data[:stop] + data[start:stop] * rng.choice((1, 1, 3, 30)) + data[stop:]


def _swap(data: bytes, rng: Random) -> bytes:
    start, stop = _choose_range(data, rng)
    place = rng.randrange(start + 1)
    return data[:place] + data[start:stop] + data[place:start] + data[stop:]


def _truncate(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _behead(data: bytes, rng: Random) -> bytes:
    return data[rng.randrange(len(data) + 1) :]


def _extend(data: bytes, rng: Random) -> bytes:
    return data + rng.randbytes(rng.randrange(1, _MAX_RUN_BYTES))


def _corrupt_number(data: bytes, rng: Random) -> bytes:
    return overwrite_number(data, rng)


_MUTATIONS: Final[tuple[Callable[[bytes, Random], bytes], ...]] = (
    *(_flip_bits, _flip_bits, _flip_nearby, _fill, _insert, _delete, _repeat),
    *(_swap, _truncate, _behead, _extend, _corrupt_number, _corrupt_number),
)


def _choose_range(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.randrange(1, rng.choice((4, 32, _MAX_RUN_BYTES))))
