"""Pulled networks as the models of an estimator, and the facts of its manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from torch import nn

from service.domain.estimator import Modality
from service.domain.model_signatures import CROP_SIDE
from service.domain.uncertainty import StdMeaning
from service.model_catalogue.entries import CatalogueEntry
from service.model_catalogue.file_hashes import FileHashes
from training.export import ARCFACE_CROPS
from training.importers.onnx_matching import load_onnx
from training.networks.efficientnet import EfficientNet
from training.networks.mobilefacenet import MobileFaceNet
from training.pulled.served import HEAD_FEATURES, ServedPulledBackbone, ServedPulledFusion

_NETWORKS: Final[Mapping[str, Callable[[], nn.Module]]] = {
    "mobilefacenet": MobileFaceNet,
    "efficientnet_b0": EfficientNet,
}


def build_pulled_models(entry: CatalogueEntry, file: Path) -> dict[str, nn.Module]:
    """Build the served models of a catalogue entry, by slot.

    Raises: ImportRefused: the file cannot be read, or is of another network.
    """
    network = _NETWORKS[entry.architecture]()
    load_onnx(network, file)
    backbone = ServedPulledBackbone(
        network, side=entry.input.side, mean=entry.input.mean, std=entry.input.std
    ).eval()
    fusion = ServedPulledFusion().eval()
    return {
        "visual_backbone": backbone,
        "live_visual_backbone": backbone,
        "fusion": fusion,
        "live_fusion": fusion,
    }


def build_pulled_facts(entry: CatalogueEntry, hashes: FileHashes) -> dict[str, Any]:
    """Build what the manifest says of a pulled estimator, beside its models."""
    enlarged = f", enlarged to {entry.input.side} pixels" if entry.input.side != CROP_SIDE else ""
    licences = {
        name.partition(":")[0]: f"{licence.name}: {licence.statement}"
        for name, licence in entry.licences.by_name().items()
    }
    return {
        "title": entry.title,
        "domain": entry.domain,
        "modalities": [Modality.FACE],
        "preprocessing": f"{ARCFACE_CROPS}{enlarged}",
        "smoothing_seconds": entry.smoothing_seconds,
        "calibration": {
            "meaning": StdMeaning.PUBLISHED_ERROR,
            "floor": list(entry.published_error),
        },
        "classes": list(entry.classes),
        "head_features": HEAD_FEATURES,
        "licences": licences,
        "figures": [figure.model_dump(mode="json") for figure in entry.figures],
        "training": "imported",
        "notes": list(entry.notes),
        "source": _build_source(entry, hashes),
    }


def build_pulled_origin(entry: CatalogueEntry, hashes: FileHashes) -> dict[str, Any]:
    """Build the origin of the weights of a pulled model."""
    return {
        "training": "imported",
        "kind": entry.architecture,
        "source": _build_source(entry, hashes),
    }


def _build_source(entry: CatalogueEntry, hashes: FileHashes) -> dict[str, Any]:
    return {"url": entry.url, "sha256": hashes.sha256, "bytes": hashes.size}
