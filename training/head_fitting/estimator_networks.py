"""Networks of an exported estimator: its features of faces, and its own estimates."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from service.domain.array_types import BoolArray, Float32Array
from service.domain.estimator import EstimatorChoice, EstimatorManifest
from service.domain.model_signatures import (
    CROP_SIDE,
    FACE_FEATURES,
    FUSION,
    TARGETS,
    VISUAL_BACKBONE,
    VOICE_FEATURES,
)
from service.domain.windows import Features, FusionOutput, Merger, Windower
from training.data.samples import WindowGrid
from training.export import load_model
from training.head_fitting.errors import (
    EstimatorFilesChanged,
    EstimatorNotExported,
    HeadFeaturesInvalid,
    HeadFeaturesMissing,
)

_VERSIONS_FILE: Final = "versions.json"
_PROBED_FRAMES: Final = 24
_PROBE_TOLERANCE: Final = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorNetworks:
    """Networks of an estimator on the CPU.

    visual: (N, 3, 112, 112) uint8 to (N, 512). fusion: None where the estimator uses the voice too:
    a face alone does not tell its estimates. key: hash of both files.
    """

    manifest: EstimatorManifest
    visual: torch.jit.ScriptModule
    fusion: torch.jit.ScriptModule | None
    key: str

    @property
    def head_features(self) -> int:
        """Number of features that a head may use, the first of an embedding."""
        return self.manifest.head_features

    @torch.inference_mode()
    def estimate(self, visual: Float32Array, known: BoolArray) -> Float32Array:
        """Estimate (T, 512) features by windows, as in serving: (T, 2); zeros without a fusion."""
        if self.fusion is None:
            return np.zeros((len(visual), len(TARGETS)), np.float32)
        grid = WindowGrid()
        windower = Windower(window_frames=grid.window_frames, hop_frames=grid.hop_frames)
        voice = np.zeros((len(visual), VOICE_FEATURES), np.float32)
        features = Features(visual=visual, audio=voice, mask=known)
        merger = Merger(hop_frames=grid.hop_frames)
        means = [
            merger.add(self._fuse(window.features, window.frames)).mean
            for window in (*windower.add(features), *windower.close())
        ]
        return np.concatenate([*means, merger.close().mean])

    @torch.inference_mode()
    def is_frame_wise(self) -> bool:
        """Return whether an estimate depends on its own frame alone, tried on random pictures."""
        if self.fusion is None:
            return False
        generator = torch.Generator().manual_seed(0)
        coarse = torch.randint(0, 256, (_PROBED_FRAMES, 3, 8, 8), generator=generator)
        scale = CROP_SIDE // coarse.shape[-1]
        crops = coarse.byte().repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        visual = self.visual(crops)
        forward = self._estimate_window(visual)
        backward = self._estimate_window(visual.flip(0)).flip(0)
        half = _PROBED_FRAMES // 2
        alone = self._estimate_window(visual[:half])
        difference = torch.cat([forward - backward, forward[:half] - alone]).abs().max()
        return float(difference) < _PROBE_TOLERANCE

    def _fuse(self, features: Features, frames: int) -> FusionOutput:
        assert self.fusion is not None
        parts = (features.visual, features.audio, features.mask)
        mean, spread = self.fusion(*map(torch.as_tensor, parts))
        return FusionOutput(mean=mean[:frames].numpy(), spread=spread[:frames].numpy())

    def _estimate_window(self, visual: Tensor) -> Tensor:
        assert self.fusion is not None
        voice = torch.zeros(len(visual), VOICE_FEATURES)
        return self.fusion(visual, voice, torch.ones(len(visual), dtype=torch.bool))[0]


def load_networks(repository: Path, choice: EstimatorChoice) -> EstimatorNetworks:
    """Load an estimator of a model repository; without a version its current one.

    Raises: EstimatorNotExported, EstimatorFilesChanged, HeadFeaturesMissing, HeadFeaturesInvalid.
    """
    manifest = _read_manifest(repository, choice)
    if not manifest.head_features:
        raise HeadFeaturesMissing(f"{manifest.id} names none (head_features of its manifest)")
    if manifest.head_features > FACE_FEATURES:
        raise HeadFeaturesInvalid(f"{manifest.id} names {manifest.head_features}")
    visual = _find_model(repository, manifest, VISUAL_BACKBONE.name)
    fusion = _find_model(repository, manifest, FUSION.name)
    hashes = [manifest.models[name].file_sha256 for name in (VISUAL_BACKBONE.name, FUSION.name)]
    return EstimatorNetworks(
        manifest=manifest,
        visual=load_model(visual),
        fusion=None if manifest.has_voice else load_model(fusion),
        key=" ".join(hashes),
    )


def find_versions(repository: Path, name: str) -> list[int]:
    """List the versions of an estimator that have a manifest."""
    versions = (file.stem.rpartition("@")[2] for file in repository.glob(f"{name}@*.json"))
    return sorted(int(version) for version in versions if version.isdecimal())


def _read_manifest(repository: Path, choice: EstimatorChoice) -> EstimatorManifest:
    version = choice.version or _read_current_version(repository, choice.name)
    file = repository / f"{choice.name}@{version}.json"
    try:
        return EstimatorManifest.parse(json.loads(file.read_bytes()))
    except OSError as error:
        raise EstimatorNotExported(f"{file} cannot be read") from error
    except ValueError as error:
        raise EstimatorNotExported(f"{file} is damaged: {error}") from error


def _read_current_version(repository: Path, name: str) -> int:
    file = repository / _VERSIONS_FILE
    try:
        versions: dict[str, Any] = json.loads(file.read_bytes())
        if name in versions:
            return int(versions[name])
    except (OSError, ValueError, TypeError) as error:
        raise EstimatorNotExported(f"{file} cannot be read") from error
    known = ", ".join(sorted(versions)) or "none"
    raise EstimatorNotExported(f"{name}; {repository} has {known}")


def _find_model(repository: Path, manifest: EstimatorManifest, slot: str) -> Path:
    """Return a model's file, if it is the one that the manifest describes."""
    file = repository / manifest.id.part_name(slot) / "1" / "model.pt"
    try:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise EstimatorNotExported(f"{file} cannot be read") from error
    if digest != manifest.models[slot].file_sha256:
        raise EstimatorFilesChanged(f"{file}")
    return file
