"""Export of the networks as TorchScript files, with their provenance.

TorchScript is deprecated upstream. Only this module and the Triton backend that loads the files
depend on it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from service.domain.model_signatures import EXPORTED_MODELS
from training.data.files import replace_file, replace_text
from training.importers.backbone import ImportedBackbone, read_backbone
from training.presets import Preset, build_networks
from training.serving import build_served_models

_jit = cast("Any", torch.jit)  # has no types
PROVENANCE_FILE = "provenance.json"
PREPROCESSING_VERSION = "1"
"""Incremented when crops or patches change so that trained weights no longer fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProvenance:
    """Provenance of one exported file; weights_sha256 depends on the weights only."""

    weights_sha256: str
    file_sha256: str
    parameters: int
    origin: dict[str, Any]
    """Origin of the weights; `training` is trained, untrained, imported or none (no weights)."""


def export_repository(
    preset: Preset,
    *,
    repository: Path,
    seed: int,
    visual: Path | None = None,
    audio: Path | None = None,
) -> dict[str, ModelProvenance]:
    """Write untrained models: every `<model>/1/model.pt` and, last, `provenance.json`.

    The same preset and seed give the same weights; file_sha256 may differ, since the order of
    constants in a frozen file is not deterministic.

    Args:
        preset: sizes of the networks.
        repository: Triton's model repository.
        seed: of the untrained weights.
        visual: file of an imported visual backbone; default: untrained.
        audio: file of an imported audio backbone; default: untrained.
    Raises: BackboneFileInvalid: an imported file is damaged, or of the other kind.

    """
    face = read_backbone(visual) if visual else None
    voice = read_backbone(audio) if audio else None
    networks = build_networks(
        preset, seed, visual=face and face.build_visual(), audio=voice and voice.build_audio()
    )
    facts = {"preset": preset.name, "training": "untrained", "seed": seed}
    return write_repository(
        build_served_models(networks),
        repository=repository,
        origins=_build_origins(seed, face, voice),
        facts=facts,
    )


def write_repository(
    models: dict[str, nn.Module],
    *,
    repository: Path,
    origins: dict[str, dict[str, Any]],
    facts: dict[str, Any],
) -> dict[str, ModelProvenance]:
    """Write served models and, last, `provenance.json`, which begins with `facts`.

    `models` and `origins` are keyed by the names of `model_signatures.EXPORTED_MODELS`.
    """
    exported = {
        signature.name: _export_model(
            models[signature.name], repository / signature.name, origins[signature.name]
        )
        for signature in EXPORTED_MODELS
    }
    text = json.dumps(_build_provenance(facts, exported), indent=2) + "\n"
    replace_text(repository / PROVENANCE_FILE, text)
    return exported


def _build_origins(
    seed: int, face: ImportedBackbone | None, voice: ImportedBackbone | None
) -> dict[str, dict[str, Any]]:
    untrained = {"training": "untrained", "seed": seed}
    return {
        "visual_backbone": face.origin if face else untrained,
        "live_visual_backbone": face.origin if face else untrained,
        "log_mel": {"training": "none"},
        "audio_backbone": voice.origin if voice else untrained,
        "fusion": untrained,
        "live_fusion": untrained,
    }


def _build_provenance(
    facts: dict[str, Any], exported: dict[str, ModelProvenance]
) -> dict[str, Any]:
    return {
        **facts,
        "preprocessing_version": PREPROCESSING_VERSION,
        "models": {name: asdict(model) for name, model in exported.items()},
        "software": {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def script_model(model: nn.Module) -> torch.jit.ScriptModule:
    """Script and freeze a model as it is served, with batch norms folded."""
    with _deprecation_warning_ignored():
        return _jit.freeze(_jit.script(model))


def load_model(file: Path) -> torch.jit.ScriptModule:
    """Load an exported model on the CPU."""
    with _deprecation_warning_ignored():
        return _jit.load(file, map_location="cpu").eval()


def hash_weights(model: nn.Module) -> str:
    """Hash the state dict: key, dtype, shape and little-endian bytes, in order of the keys."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        array = value.detach().cpu().contiguous().numpy()
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _export_model(model: nn.Module, folder: Path, origin: dict[str, Any]) -> ModelProvenance:
    target = folder / "1" / "model.pt"
    frozen = script_model(model)
    replace_file(target, lambda part: _save_model(frozen, part))
    return ModelProvenance(
        weights_sha256=hash_weights(model),
        file_sha256=hashlib.sha256(target.read_bytes()).hexdigest(),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        origin=origin,
    )


def _save_model(frozen: torch.jit.ScriptModule, part: Path) -> None:
    with _deprecation_warning_ignored():
        _jit.save(frozen, part)


@contextmanager
def _deprecation_warning_ignored() -> Generator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated")
        yield
