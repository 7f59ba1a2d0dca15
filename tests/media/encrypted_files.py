"""Clips that are encrypted, or whose files declare them so."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from tests.fuzz import ebml_elements
from tests.fuzz.container_tree import Node
from tests.media.clip_factory import AudioTrack, VideoTrack, encode_clip

COMMON_ENCRYPTION: Final = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
    "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
}
VIDEO: Final = VideoTrack(size=(64, 48), count=10)
AUDIO: Final = AudioTrack(seconds=0.4, clap_seconds=())
_ASF_HEADER_FIELDS_BYTES: Final = 30
_TRACK_ENTRY: Final = b"\xae"
_PROGRAM_VIDEO: Final = b"\x00\x00\x01\xe0"


def write_common_encryption(path: Path, scheme: bytes = b"cenc", **options: str) -> bytes:
    """Write an MP4 file of Common Encryption; the scheme is its name only."""
    encode_clip(path, VIDEO, AUDIO, **COMMON_ENCRYPTION, **options)
    content = path.read_bytes()
    assert b"encv" in content
    return content.replace(b"schm\0\0\0\0cenc", b"schm\0\0\0\0" + scheme)


def write_fairplay(path: Path) -> bytes:
    """Write an MP4 file whose video has FairPlay's sample entry."""
    return write_common_encryption(path, movflags="faststart").replace(b"encv", b"drmi")


def write_encrypted_audio(path: Path) -> bytes:
    """Write an MP4 file whose audio alone has an encrypted sample entry."""
    content = encode_clip(path, VIDEO, AUDIO).read_bytes()
    place = content.index(b"mp4a")
    return content[:place] + b"enca" + content[place + 4 :]


def write_encrypted_matroska(path: Path, *, with_key: bool) -> bytes:
    """Write Matroska whose tracks declare encryption and whose frames are noise."""
    roots = ebml_elements.parse(encode_clip(path, VIDEO, None).read_bytes())
    key = [Node(kind=b"\x47\xe2", form=1, body=bytes(range(16)))] if with_key else []
    algorithm = Node(kind=b"\x47\xe1", form=1, body=b"\x05")
    encryption = Node(kind=b"\x50\x35", form=1, children=[algorithm, *key])
    kind = Node(kind=b"\x50\x33", form=1, body=b"\x01")
    encoding = Node(kind=b"\x62\x40", form=1, children=[kind, encryption])
    encodings = Node(kind=b"\x6d\x80", form=1, children=[encoding])
    for root in roots:
        for node in root.walk():
            if node.kind == _TRACK_ENTRY:
                node.children.append(encodings)
            elif node.kind == b"\xa3":
                node.body = node.body[:4] + bytes(byte ^ 0x5A for byte in node.body[4:])
    return b"".join(map(ebml_elements.write, roots))


def write_scrambled_transport(path: Path, packet_bytes: int = 188) -> bytes:
    """Write a transport stream whose video and audio are scrambled."""
    content = encode_clip(path, VIDEO, AUDIO).read_bytes()
    packets = [bytearray(content[place : place + 188]) for place in range(0, len(content), 188)]
    for packet in packets:
        if int.from_bytes(packet[1:3]) & 0x1FFF in (0x100, 0x101):
            packet[3] |= 0x80
            start = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
            packet[start:] = bytes(byte ^ 0x5A for byte in packet[start:])
    head = bytes(packet_bytes - 188)
    return b"".join(head + packet for packet in packets)


def write_sample_encryption(path: Path) -> bytes:
    """Write a transport stream whose program map declares H.264 with encrypted slices."""
    content = bytearray(encode_clip(path, VIDEO, AUDIO).read_bytes())
    for place in range(0, len(content), 188):
        section = place + 5 + content[place + 4]
        if content[place + 1] & 0x40 and content.startswith(b"\x02\xb0", section):
            end = section + 3 + (int.from_bytes(content[section + 1 : section + 3]) & 0xFFF) - 4
            kind = content.index(b"\x1b\xe1\x00", section, end)
            content[kind] = 0xDB
            content[end : end + 4] = _compute_section_checksum(bytes(content[section:end]))
    return bytes(content)


def _compute_section_checksum(section: bytes) -> bytes:
    """Compute CRC-32 of MPEG-2."""
    checksum = 0xFFFFFFFF
    for byte in section:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
    return checksum.to_bytes(4)


def write_scrambled_program(path: Path, share: int = 2) -> bytes:
    """Write a program stream of which one video packet in `share` is scrambled."""
    noise = np.random.default_rng(5).integers(0, 256, (128, 160, 3), np.uint8)
    track = VideoTrack(
        codec="mpeg2video",
        size=(160, 128),
        count=25,
        time_base=Fraction(1, 25),
        picture=noise,
        options={},
    )
    content = bytearray(encode_clip(path, track, None).read_bytes())
    place, count = content.find(_PROGRAM_VIDEO), 0
    while place >= 0:
        length = int.from_bytes(content[place + 4 : place + 6])
        if count % share == 0:
            content[place + 6] |= 0x10
        place, count = content.find(_PROGRAM_VIDEO, place + length), count + 1
    return bytes(content)


def write_encrypted_asf(path: Path, guid: str) -> bytes:
    """Write an ASF file with an empty object of encryption in its header."""
    track = VideoTrack(codec="wmv2", count=10, options={})
    content = encode_clip(path, track, None).read_bytes()
    head_bytes, objects = struct.unpack_from("<QI", content, 16)
    added = bytes.fromhex(guid) + struct.pack("<Q", 24 + 16) + bytes(16)
    return (
        content[:16]
        + struct.pack("<QI", head_bytes + len(added), objects + 1)
        + content[28:_ASF_HEADER_FIELDS_BYTES]
        + added
        + content[_ASF_HEADER_FIELDS_BYTES:]
    )
