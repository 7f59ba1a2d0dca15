"""Edits of shots: light, occlusion, camera, and transitions between two shots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from service.domain.array_types import Float32Array, Float64Array, UInt8Array
from tests.casts.shot import LabelledPicture, Place, Shot

PixelEdit = Callable[[UInt8Array, float], UInt8Array]
"""Edit of a picture at its place in the shot, 0 first to 1 last."""


def edit(shot: Shot, change: PixelEdit) -> Shot:
    """Edit every picture."""
    last = max(len(shot) - 1, 1)
    return tuple(
        replace(each, pixels=change(each.pixels, index / last)) for index, each in enumerate(shot)
    )


def fade(shot: Shot, level: float, share_at: Callable[[float], float]) -> Shot:
    """Blend with a plain picture of a level; share_at: share of it at a place in the shot."""
    return edit(shot, lambda pixels, at: blend(pixels, np.full_like(pixels, level), share_at(at)))


def scale_light(shot: Shot, gains_at: Callable[[float], tuple[float, float, float]]) -> Shot:
    """Multiply the colours; gains_at: red, green and blue gain at a place in the shot."""
    return edit(shot, lambda pixels, at: to_pixels(pixels * np.array(gains_at(at), np.float32)))


def monochrome(shot: Shot, *, start: float = 0.0) -> Shot:
    """Take the colours out, from a place in the shot on."""
    return edit(shot, lambda pixels, at: pixels if at < start else to_grey(pixels))


def to_grey(pixels: UInt8Array) -> UInt8Array:
    """Take the colours out of a picture."""
    return np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(
        np.uint8
    )


def cover(
    shot: Shot,
    part: tuple[float, float, float, float],
    colour: tuple[int, int, int],
    *,
    start: float,
    end: float,
) -> Shot:
    """Cover a part of the picture for a while; the cover comes from below in a few pictures.

    Args: part: left, top, right, bottom, as shares of the picture.
    """

    def draw(pixels: UInt8Array, at: float) -> UInt8Array:
        if not start <= at < end:
            return pixels
        height, width = pixels.shape[:2]
        shift = max(0.0, 1 - min(at - start, end - at) * len(shot) / 4)
        left, top, right, bottom = part
        low, high = (round((each + shift * (1 - top)) * height) for each in (top, bottom))
        covered = pixels.copy()
        covered[low:high, round(left * width) : round(right * width)] = colour
        return covered

    return edit(shot, draw)


def zoom(shot: Shot, view_at: Callable[[float], tuple[float, float, float]]) -> Shot:
    """Show a part; view_at: its middle (x, y) and its size, as shares, at a place in the shot."""
    last = max(len(shot) - 1, 1)
    return tuple(_show_part(each, *view_at(index / last)) for index, each in enumerate(shot))


def compress(pixels: UInt8Array, quality: int) -> UInt8Array:
    """Encode and decode as JPEG."""
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def dissolve(one: Shot, other: Shot, pictures: int) -> Shot:
    """Cross-fade; a face counts as the other's from the middle on."""
    blended = tuple(
        LabelledPicture(
            pixels=blend(before.pixels, after.pixels, (index + 1) / (pictures + 1)),
            places=after.places if 2 * (index + 1) > pictures + 1 else before.places,
        )
        for index, (before, after) in enumerate(zip(one[-pictures:], other[:pictures], strict=True))
    )
    return one[:-pictures] + blended + other[pictures:]


def wipe(one: Shot, other: Shot, pictures: int) -> Shot:
    """Uncover the other shot from left to right."""
    wiped: list[LabelledPicture] = []
    for index, (before, after) in enumerate(zip(one[-pictures:], other[:pictures], strict=True)):
        pixels = before.pixels.copy()
        edge = round((index + 1) / (pictures + 1) * pixels.shape[1])
        pixels[:, :edge] = after.pixels[:, :edge]
        shown = after.places if edge > pixels.shape[1] // 2 else before.places
        wiped.append(LabelledPicture(pixels=pixels, places=shown))
    return one[:-pictures] + tuple(wiped) + other[pictures:]


def inset(shot: Shot, small: Shot, *, left: float, top: float, share: float) -> Shot:
    """Show a second shot in a part of the picture."""
    composed: list[LabelledPicture] = []
    for whole, part in zip(shot, small, strict=True):
        pixels = whole.pixels.copy()
        height, width = pixels.shape[:2]
        rows, columns = round(share * height), round(share * width)
        row, column = round(top * height), round(left * width)
        pixels[row : row + rows, column : column + columns] = cv2.resize(
            part.pixels, (columns, rows), interpolation=cv2.INTER_AREA
        )
        person = part.places[0].person
        window = Place(
            person=person, left=column, top=row, right=column + columns, bottom=row + rows
        )
        composed.append(LabelledPicture(pixels=pixels, places=(*whole.places, window)))
    return tuple(composed)


def side_by_side(one: Shot, other: Shot) -> Shot:
    """Show the middle halves of two shots beside each other."""
    composed: list[LabelledPicture] = []
    for left, right in zip(one, other, strict=True):
        width = left.pixels.shape[1]
        quarter, half = width // 4, width // 2
        pixels = np.hstack(
            [left.pixels[:, quarter : quarter + half], right.pixels[:, quarter : quarter + half]]
        )
        places = (
            Place(person=left.places[0].person, left=0, right=half),
            Place(person=right.places[0].person, left=half, right=width),
        )
        composed.append(LabelledPicture(pixels=pixels, places=places))
    return tuple(composed)


def blend(one: UInt8Array, other: UInt8Array, share: float) -> UInt8Array:
    """Blend two pictures; share: of the other."""
    return to_pixels(one * np.float32(1 - share) + other * np.float32(share))


def to_pixels(values: Float32Array | Float64Array) -> UInt8Array:
    """Round to uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _show_part(picture: LabelledPicture, x: float, y: float, size: float) -> LabelledPicture:
    height, width = picture.pixels.shape[:2]
    scale = 1 / size
    matrix = np.array(
        [[scale, 0, width * (0.5 - x * scale)], [0, scale, height * (0.5 - y * scale)]], np.float32
    )
    pixels = cv2.warpAffine(
        picture.pixels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE
    ).astype(np.uint8)
    places = tuple(
        replace(
            each,
            left=each.left * scale + matrix[0, 2],
            right=each.right * scale + matrix[0, 2],
            top=each.top * scale + matrix[1, 2],
            bottom=each.bottom * scale + matrix[1, 2],
        )
        for each in picture.places
    )
    return LabelledPicture(pixels=pixels, places=places)
