"""Fabricated estimators: real manifests of tiny files, and a server that has loaded them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.domain.array_types import BoolArray, Float32Array, Int64Array, UInt8Array
from service.domain.estimator import EstimatorId, EstimatorManifest
from service.domain.model_signatures import (
    AUDIO_BACKBONE,
    FACE_FEATURES,
    LOG_MEL,
    SERVED_MODELS,
    TARGETS,
    VALENCE_AROUSAL,
    VOICE_FEATURES,
)
from service.domain.ports import Inference
from service.errors import ModelChanged
from service.estimators.repository import EstimatorRepository
from service.pipeline.estimation import EstimationParameters
from service.pipeline.estimators import EstimatorCatalog, ServedEstimator
from service.settings import YARDSTICK, Settings

LICENCES = {"code": "Apache-2.0", "weights": "none: random", "data": "none"}


def make_manifest_document(
    name: str = YARDSTICK,
    version: int = 1,
    *,
    modalities: Sequence[str] = ("face", "voice"),
    contents: Mapping[str, bytes] | None = None,
    **facts: Any,
) -> dict[str, Any]:
    """Make the document of a manifest. contents: of its files by slot; facts: its other fields."""
    files = make_contents(modalities) if contents is None else contents
    return {
        "name": name,
        "version": version,
        "domain": None,
        "modalities": list(modalities),
        "licences": LICENCES,
        "training": "untrained",
        **facts,
        "models": {
            slot: {
                "weights_sha256": hashlib.sha256(b"weights " + content).hexdigest(),
                "file_sha256": hashlib.sha256(content).hexdigest(),
                "parameters": len(content),
                "origin": {},
            }
            for slot, content in files.items()
        },
    }


def make_manifest(name: str = YARDSTICK, version: int = 1, **facts: Any) -> EstimatorManifest:
    """Make a manifest, without files; arguments as of `make_manifest_document`."""
    return EstimatorManifest.parse(make_manifest_document(name, version, **facts))


def make_contents(modalities: Sequence[str], text: str = "") -> dict[str, bytes]:
    """Make the content of each slot's file."""
    absent = (
        [VALENCE_AROUSAL] if "voice" in modalities else [VALENCE_AROUSAL, LOG_MEL, AUDIO_BACKBONE]
    )
    return {
        each.name: f"{each.name} {text}".encode() for each in SERVED_MODELS if each not in absent
    }


def write_fake_estimator(
    folder: Path,
    name: str = YARDSTICK,
    version: int = 1,
    *,
    modalities: Sequence[str] = ("face", "voice"),
    **facts: Any,
) -> EstimatorManifest:
    """Write an estimator of tiny files into a model repository; facts: of its manifest."""
    estimator = EstimatorId(name, version)
    repository = EstimatorRepository(folder)
    contents = make_contents(modalities, str(estimator))
    for slot, content in contents.items():
        file = repository.model_file(estimator, slot)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    document = make_manifest_document(
        name, version, modalities=modalities, contents=contents, **facts
    )
    repository.manifest_file(estimator).write_text(json.dumps(document))
    return repository.read_manifest(estimator)


class ZeroInference:
    """A domain.ports.Inference that returns zeros."""

    async def embed_faces(self, crops: UInt8Array) -> Float32Array:
        return np.zeros((len(crops), FACE_FEATURES), np.float32)

    async def embed_voice(self, waveform: Float32Array, patch_starts: Int64Array) -> Float32Array:
        return np.zeros((len(patch_starts), VOICE_FEATURES), np.float32)

    async def fuse(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        zeros = np.zeros((*mask.shape, len(TARGETS)), np.float32)
        return zeros, zeros

    async def fuse_live(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        return await self.fuse(visual, audio, mask)


class FakeInferenceServer:
    """An InferenceServer that has loaded every estimator.

    inference: of all of them. unloaded: estimators that it has not. changed: those that it has
    loaded from other files than their manifests name. error: of its readiness checks.
    selected: the estimators whose models were handed out, in order.
    """

    def __init__(self, inference: Inference | None = None) -> None:
        self.inference: Inference = inference or ZeroInference()
        self.unloaded: set[EstimatorId] = set()
        self.changed: set[EstimatorId] = set()
        self.error: Exception | None = None
        self.selected: list[EstimatorId] = []

    def select(self, manifest: EstimatorManifest) -> Inference:
        self.selected.append(manifest.id)
        return self.inference

    async def find_unready(self, manifest: EstimatorManifest) -> list[str]:
        if self.error is not None:
            raise self.error
        if manifest.id not in self.unloaded:
            return []
        return [manifest.id.part_name(slot.name) for slot in manifest.served_slots]

    async def verify(self, manifest: EstimatorManifest) -> None:
        if manifest.id in self.changed:
            raise ModelChanged(f"{manifest.id} is another model")


def make_fake_catalog(
    settings: Settings, server: FakeInferenceServer | None = None
) -> EstimatorCatalog:
    """A real catalog of the settings' model repository over a fake server."""
    return EstimatorCatalog(settings, server or FakeInferenceServer())


def make_served_estimator(
    inference: Inference | None = None,
    parameters: EstimationParameters | None = None,
    **facts: Any,
) -> ServedEstimator:
    """An estimator that no repository holds; facts: of its manifest."""
    return ServedEstimator(
        manifest=make_manifest(**facts),
        inference=inference or ZeroInference(),
        parameters=parameters or EstimationParameters(),
        provenance={},
    )
