"""Export of networks as an estimator: TorchScript files, Triton's configurations, a manifest.

TorchScript is deprecated upstream. Only this module and the Triton backend that loads the files
depend on it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from torch import nn

from service.domain.estimator import EstimatorId, EstimatorManifest, Modality, ModelFile
from service.domain.model_signatures import EXPORTED_MODELS
from service.errors import ModelChanged, ModelNotServed
from service.estimators.probe import Summary, build_probe_inputs, summarize_outputs
from service.estimators.repository import EstimatorRepository
from service.estimators.verification import FileVerifier
from training.data.files import replace_file, replace_text
from training.importers.backbone import ImportedBackbone, read_backbone
from training.inference.calibration_samples import CalibrationSamples
from training.inference.precision import Precision
from training.presets import Preset, build_networks
from training.serving import build_served_models
from training.triton_configs import render_config

_jit = cast("Any", torch.jit)  # has no types
PREPROCESSING_VERSION = "1"
"""Incremented when crops or patches change so that trained weights no longer fit."""
FUSION = "fused-1"
"""Changed when the same weights are computed in another order, so that they are exported anew."""
_SLOTS = {signature.name: signature for signature in EXPORTED_MODELS}
ARCFACE_CROPS = "112 x 112 RGB, aligned to the ArcFace template by a similarity of five points"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTarget:
    """Place of an export: a version of a name in Triton's model repository.

    precision: of the networks' backbones; published networks are served in float32.
    samples: what the ranges of an int8 export are measured on.
    """

    repository: Path
    estimator: EstimatorId
    precision: Precision = Precision.FLOAT32
    samples: CalibrationSamples | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedModel:
    """A model that another estimator was exported with, to be copied. description: of `path`."""

    path: Path
    description: ModelFile


def export_untrained(
    preset: Preset,
    target: ExportTarget,
    *,
    seed: int,
    visual: Path | None = None,
    audio: Path | None = None,
) -> EstimatorManifest:
    """Write an untrained estimator.

    The same preset and seed give the same weights; file_sha256 may differ, since the order of
    constants in a frozen file is not deterministic.

    Args:
        preset: sizes of the networks.
        target: where it is written.
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
    facts = {
        "title": f"The paper's networks at the preset {preset.name}, untrained.",
        "domain": None,
        "modalities": [Modality.FACE, Modality.VOICE],
        "preprocessing": ARCFACE_CROPS,
        "licences": {"code": "Apache-2.0", "weights": "none: random", "data": "none"},
        "preset": preset.name,
        "training": "untrained",
        "seed": seed,
    }
    origins = _build_origins(seed, face, voice)
    models = build_served_models(networks, target.precision, target.samples)
    return write_estimator(models, target, origins=origins, facts=facts)


