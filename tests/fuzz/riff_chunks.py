"""Chunks of RIFF files (AVI, WAV): headers, index and stream data."""

from __future__ import annotations

import struct
from random import Random
from typing import Final

from tests.fuzz.container_tree import ContainerFormat, Node
from tests.fuzz.damage import interesting_value

_LISTS: Final = (b"RIFF", b"LIST", b"RIFX")
_DEMUXER_FIELDS: Final = frozenset(
    (b"avih", b"strh", b"strf", b"strd", b"indx", b"idx1", b"dmlh", b"fmt ", b"vprp", b"fact")
)
_KINDS: Final = (
    *_LISTS,
    *sorted(_DEMUXER_FIELDS),
    b"data",
    b"00dc",
    b"01wb",
    b"ix00",
    b"JUNK",
    b"00pc",
)


def parse(data: bytes) -> list[Node]:
    """Parse the chunks of a file; an unparsable rest becomes a node without a name."""
    nodes: list[Node] = []
    place = 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, place)
        if size > len(data) - place - 8:
            break
        body = data[place + 8 : place + 8 + size]
        nests = kind in _LISTS and size >= 4
        nodes.append(
            Node(kind=kind, body=body[:4], children=parse(body[4:]))
            if nests
            else Node(kind=kind, body=body)
        )
        place += 8 + size + size % 2
    if place < len(data):
        nodes.append(Node(kind=b"", body=data[place:]))
    return nodes


def write(node: Node) -> bytes:
    """Write a chunk with its size, or with its wrong size, padded to a whole word."""
    content = node.body + b"".join(map(write, node.children))
    if not node.kind:
        return content
    size = node.size or struct.pack("<I", len(content))
    return node.kind + size + content + b"\x00" * (len(content) % 2)


def make_wrong_size(rng: Random, size: int) -> bytes:
    """Make a wrong size."""
    return struct.pack("<I", interesting_value(rng, 32, size))


CHUNKS: Final = ContainerFormat(
    parse=parse,
    write=write,
    kinds=_KINDS,
    demuxer_fields=_DEMUXER_FIELDS,
    make_wrong_size=make_wrong_size,
)
