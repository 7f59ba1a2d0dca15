"""Which face finder a clip gets."""

from __future__ import annotations

from pathlib import Path

import cv2

from service.features.sighting import FaceFinder
from service.features.tracker import MeshTracker
from service.features.yunet import YuNetFinder


def open_finder(models_dir: Path, yunet_file: Path | None) -> FaceFinder:
    """A finder for one clip: the operator's YuNet where one is set, else the mesh tracker.

    OpenCV is held to the calling thread: clips run side by side, each on a thread of its own.

    Raises: FaceModelsMissing.
    """
    cv2.setNumThreads(1)
    return MeshTracker(models_dir) if yunet_file is None else YuNetFinder(yunet_file)
