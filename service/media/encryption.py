"""Encryption of clips, by what their files declare.

MP4 (Common Encryption, FairPlay), Matroska and ASF declare it in their headers, transport and
program streams in each packet, or (Sample Encryption of HLS) in the program map.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator, Sequence
from typing import Final

from av.container import InputContainer
from av.video.stream import VideoStream

from service.errors import ClipEncrypted, ClipTruncated, ClipWithoutFrames
from service.media.clip_handles import ClipSource
from service.media.file_structure import (
    ASF_HEADER,
    BOX_HEADER_BYTES,
    MATROSKA_CLUSTER,
    MATROSKA_MAGIC,
    FileBytes,
    open_file_bytes,
    walk_boxes,
)
from service.media.growing_file import HEAD_BYTES, GrowingFile

_MAX_INDEX_BYTES: Final = 16 * 2**20
_MAX_INDEX_BOXES: Final = 20_000
_SAMPLE_TABLE: Final = (b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_STSD_FIELDS_BYTES: Final = 8
_ENCRYPTED_VIDEO: Final = frozenset((b"encv", b"drmi"))
"""Sample entries of Common Encryption and of FairPlay."""
_ASF_HEADER_FIELDS_BYTES: Final = 30
_ASF_ENCRYPTION: Final = frozenset(
    bytes.fromhex(guid)
    for guid in (
        "fbb31122 23bd d211 b4b7 00a0c955fc6e",
        "14e68a29 2226 174c b935 dae07ee9289c",
        "33850543 8169 e649 9b74 ad12cb86d58c",
    )
)
"""Content Encryption, Extended Content Encryption and Advanced Content Encryption Object."""
_ASF_HEADER_EXTENSION: Final = bytes.fromhex("b503bf5f 2ea9 cf11 8ee3 00c00c205365")
_ASF_EXTENSION_FIELDS_BYTES: Final = 46
_MATROSKA_KEY_TAG: Final = "enc_key_id"
"""FFmpeg's tag of a stream that is encrypted with a key."""
_MATROSKA_ENCRYPTION: Final = re.compile(rb"\x6d\x80.{1,8}\x62\x40.{1,64}\x50\x35", re.DOTALL)
"""ContentEncodings, ContentEncoding, ContentEncryption."""
_PACK_START: Final = b"\x00\x00\x01\xba"
_VIDEO_PACKETS: Final = range(0xE0, 0xF0)
_MPEG2_PACKETS: Final = range(0x80, 0xC0)
"""Bytes after the length of an MPEG-2 packet, whose bits 0x30 are its scrambling control."""
_MIN_SCRAMBLED_SHARE: Final = 0.1
"""Above single damaged bits; protected DVDs scramble about half of their sectors."""
_TS_PACKET_BYTES: Final = 188
_TS_PACKETS: Final = ((188, 0), (192, 4), (204, 0))
"""Distances of transport packets, and the bytes before their sync byte."""
_TS_SYNC: Final = 0x47
_TS_NULL_PID: Final = 0x1FFF
_TS_STARTS_UNIT: Final = 0x40
_TS_HAS_ADAPTATION: Final = 0x20
_PROGRAM_MAP: Final = 0x02
_PROGRAM_MAP_FIELDS_BYTES: Final = 12
_CHECKSUM_BYTES: Final = 4
_ENCRYPTED_H264: Final = 0xDB
"""Stream type of H.264 in HLS whose slices are encrypted, and nothing else."""
_MIN_SYNC_SHARE: Final = 0.9


def refuse_encrypted(
    container: InputContainer, stream: VideoStream, clip: ClipSource | GrowingFile
) -> None:
    """Check that the file does not declare its video stream as encrypted.

    Raises: ClipEncrypted.
    """
    if container.format.name.startswith("matroska") and _MATROSKA_KEY_TAG in stream.metadata:
        raise ClipEncrypted()
    with open_file_bytes(clip) as file:
        if _declares_encryption(file):
            raise ClipEncrypted()


@contextlib.contextmanager
def report_encryption(clip: ClipSource | GrowingFile) -> Generator[None]:
    """Raise ClipEncrypted where a clip cannot be decoded because it is encrypted.

    Raises: ClipEncrypted instead of ClipWithoutFrames and ClipTruncated.
    """
    try:
        yield
    except (ClipTruncated, ClipWithoutFrames) as error:
        with open_file_bytes(clip) as file:
            if _declares_encryption(file) or _may_be_encrypted(file):
                raise ClipEncrypted() from error
        raise


def _declares_encryption(file: FileBytes) -> bool:
    """Check whether pictures are encrypted, though a decoder may return some."""
    head = file.read(0, HEAD_BYTES)
    if head.startswith(ASF_HEADER):
        return any(guid in _ASF_ENCRYPTION for guid in _list_asf_objects(head))
    if head.startswith(_PACK_START):
        return _is_mostly(_list_scrambled_pictures(head))
    if any(_ENCRYPTED_H264 in _list_stream_types(packet) for packet in _list_packets(head)):
        return True
    return any(
        kind in _ENCRYPTED_VIDEO
        for position, length, top in walk_boxes(file)
        if top == b"moov"
        for kind in _list_sample_entries(file.read(position, min(length, _MAX_INDEX_BYTES)))
    )


