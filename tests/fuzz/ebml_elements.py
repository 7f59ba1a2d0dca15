"""EBML elements of Matroska and WebM: ids, sizes of any width, values, lacing."""

from __future__ import annotations

from random import Random
from typing import Final

from tests.fuzz.container_tree import ContainerFormat, Node
from tests.fuzz.damage import interesting_value

_MASTER_IDS: Final = """
    1a45dfa3 18538067 114d9b74 4dbb 1549a966 1654ae6b ae e0 e1 1f43b675 a0 1c53bb6b bb b7 1254c367
    7373 63c0 67c8 6d80 6240 5034 5035 75a1 a6 1941a469 61a7 1043a770 45b9 b6 80 55b0 7670 55d0
    e2 e3 41e4
"""
_DEMUXER_FIELD_IDS: Final = """
    a3 a1 d7 73c5 83 86 63a2 b0 ba 54b0 54ba 54b2 9a b5 9f 6264 23e383 2ad7b1 4489 e7 9b fb
    56aa 56bb 4254 4255 47e1 53ac 53ab f7 f1 55ee 53b8 7671 4282 4285 4286 42f2 42f3
"""
"""Blocks; track numbers, types and codecs; sizes, times and their scale; private data."""
_MASTER_ELEMENTS: Final = frozenset(map(bytes.fromhex, _MASTER_IDS.split()))
_DEMUXER_FIELDS: Final = frozenset(map(bytes.fromhex, _DEMUXER_FIELD_IDS.split()))
_BLOCKS: Final = frozenset((b"\xa3", b"\xa1"))
_KINDS: Final = (*sorted(_MASTER_ELEMENTS), *sorted(_DEMUXER_FIELDS), b"\xec", b"\xbf")
_UNKNOWN_SIZES: Final = (b"\xff", b"\x01" + 7 * b"\xff", b"\x7f\xff")
_MAX_DEPTH: Final = 12


def parse(data: bytes, depth: int = 0) -> list[Node]:
    """Parse the elements of a file; an unparsable rest becomes a node without an id."""
    nodes: list[Node] = []
    place = 0
    while place < len(data):
        id_width, size_width, size = _parse_head(data[place : place + 12])
        start = place + id_width + size_width
        if not size_width or start > len(data):
            break
        unknown = size == (1 << 7 * size_width) - 1
        stop = len(data) if unknown else start + size
        if stop > len(data):
            break
        kind, body = data[place : place + id_width], data[start:stop]
        nests = kind in _MASTER_ELEMENTS and depth < _MAX_DEPTH
        node = Node(kind=kind, form=size_width)
        node.body, node.children = (b"", parse(body, depth + 1)) if nests else (body, [])
        nodes.append(node)
        place = stop
    if place < len(data):
        nodes.append(Node(kind=b"", body=data[place:]))
    return nodes


def write(node: Node) -> bytes:
    """Write an element with its size, in its original width, or with its wrong size."""
    content = node.body + b"".join(map(write, node.children))
    if not node.kind:
        return content
    return node.kind + (node.size or _encode_size(len(content), node.form)) + content


def make_wrong_size(rng: Random, size: int) -> bytes:
    """Make a wrong size of any width, or the mark of an unknown size."""
    if rng.random() < 0.3:
        return rng.choice(_UNKNOWN_SIZES)
    if rng.random() < 0.1:
        return rng.randbytes(rng.randrange(1, 9))  # for example a width of more than eight bytes
    width = rng.randrange(1, 9)
    return _encode_size(interesting_value(rng, 7 * width, size), width)


def corrupt_block(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Change the lacing, track, time or number of laces of one block."""
    roots = parse(data)
    blocks = [node for root in roots for node in root.walk() if node.kind in _BLOCKS]
    if blocks:
        block = rng.choice(blocks)
        head = bytearray(block.body[:12])
        if len(head) > 5:
            head[3] = rng.choice((0x02, 0x04, 0x06, 0x86, rng.getrandbits(8)))
            head[4] = rng.choice((0, 1, 2, 255, head[4], rng.getrandbits(8)))
            if rng.random() < 0.3:
                head[0] = rng.choice((0x80, 0x81, 0x82, 0x40, 0x01, 0x00))
            if rng.random() < 0.3:
                head[1:3] = interesting_value(rng, 16, 0).to_bytes(2, "big")
        block.body = bytes(head) + block.body[12:]
    return b"".join(map(write, roots)), "relace a block"


def _parse_head(data: bytes) -> tuple[int, int, int]:
    """Parse to width of the id, width of the size (0: no element), and size."""
    id_width = _vint_width(data[:1], max_width=4)
    size_width = _vint_width(data[id_width : id_width + 1], max_width=8) if id_width else 0
    digits = data[id_width : id_width + size_width]
    if not size_width or len(digits) < size_width:
        return 0, 0, 0
    return id_width, size_width, int.from_bytes(digits, "big") & ((1 << 7 * size_width) - 1)


def _vint_width(first: bytes, max_width: int) -> int:
    width = 9 - first[0].bit_length() if first else 0
    return width if width <= max_width else 0


def _encode_size(size: int, width: int) -> bytes:
    width = max(width, 1)
    while size >= (1 << 7 * width) - 1 and width < 8:
        width += 1
    return ((1 << 7 * width) | size % (1 << 7 * width)).to_bytes(width, "big")


ELEMENTS: Final = ContainerFormat(
    parse=parse,
    write=write,
    kinds=_KINDS,
    demuxer_fields=_DEMUXER_FIELDS,
    make_wrong_size=make_wrong_size,
)
