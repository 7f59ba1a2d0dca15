"""Which face finder a clip gets."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2

from service.features.appearance import warm_up
from service.features.sighting import FaceFinder
from service.features.tracker import MeshTracker
from service.features.yunet import YuNetFinder

MOST_FACES: Final = 6
LEAST_PIXELS: Final = 20.0
"""Defaults of the settings `most_faces` and `least_face_pixels`."""


def open_finder(
    models_dir: Path,
    yunet_file: Path | None,
    *,
    most_faces: int = MOST_FACES,
    least_pixels: float = LEAST_PIXELS,
) -> FaceFinder:
    """A finder for one clip: the operator's YuNet where one is set, else the mesh tracker.

    Args: most_faces: followed at a time, the largest; least_pixels: height of a face.

    OpenCV is held to the calling thread: clips run side by side, each on a thread of its own.

    Raises: FaceModelsMissing.
    """
    cv2.setNumThreads(1)
    warm_up()
    if yunet_file is not None:
        return YuNetFinder(yunet_file, least_pixels=least_pixels)
    return MeshTracker(models_dir, most_faces=most_faces, least_pixels=least_pixels)
