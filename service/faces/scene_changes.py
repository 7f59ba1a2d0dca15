"""Changes of the scene: cuts, dissolves and light, told apart by the structure of a thumbnail.

A cut changes the structure of the whole picture at once; a dissolve, a wipe or a moving camera in a
second or two. Lamps, fades, flashes and flicker change colours, not structure; a picture without
structure, as all black or white, is passed over.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.domain.clip import FaceBox
from service.domain.planar_picture import PlanarPicture
from service.faces.detections import SceneChangesSnapshot
from service.faces.scene_light import SceneLight
from service.faces.structure import correlate, extract_pattern, quantise, to_grey

CUT_SIMILARITY: Final = 0.3
"""Correlation with the last picture below which there is a cut: across cuts 0.2 at most, with a
moving camera 0.65 and more."""
GRADUAL_SIMILARITY: Final = 0.35
"""Correlation with an earlier picture below which the scene has changed since."""
SAMPLE_INTERVAL_PICTURES: Final = 4
"""Pictures from one pattern of the history to the next."""
COMPARED_SAMPLES: Final = (2, 4, 8, 16, 24)
"""Places of the history that are compared with the latest picture."""
_THUMBNAIL_SIDE: Final = 32
_STRIDE_SIDE: Final = 3 * _THUMBNAIL_SIDE
_SIGMA: Final = 4.0
_IDENTITY_WEIGHT: Final = 1.0
"""Weight of unchanged light, for colours that the picture lacks."""
_NO_THUMBNAIL: Final[UInt8Array] = np.zeros((0, 0, 3), dtype=np.uint8)


class SceneChangeDetector:
    """Compares each picture of a clip with those before it."""

    def __init__(self) -> None:
        self.is_cut = False
        """Whether the latest picture is the first of another scene."""
        self.changing_pictures: int | None = None
        """Pictures in which the scene became another one without a cut; None: it did not."""
        self._now: UInt8Array = _NO_THUMBNAIL
        self._last: UInt8Array = _NO_THUMBNAIL
        self._reference: Float32Array | None = None
        """Pattern of the latest picture that had one."""
        self._history: list[UInt8Array] = []
        self._number = 0
        self._scale = 1.0

    def snapshot(self) -> SceneChangesSnapshot:
        """Return the state."""
        return SceneChangesSnapshot(
            thumbnail=self._now,
            reference=self._reference,
            history=tuple(self._history),
            number=self._number,
        )

    def restore(self, snapshot: SceneChangesSnapshot) -> None:
        """Continue from a snapshot."""
        self._now, self._reference = snapshot.thumbnail, snapshot.reference
        self._history, self._number = [*snapshot.history], snapshot.number

    def update(self, picture: PlanarPicture) -> None:
        """Take the next picture."""
        now = _make_thumbnail(picture)
        self._scale = min(now.shape[:2]) / min(picture.shape)
        self._number += 1
        if now.shape != self._now.shape:
            self._last, self._reference = now, None
            self._history.clear()
        else:
            self._last = self._now
        self._now = now
        pattern = extract_pattern(to_grey(now), sigma=_SIGMA)
        self.is_cut = (
            pattern is not None
            and self._reference is not None
            and correlate(pattern, self._reference) < CUT_SIMILARITY
        )
        if pattern is not None:
            self._reference = pattern
        if self.is_cut:
            self._history.clear()
        self.changing_pictures = None
        if self._number % SAMPLE_INTERVAL_PICTURES == 0 and pattern is not None:
            self._compare_with_history(quantise(pattern))

    @property
    def light(self) -> SceneLight:
        """Light of the latest picture."""
        return SceneLight.of(self._now)

    def region_similarity(self, box: FaceBox) -> float | None:
        """Correlation of a face's surroundings with the last picture's; None: no contrast."""
        one, other = (
            extract_pattern(to_grey(self._cut_region(each, box)), sigma=_SIGMA)
            for each in (self._last, self._now)
        )
        return None if one is None or other is None else correlate(one, other)

    def predict_colours(self, colours: Int64Array) -> Float32Array:
        """Predict (N, 3) colours of the last picture under the light of this one."""
        last = self._last.reshape(-1, 3).astype(np.float32)
        now = self._now.reshape(-1, 3).astype(np.float32)
        known = np.hstack([last, np.ones((len(last), 1), np.float32)])
        weight = np.diag([_IDENTITY_WEIGHT * len(last)] * 3 + [0.0]).astype(np.float32)
        light = np.linalg.solve(
            known.T @ known + weight, known.T @ now + weight @ np.eye(4, 3, dtype=np.float32)
        )
        return (colours @ light[:3] + light[3]).astype(np.float32)

    def _compare_with_history(self, pattern: UInt8Array) -> None:
        self._history.append(pattern)
        del self._history[: -1 - COMPARED_SAMPLES[-1]]
        levels = pattern.astype(np.float32)
        for samples in COMPARED_SAMPLES:
            if len(self._history) > samples:
                earlier = self._history[-1 - samples].astype(np.float32)
                if correlate(levels, earlier) < GRADUAL_SIMILARITY:
                    self.changing_pictures = samples * SAMPLE_INTERVAL_PICTURES
                    return

    def _cut_region(self, thumbnail: UInt8Array, box: FaceBox) -> UInt8Array:
        """Cut twice a box of the picture out of its thumbnail."""
        height, width = thumbnail.shape[:2]
        left, right = _to_range(box.left, box.width, self._scale, width)
        top, bottom = _to_range(box.top, box.height, self._scale, height)
        return thumbnail[top:bottom, left:right]


def _make_thumbnail(picture: PlanarPicture) -> UInt8Array:
    """Scale to a shorter side of 32 pixels; only some of the pixels are read."""
    step = max(1, min(picture.shape) // _STRIDE_SIDE // 2 * 2)
    thinned = picture.thin(step)
    height, width = thinned.shape
    scale = _THUMBNAIL_SIDE / min(thinned.shape)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return thinned.shrink(0, 0, width, height, size)


def _to_range(start: float, length: float, scale: float, size: int) -> tuple[int, int]:
    """Extend a range to twice its length, and limit it to a thumbnail of a size."""
    first = round((start - 0.5 * length) * scale)
    last = round((start + 1.5 * length) * scale)
    first = min(max(first, 0), size - 1)
    return first, min(max(last, first + 1), size)
