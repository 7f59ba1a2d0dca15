"""Boxes of ISO base media files (MP4, MOV), with their sample tables."""

from __future__ import annotations

import struct
from random import Random
from typing import Final

from tests.fuzz.container_tree import ContainerFormat, Node
from tests.fuzz.damage import interesting_value

_CONTAINER_HEADER_BYTES: Final = {
    **dict.fromkeys((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"moof"), 0),
    **dict.fromkeys((b"traf", b"mvex", b"dinf", b"mfra", b"gmhd", b"tapt", b"wave", b"ilst"), 0),
    **dict.fromkeys((b"stsd", b"dref"), 8),
    b"meta": 4,
    **dict.fromkeys((b"avc1", b"hvc1", b"hev1", b"av01", b"mp4v", b"jpeg", b"vp09"), 78),
    **dict.fromkeys((b"mp4a", b"Opus", b"sowt", b"lpcm", b"fLaC", b".mp3"), 28),
}
"""Boxes with child boxes, and the number of bytes before those."""
_DEMUXER_FIELDS: Final = frozenset(
    b"stts ctts stsc stsz stz2 stco co64 stss elst tkhd mdhd mvhd hdlr trun tfhd tfdt trex mfhd "
    b"sidx tfra mfro mehd avcC hvcC av1C esds dOps pasp colr clap stsd dref sdtp sbgp sgpd cslg "
    b"saiz saio senc tenc avc1 mp4a".split()
)
_KINDS: Final = (
    *_CONTAINER_HEADER_BYTES,
    *sorted(_DEMUXER_FIELDS),
    b"mdat",
    b"free",
    b"ftyp",
    b"uuid",
    b"cmov",
)
_MAX_DEPTH: Final = 12


def parse(data: bytes, depth: int = 0) -> list[Node]:
    """Parse the boxes of a file; an unparsable rest becomes a node without a type."""
    nodes: list[Node] = []
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1 and place + 16 <= len(data):
            head, size = 16, struct.unpack_from(">Q", data, place + 8)[0]
        size = size or len(data) - place
        if not head <= size <= len(data) - place:
            break
        nodes.append(_make_node(kind, data[place + head : place + size], head, depth))
        place += size
    if place < len(data):
        nodes.append(Node(kind=b"", body=data[place:]))
    return nodes


def write(node: Node) -> bytes:
    """Write a box with its size, or with its wrong size."""
    content = node.body + b"".join(map(write, node.children))
    if not node.kind:
        return content
    if node.size is not None:
        return node.size[:4] + node.kind + node.size[4:] + content
    if node.form == 16:
        return struct.pack(">I4sQ", 1, node.kind, len(content) + 16) + content
    return struct.pack(">I4s", len(content) + 8, node.kind) + content


def make_wrong_size(rng: Random, size: int) -> bytes:
    """Make a wrong 32-bit size, or the mark of a 64-bit one with a wrong size."""
    if rng.random() < 0.25:
        return struct.pack(">IQ", 1, interesting_value(rng, 64, size))
    return struct.pack(">I", interesting_value(rng, 32, size))


def _make_node(kind: bytes, body: bytes, head: int, depth: int) -> Node:
    own = _CONTAINER_HEADER_BYTES.get(kind)
    if own is None or depth >= _MAX_DEPTH or len(body) < own:
        return Node(kind=kind, body=body, form=head)
    return Node(kind=kind, body=body[:own], children=parse(body[own:], depth + 1), form=head)


BOXES: Final = ContainerFormat(
    parse=parse,
    write=write,
    kinds=_KINDS,
    demuxer_fields=_DEMUXER_FIELDS,
    make_wrong_size=make_wrong_size,
)
