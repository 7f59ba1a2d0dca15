"""Still pictures in containers that video has too: HEIF (HEIC, AVIF), JPEG XL, JPEG 2000, CR3.

Their pictures are items, whole or in tiles, beside which a file may have a track: a sequence of
pictures (`avis`, `msf1`) is a video, and its items are none.
"""

from __future__ import annotations

from typing import Final

from service.errors import ClipNotMedia
from service.media.clip_handles import ClipSource
from service.media.file_structure import BOX_HEADER_BYTES, FileBytes, open_file_bytes, walk_boxes
from service.media.growing_file import GrowingFile

_MESSAGE: Final = "The file is a still picture"
_SIGNATURES: Final = (b"JXL ", b"jP  ")
"""First boxes of JPEG XL and JPEG 2000."""
_STILL_BRANDS: Final = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"miaf", b"avif", b"avci", b"j2ki")
)
_RAW_BRANDS: Final = frozenset((b"crx ",))
"""Raw photographs, whose pictures are tracks."""
_HANDLER_SEARCH_BYTES: Final = 256


def refuse_still_picture(clip: ClipSource | GrowingFile) -> None:
    """Check that a file is no still picture.

    Raises: ClipNotMedia.
    """
    with open_file_bytes(clip) as file:
        if _is_still_picture(file):
            raise ClipNotMedia(_MESSAGE)


def _is_still_picture(file: FileBytes) -> bool:
    has_pictures = False
    for position, _, kind in walk_boxes(file):
        if position == 0 and kind in _SIGNATURES:
            return True
        if kind in (b"moov", b"moof"):
            return False
        if kind == b"ftyp":
            brand = file.read(position + BOX_HEADER_BYTES, 4)
            if brand in _RAW_BRANDS:
                return True
            has_pictures |= brand in _STILL_BRANDS
        elif kind == b"meta":
            has_pictures |= _holds_pictures(file.read(position, _HANDLER_SEARCH_BYTES))
    return has_pictures


def _holds_pictures(meta: bytes) -> bool:
    """Check whether the first bytes of a `meta` box name the handler of pictures."""
    handler = meta.find(b"hdlr")
    return handler > 0 and meta[handler + 12 : handler + 16] == b"pict"