def write_estimator(
    models: Mapping[str, nn.Module | ExportedModel],
    target: ExportTarget,
    *,
    origins: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> EstimatorManifest:
    """Write an estimator: its models, their configurations and, last, its manifest.

    If the version is exported already with the same weights and facts, only configurations that
    are missing or differ are written: a server that has loaded it need not be restarted. The first
    version of a name becomes current.

    Args: models, origins: by slot of `service.domain.model_signatures`; facts: the manifest's other
        fields, as in `EstimatorManifest`.
    """
    estimator = target.estimator
    repository = EstimatorRepository(target.repository)
    document = _build_document(target, facts)
    if (same := _find_same(repository, estimator, document, models, origins)) is not None:
        _write_configs(target.repository, same)
        _ensure_current(repository, estimator)
        return same
    repository.manifest_file(estimator).unlink(missing_ok=True)
    files = {
        slot: _export_model(slot, model, repository.model_file(estimator, slot), origins[slot])
        for slot, model in models.items()
    }
    document["models"] = _to_json({slot: asdict(file) for slot, file in files.items()})
    manifest = EstimatorManifest.parse(document)
    _write_configs(target.repository, manifest)
    replace_text(repository.manifest_file(estimator), json.dumps(document, indent=2) + "\n")
    _ensure_current(repository, estimator)
    return manifest


def _write_configs(folder: Path, manifest: EstimatorManifest) -> None:
    """Write the configurations of an estimator's models that are missing or differ."""
    for signature in manifest.served_slots:
        file = manifest.models.get(signature.name)
        text = render_config(
            manifest.id,
            signature.name,
            has_voice=manifest.has_voice,
            file_sha256=file.file_sha256 if file else "",
        )
        config = folder / manifest.id.part_name(signature.name) / "config.pbtxt"
        (config.parent / "1").mkdir(parents=True, exist_ok=True)
        if not config.is_file() or config.read_text(encoding="utf-8") != text:
            replace_text(config, text)


def _ensure_current(repository: EstimatorRepository, estimator: EstimatorId) -> None:
    """Make a version current if none of its name is."""
    with repository.locked():
        if estimator.name not in repository.read_versions():
            repository.set_current(estimator)


def _build_document(target: ExportTarget, facts: Mapping[str, Any]) -> dict[str, Any]:
    document = {
        "name": target.estimator.name,
        "version": target.estimator.version,
        **facts,
        "preprocessing_version": PREPROCESSING_VERSION,
        "computation": _describe_computation(target),
        "software": {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    return _to_json(document)


def _describe_computation(target: ExportTarget) -> dict[str, str]:
    computation = {"layers": FUSION, "precision": str(target.precision)}
    if target.samples is not None:
        computation["samples_sha256"] = target.samples.compute_digest()
    return computation


def _to_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document as it is when read from its file."""
    return json.loads(json.dumps(document))


def _find_same(
    repository: EstimatorRepository,
    estimator: EstimatorId,
    document: Mapping[str, Any],
    models: Mapping[str, nn.Module | ExportedModel],
    origins: Mapping[str, Mapping[str, Any]],
) -> EstimatorManifest | None:
    """Return the exported estimator, if it is this one and its files are whole."""
    try:
        exported = repository.read_manifest(estimator)
        FileVerifier(repository).verify(exported)
    except (ModelNotServed, ModelChanged):
        return None
    known = {key: value for key, value in exported.document.items() if key != "models"}
    weights = {slot: _hash_model(model) for slot, model in models.items()}
    known_origins = {slot: dict(file.origin) for slot, file in exported.models.items()}
    is_same = (
        all(file.probe for file in exported.models.values())
        and known == document
        and weights == exported.weights_sha256
        and known_origins == json.loads(json.dumps(dict(origins)))
    )
    return exported if is_same else None


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


def _hash_model(model: nn.Module | ExportedModel) -> str:
    if isinstance(model, ExportedModel):
        return model.description.weights_sha256
    return hash_weights(model)


def _export_model(
    slot: str, model: nn.Module | ExportedModel, target: Path, origin: Mapping[str, Any]
) -> ModelFile:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(model, ExportedModel):
        return _copy_model(model, target, origin)
    frozen = script_model(model)
    replace_file(target, lambda part: _save_model(frozen, part))
    return ModelFile(
        weights_sha256=hash_weights(model),
        file_sha256=hashlib.sha256(target.read_bytes()).hexdigest(),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        probe=_answer_probe(slot, target),
        origin=dict(origin),
    )


def _copy_model(model: ExportedModel, target: Path, origin: Mapping[str, Any]) -> ModelFile:
    """Copy an exported file. Raises: ModelChanged: it is not the described one."""
    replace_file(target, lambda part: shutil.copyfile(model.path, part))
    if hashlib.sha256(target.read_bytes()).hexdigest() != model.description.file_sha256:
        raise ModelChanged(f"{model.path} was changed while it was copied")
    return replace(model.description, origin=dict(origin))


def _answer_probe(slot: str, file: Path) -> Summary:
    """Return what the written file answers to the probe of its slot."""
    inputs = build_probe_inputs(_SLOTS[slot])
    with torch.inference_mode():
        answer = load_model(file)(*(torch.as_tensor(each) for each in inputs))
    outputs = [answer] if isinstance(answer, torch.Tensor) else list[torch.Tensor](answer)
    return summarize_outputs([output.numpy() for output in outputs])


def _save_model(frozen: torch.jit.ScriptModule, part: Path) -> None:
    with _deprecation_warning_ignored():
        _jit.save(frozen, part)


@contextmanager
def _deprecation_warning_ignored() -> Generator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated")
        yield


def print_manifest(manifest: EstimatorManifest) -> None:
    """Print an exported estimator and the hashes of its weights."""
    console = Console()
    console.print(f"{manifest.id}: {manifest.title}", markup=False, highlight=False)
    for slot, model in manifest.models.items():
        console.print(f"  {slot}: {model.parameters:,} parameters, {model.weights_sha256[:12]}")
