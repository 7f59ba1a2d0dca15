"""Which format of a result a client wants: `?format=` first, then Accept (RFC 9110, 12.5.1)."""

from __future__ import annotations

from service.errors import ResultFormatUnknown
from service.results.formats import FORMATS, ResultFormat, find_format


def choose_format(name: str | None, accept: str | None) -> ResultFormat:
    """The format asked for by name, else the best one accepted; raises ResultFormatUnknown.

    Args: accept: every Accept header of the request, joined by commas.
    """
    if name is not None:
        return find_format(name)
    ranges = _parse_ranges(accept or "*/*")
    quality, best = max(
        ((_quality_of(each, ranges), each) for each in FORMATS.values()), key=lambda pair: pair[0]
    )
    if quality == 0.0:
        offered = ", ".join(each.media_type for each in FORMATS.values())
        raise ResultFormatUnknown(f"results are offered as {offered}")
    return best


def _parse_ranges(accept: str) -> dict[str, float]:
    """Media ranges and their quality in [0, 1]; unreadable ones are passed over."""
    found: dict[str, float] = {}
    for part in accept.split(","):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = "1"
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            quality = value.strip() if name.strip() == "q" else quality
        if quality.replace(".", "", 1).isdecimal():
            found[media_range] = min(float(quality), 1.0)
    return found


def _quality_of(offered: ResultFormat, ranges: dict[str, float]) -> float:
    """What the most specific range that covers a format says of it."""
    kind = offered.media_type.partition("/")[0]
    for media_range in (offered.media_type, f"{kind}/*", "*/*"):
        if media_range in ranges:
            return ranges[media_range]
    return 0.0