def _may_be_encrypted(file: FileBytes) -> bool:
    """Check whether encryption explains that a clip without frames has none."""
    head = file.read(0, HEAD_BYTES)
    if head.startswith(MATROSKA_MAGIC):
        return bool(_MATROSKA_ENCRYPTION.search(head.partition(MATROSKA_CLUSTER)[0]))
    used = (
        packet
        for packet in _list_packets(head)
        if int.from_bytes(packet[1:3]) & _TS_NULL_PID != _TS_NULL_PID
    )
    return _is_mostly([packet[3] >> 7 == 1 for packet in used])


def _is_mostly(scrambled: Sequence[bool]) -> bool:
    return sum(scrambled) > _MIN_SCRAMBLED_SHARE * len(scrambled)


def _list_sample_entries(moov: bytes) -> Iterator[bytes]:
    """List the types of the sample entries in a `moov` box, until too many boxes were walked."""
    budget = iter(range(_MAX_INDEX_BOXES))
    for table in _find_boxes(moov[BOX_HEADER_BYTES:], _SAMPLE_TABLE, budget):
        for box, _ in zip(
            walk_boxes(FileBytes.of(table[_STSD_FIELDS_BYTES:])), budget, strict=False
        ):
            yield box.kind


def _find_boxes(content: bytes, path: Sequence[bytes], budget: Iterator[int]) -> Iterator[bytes]:
    """Find the contents of the boxes at a path of types; each box walked takes one of `budget`."""
    for (position, length, kind), _ in zip(walk_boxes(FileBytes.of(content)), budget, strict=False):
        if kind == path[0]:
            inner = content[position + BOX_HEADER_BYTES : position + length]
            if len(path) == 1:
                yield inner
            else:
                yield from _find_boxes(inner, path[1:], budget)


def _list_asf_objects(head: bytes) -> Iterator[bytes]:
    """List the identifiers of the objects in an ASF header."""
    end = min(len(head), int.from_bytes(head[16:24], "little"))
    place = _ASF_HEADER_FIELDS_BYTES
    while place + 24 <= end:
        guid = head[place : place + 16]
        yield guid
        if guid == _ASF_HEADER_EXTENSION:  # its objects follow
            place += _ASF_EXTENSION_FIELDS_BYTES
        else:
            place += max(24, int.from_bytes(head[place + 16 : place + 24], "little"))


def _list_scrambled_pictures(head: bytes) -> list[bool]:
    """List whether each video packet of a program stream (MPEG-2) is scrambled."""
    scrambled: list[bool] = []
    place = 0
    while head[place : place + 3] == b"\x00\x00\x01" and place + 14 <= len(head):
        kind, first = head[place + 3], head[place + 6]
        if kind == _PACK_START[3]:
            is_mpeg2 = head[place + 4] >> 6 == 1
            place += 14 + (head[place + 13] & 7) if is_mpeg2 else 12
            continue
        if kind in _VIDEO_PACKETS and first in _MPEG2_PACKETS:
            scrambled.append(bool(first & 0x30))
        place += 6 + int.from_bytes(head[place + 4 : place + 6])
    return scrambled


def _list_packets(head: bytes) -> list[bytes]:
    """List the packets of a transport stream, 188 bytes each; empty: it is none."""
    for size, skipped in _TS_PACKETS:
        places = range(skipped, len(head) - _TS_PACKET_BYTES + 1, size)
        in_sync = sum(head[place] == _TS_SYNC for place in places)
        if places and in_sync >= _MIN_SYNC_SHARE * len(places):
            return [head[place : place + _TS_PACKET_BYTES] for place in places]
    return []


def _list_stream_types(packet: bytes) -> Iterator[int]:
    """List the stream types in a program map that begins in a transport packet."""
    if not packet[1] & _TS_STARTS_UNIT:
        return
    payload = packet[5 + packet[4] if packet[3] & _TS_HAS_ADAPTATION else 4 :]
    section = payload[1 + payload[0] :] if payload else b""
    if len(section) < _PROGRAM_MAP_FIELDS_BYTES or section[0] != _PROGRAM_MAP:
        return
    end = 3 + (int.from_bytes(section[1:3]) & 0xFFF) - _CHECKSUM_BYTES
    place = _PROGRAM_MAP_FIELDS_BYTES + (int.from_bytes(section[10:12]) & 0xFFF)
    while place + 5 <= min(end, len(section)):
        yield section[place]
        place += 5 + (int.from_bytes(section[place + 3 : place + 5]) & 0xFFF)
