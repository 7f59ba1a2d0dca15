"""Import of published expression networks as visual backbones, without their classes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from training.importers.backbone import ImportedBackbone
from training.importers.layouts import BackboneKind, VggishFlags
from training.importers.onnx_matching import load_onnx
from training.networks.efficientnet import EfficientNet
from training.networks.mobilefacenet import MobileFaceNet

_ONNX_NETWORKS: Final[Mapping[BackboneKind, Callable[[], nn.Module]]] = {
    BackboneKind.MOBILEFACENET: MobileFaceNet,
    BackboneKind.EFFICIENTNET: EfficientNet,
}
_HEAD_PREFIX: Final = "head."


def import_published(kind: BackboneKind, file: Path) -> ImportedBackbone:
    """Read a published network's ONNX file.

    Raises: ImportRefused: the file cannot be read, is of another network, or has weights that are
        not finite.
    """
    network = _ONNX_NETWORKS[kind]()
    load_onnx(network, file)
    whole: dict[str, Tensor] = network.state_dict()
    state = {f"network.{k}": v for k, v in whole.items() if not k.startswith(_HEAD_PREFIX)}
    content = file.read_bytes()
    flags = VggishFlags()
    record: dict[str, Any] = {
        "kind": str(kind),
        "flags": asdict(flags),
        "source": {
            "file": file.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        },
        "weights": {"name": file.name, "averaged": False},
        "unwrapped": [],
        "keys": {
            "matched": len(state),
            "ignored": [key for key in whole if key.startswith(_HEAD_PREFIX)],
        },
    }
    return ImportedBackbone(kind=kind, flags=flags, state=state, record=record)
