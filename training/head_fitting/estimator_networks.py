"""Networks of an exported estimator: its features of faces, and its own estimates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor

from service.domain.array_types import BoolArray, Float32Array, UInt8Array
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
from service.estimators.repository import EstimatorRepository
from service.estimators.verification import FileVerifier
from training.data.embeddings import embed_crops
from training.data.samples import WindowGrid
from training.export import load_model
from training.head_fitting.errors import HeadFeaturesMissing

_jit = cast("Any", torch.jit)  # has no types
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

    def embed(self, crops: Iterable[UInt8Array]) -> Float32Array:
        """Embed (112, 112, 3) crops as they are served, (N, 512)."""
        with _jit.optimized_execution(False):  # compiling would take longer than it saves
            return embed_crops(self.visual, crops, torch.device("cpu"))

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


def load_networks(repository: EstimatorRepository, choice: EstimatorChoice) -> EstimatorNetworks:
    """Load an exported estimator, held to its manifest; without a version its current one.

    Raises: ModelUnknown, ModelNotServed, ModelsMissing, ModelChanged; HeadFeaturesMissing.
    """
    manifest = repository.read_manifest(repository.resolve(choice))
    if not 0 < manifest.head_features <= FACE_FEATURES:
        raise HeadFeaturesMissing(f"head_features of {manifest.id} is {manifest.head_features}")
    FileVerifier(repository).verify(manifest)
    visual, fusion = (
        repository.model_file(manifest.id, slot.name) for slot in (VISUAL_BACKBONE, FUSION)
    )
    return EstimatorNetworks(
        manifest=manifest,
        visual=load_model(visual),
        fusion=None if manifest.has_voice else load_model(fusion),
        key=" ".join(manifest.models[slot.name].file_sha256 for slot in (VISUAL_BACKBONE, FUSION)),
    )
