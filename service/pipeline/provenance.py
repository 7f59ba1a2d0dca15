"""Provenance of results: weights, method, face models and software versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from service.domain.media import Flag
from service.domain.uncertainty import UncertaintyModel
from service.domain.weight_flags import DRAWN, find_weight_flags
from service.errors import ModelsMissing
from service.settings import Settings

PROVENANCE_FILE_NAME: Final = "provenance.json"
"""File that the export of the models writes into the model repository."""

_VERSIONED_PACKAGES: Final = (
    "circumplex",
    "ai-edge-litert",
    "av",
    "opencv-python-headless",
    "numpy",
)


def read_provenance(settings: Settings) -> dict[str, Any]:
    """Read the provenance of results made with these settings.

    Returns: the export's provenance (preset, training, weights by model), what its weights have
    learnt from (`domain`: "drawn" or None, not known), the method's parameters, the face models'
    hashes and the software's versions.
    Raises: ModelsMissing: no models have been exported.
    """
    models = _read_exported(settings)
    calibration = {
        name: value for name, value in models.get("calibration", {}).items() if name != "silence"
    }
    return {
        **models,
        "domain": _find_domain(models),
        "calibration": calibration | {"meaning": read_uncertainty(settings).meaning},
        "method": {
            "window_frames": settings.window_frames,
            "hop_frames": settings.hop_frames,
            "smoothing_seconds": settings.smoothing_seconds,
        },
        "face_models": _hash_face_models(settings),
        "software": models.get("software", {})
        | {name: version(name) for name in _VERSIONED_PACKAGES},
    }


def read_weight_flags(settings: Settings) -> frozenset[Flag]:
    """Read the caveats of the exported weights. Raises: ModelsMissing."""
    return find_weight_flags({"domain": _find_domain(_read_exported(settings))})


def read_weight_hashes(settings: Settings) -> dict[str, str]:
    """Read the SHA-256 of each model's weights. Raises: ModelsMissing."""
    models: dict[str, Any] = _read_exported(settings)["models"]
    return {name: model["weights_sha256"] for name, model in models.items()}


def read_uncertainty(settings: Settings) -> UncertaintyModel:
    """Read the calibration of the weights; without one, the standard deviation is the disagreement.

    Raises: ModelsMissing: no models have been exported, or their calibration is malformed.
    """
    document: dict[str, Any] = _read_exported(settings).get("calibration", {})
    # Exports from before `meaning` have their calibration in the fusion itself.
    known = document if "meaning" in document else {}
    try:
        model = UncertaintyModel.parse(known)
    except ValueError as error:
        raise ModelsMissing(f"the exported models cannot be used: {error}") from error
    return model if settings.yunet_file is None else model.ignore_scores()


def _find_domain(models: Mapping[str, Any]) -> str | None:
    """A synthetic world, of whose people the held-out figures are, is drawn."""
    return DRAWN if "world" in (models.get("held_out") or {}) else None


def _read_exported(settings: Settings) -> dict[str, Any]:
    exported = settings.model_repository / PROVENANCE_FILE_NAME
    try:
        return json.loads(exported.read_bytes())
    except FileNotFoundError:
        raise ModelsMissing(
            f"{exported.absolute()} is missing: run `make export`, start from the project's "
            "folder, or set CIRCUMPLEX_MODEL_REPOSITORY"
        ) from None


def _hash_face_models(settings: Settings) -> dict[str, str]:
    if settings.yunet_file is not None:
        return {"yunet": _sha256(settings.yunet_file)}
    return {file.stem: _sha256(file) for file in sorted(settings.face_models_dir.glob("*.tflite"))}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
