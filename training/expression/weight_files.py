"""Weight files that set-up fetches for the expression networks, by checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from training.expression.errors import ExpressionWeightsInvalid, ExpressionWeightsMissing

WEIGHTS_FOLDER: Final = Path(".runtime") / "expression"
"""Folder into which set-up fetches them, from the project's folder."""
MINI_XCEPTION_FILE: Final = "emotion_model.hdf5"
DENSE_NET_FILE: Final = "face_expression_model.bin"
DENSE_NET_MANIFEST: Final = "face_expression_model-weights_manifest.json"
SHA256: Final = {
    MINI_XCEPTION_FILE: "59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
    DENSE_NET_FILE: "9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d",
    DENSE_NET_MANIFEST: "5b349c17c7836da506e03422cd6461c74085d8bb2713ad4114647dc5d28174c8",
}


def read_weight_file(folder: Path, name: str) -> bytes:
    """Read one of the files. Raises: ExpressionWeightsMissing, ExpressionWeightsInvalid."""
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise ExpressionWeightsMissing(f"{folder / name} cannot be read; run set-up") from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise ExpressionWeightsInvalid(f"{folder / name} is not the expected file; run set-up")
    return content
