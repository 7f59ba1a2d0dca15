"""Provenance of results: the estimator, the method, face models and software versions."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from service.domain.estimator import EstimatorManifest
from service.settings import Settings

_VERSIONED_PACKAGES: Final = (
    "circumplex",
    "ai-edge-litert",
    "av",
    "opencv-python-headless",
    "numpy",
)


def build_provenance(manifest: EstimatorManifest, settings: Settings) -> dict[str, Any]:
    """Build the provenance of results that an estimator makes with these settings.

    Returns: its manifest (name, version, domain, licences, weights by slot and so on), the
    method's parameters, the face models' hashes and the software's versions.
    """
    calibration = {name: value for name, value in manifest.calibration.items() if name != "silence"}
    return {
        **manifest.document,
        "calibration": calibration | {"meaning": manifest.uncertainty.meaning},
        "method": {
            "window_frames": settings.window_frames,
            "hop_frames": settings.hop_frames,
            "smoothing_seconds": find_smoothing_seconds(manifest, settings),
        },
        "face_models": _hash_face_models(settings),
        "software": manifest.document.get("software", {})
        | {name: version(name) for name in _VERSIONED_PACKAGES},
    }


def find_smoothing_seconds(manifest: EstimatorManifest, settings: Settings) -> float:
    """Return the settings' smoothing, or else the estimator's own, seconds."""
    if settings.smoothing_seconds is not None:
        return settings.smoothing_seconds
    return manifest.smoothing_seconds


def _hash_face_models(settings: Settings) -> dict[str, str]:
    if settings.yunet_file is not None:
        return {"yunet": _sha256(settings.yunet_file)}
    return {file.stem: _sha256(file) for file in sorted(settings.face_models_dir.glob("*.tflite"))}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
