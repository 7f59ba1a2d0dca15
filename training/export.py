"""The one seam between the networks and the server: scripted files, and where they came from.

TorchScript is on its way out upstream. Whatever replaces it replaces this
module and the backend that loads the files, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from service.domain.model_signatures import EXPORTED_MODELS
from training.importers.backbone import ImportedBackbone, read_backbone
from training.presets import Preset, build_networks
from training.serving import build_served_models

PROVENANCE_FILE = "provenance.json"
PREPROCESSING_VERSION = "1"
"""Raised whenever crops or patches change in a way that trained weights would feel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProvenance:
    """What is in one exported file; weights_sha256 follows from the weights alone."""

    weights_sha256: str
    file_sha256: str
    parameters: int
    origin: dict[str, Any]
    """Where the weights came from: `training` is untrained, imported or, without weights, none."""


def export_repository(
    preset: Preset,
    *,
    repository: Path,
    seed: int,
    visual: Path | None = None,
    audio: Path | None = None,
) -> dict[str, ModelProvenance]:
    """Write every `<model>/1/model.pt` and, last, `provenance.json`; each file whole or not at all.

    The same preset and seed give the same weights; TorchScript orders a frozen
    file's constants anew each time, so file_sha256 may differ. `visual` and
    `audio` are imported backbones to serve instead of untrained ones. The fusion
    is untrained all the same, and so is the whole in its `training`.
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
    """Write served models and, last, `provenance.json`, which begins with the facts.

    Args: models, origins: by the names of `signatures.SCRIPTED`.
    """
    exported = {
        signature.name: _export_model(
            models[signature.name], repository / signature.name, origins[signature.name]
        )
        for signature in EXPORTED_MODELS
    }
    text = json.dumps(_build_provenance(facts, exported), indent=2) + "\n"
    _replace_file(
        repository / PROVENANCE_FILE, lambda part: part.write_text(text, encoding="utf-8")
    )
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
    """The model as the server runs it: scripted and frozen, batch norms folded."""
    with _deprecation_warning_ignored():
        return torch.jit.freeze(torch.jit.script(model))


def load_model(file: Path) -> torch.jit.ScriptModule:
    """An exported model, on the CPU."""
    with _deprecation_warning_ignored():
        return torch.jit.load(file, map_location="cpu").eval()


def hash_weights(model: nn.Module) -> str:
    """Hash of the state dict: each key, shape and little-endian bytes, in the order of the keys."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        array = value.detach().cpu().contiguous().numpy()
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _export_model(model: nn.Module, folder: Path, origin: dict[str, Any]) -> ModelProvenance:
    target = folder / "1" / "model.pt"
    frozen = script_model(model)
    _replace_file(target, lambda part: _save_model(frozen, part))
    return ModelProvenance(
        weights_sha256=hash_weights(model),
        file_sha256=hashlib.sha256(target.read_bytes()).hexdigest(),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        origin=origin,
    )


def _save_model(frozen: torch.jit.ScriptModule, part: Path) -> None:
    with _deprecation_warning_ignored():
        torch.jit.save(frozen, part)


@contextmanager
def _deprecation_warning_ignored() -> Generator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated")
        yield


def _replace_file(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `target`, then put it in its place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as folder:
        part = Path(folder) / target.name
        write(part)
        part.replace(target)
