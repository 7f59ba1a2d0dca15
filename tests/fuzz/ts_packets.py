"""Packets of MPEG transport streams: mutations of ids, continuity, clocks, tables and order."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from tests.fuzz.damage import damage, interesting_value

PACKET_BYTES: Final = 188

PacketList = list[bytearray]


def mutate(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Apply one mutation to packets or their order; returns the data and the mutation's name."""
    packets = [bytearray(data[at : at + PACKET_BYTES]) for at in range(0, len(data), PACKET_BYTES)]
    mutation = rng.choice(_MUTATIONS)
    for _ in range(rng.choice((1, 1, 2, 5))):
        complete = [packet for packet in packets if len(packet) == PACKET_BYTES]
        if not complete:
            return damage(data, rng)
        mutation(packets, rng.choice(complete), rng)
    return b"".join(packets), mutation.__name__.strip("_")


def _readdress(packets: PacketList, packet: bytearray, rng: Random) -> None:
    """Change the packet id to another stream's, a table's, or an unused one."""
    other = rng.choice([other for other in packets if len(other) == PACKET_BYTES])
    number = rng.choice((0, 1, 0x11, 0x1FFF, rng.getrandbits(13), (other[1] & 31) << 8 | other[2]))
    packet[1] = packet[1] & 0xE0 | number >> 8
    packet[2] = number & 0xFF


def _unsync(_: PacketList, packet: bytearray, rng: Random) -> None:
    packet[0] = rng.getrandbits(8)


def _break_continuity(_: PacketList, packet: bytearray, rng: Random) -> None:
    packet[3] = packet[3] & 0xF0 | rng.getrandbits(4)


def _flag(_: PacketList, packet: bytearray, rng: Random) -> None:
    """Flip an error, payload start, scrambling or adaptation bit."""
    place = rng.choice((1, 3))
    packet[place] ^= 1 << rng.randrange(5 if place == 1 else 4, 8)


def _adapt(_: PacketList, packet: bytearray, rng: Random) -> None:
    """Write an adaptation field of any length, with any clock."""
    packet[3] |= 0x20
    packet[4] = interesting_value(rng, 8, packet[4])
    packet[5] = rng.getrandbits(8) | rng.choice((0, 0x10, 0x80))
    if rng.random() < 0.7:
        packet[6:12] = interesting_value(rng, 48, int.from_bytes(packet[6:12], "big")).to_bytes(
            6, "big"
        )


def _time(_: PacketList, packet: bytearray, rng: Random) -> None:
    """Change the header or timestamps of an elementary packet that starts here."""
    start = packet.find(b"\x00\x00\x01", 4)
    if 0 <= start < PACKET_BYTES - 24:
        place = start + rng.randrange(3, 19)
        packet[place] = interesting_value(rng, 8, packet[place])


def _tabulate(packets: PacketList, _: bytearray, rng: Random) -> None:
    """Change a byte of a table, or of its checksum, which demuxers ignore."""
    tables = [packet for packet in packets if len(packet) == PACKET_BYTES and packet[1] & 0x40]
    if tables:
        table = rng.choice(tables[:4])
        table[rng.randrange(4, 60)] = rng.getrandbits(8)


def _drop(packets: PacketList, packet: bytearray, rng: Random) -> None:
    packets.remove(packet)


def _repeat(packets: PacketList, packet: bytearray, rng: Random) -> None:
    place = rng.randrange(len(packets) + 1)
    packets[place:place] = [bytearray(packet) for _ in range(rng.choice((1, 2, 30)))]


def _reorder(packets: PacketList, packet: bytearray, rng: Random) -> None:
    start = rng.randrange(len(packets))
    part = packets[start : start + 8]
    rng.shuffle(part)
    packets[start : start + 8] = part


def _shorten(_: PacketList, packet: bytearray, rng: Random) -> None:
    del packet[rng.randrange(4, PACKET_BYTES) :]


_MUTATIONS: Final[tuple[Callable[[PacketList, bytearray, Random], None], ...]] = (
    *(_readdress, _unsync, _break_continuity, _flag, _adapt, _adapt, _time, _time),
    *(_tabulate, _tabulate, _drop, _repeat, _reorder, _shorten),
)
