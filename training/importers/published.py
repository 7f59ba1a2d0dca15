"""Import of published expression networks as visual backbones, without their classes."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from training.expression.errors import ExpressionError
from training.expression.features import ExpressionFeatures
from training.expression.keras_weights import load_mini_xception
from training.expression.tfjs_weights import load_dense_net
from training.expression.weight_files import SHA256
from training.importers.backbone import ImportedBackbone
from training.importers.errors import CheckpointUnreadable
from training.importers.layouts import BackboneKind, VggishFlags
from training.importers.onnx_matching import load_onnx
from training.networks.efficientnet import EfficientNet
from training.networks.mobilefacenet import MobileFaceNet

_CLASS_LAYERS: Final = ("head.", "mini.classifier.", "dense.classifier.")
"""Keys of the layers that give classes, which a backbone has not."""


def import_published(kind: BackboneKind, file: Path) -> ImportedBackbone:
    """Read a published network: its ONNX file, or the folder of the packaged ones.

    Raises: ImportRefused: it cannot be read, is another network, or has weights that are not
        finite.
    """
    if kind is BackboneKind.EXPRESSION:
        whole, source = _read_packages(file)
    else:
        whole, source = _read_onnx_weights(kind, file)
    state = {f"network.{k}": v for k, v in whole.items() if not k.startswith(_CLASS_LAYERS)}
    flags = VggishFlags()
    record: dict[str, Any] = {
        "kind": str(kind),
        "flags": asdict(flags),
        "source": source,
        "weights": {"name": file.name, "averaged": False},
        "unwrapped": [],
        "keys": {
            "matched": len(state),
            "ignored": [key for key in whole if key.startswith(_CLASS_LAYERS)],
        },
    }
    return ImportedBackbone(kind=kind, flags=flags, state=state, record=record)


def _read_onnx_weights(
    kind: BackboneKind, file: Path
) -> tuple[dict[str, Tensor], dict[str, object]]:
    network = MobileFaceNet() if kind is BackboneKind.MOBILEFACENET else EfficientNet()
    load_onnx(network, file)
    content = file.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return network.state_dict(), {"file": file.name, "sha256": sha256, "bytes": len(content)}


def _read_packages(folder: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    features = ExpressionFeatures()
    try:
        features.mini.load_state_dict(load_mini_xception(folder).state_dict(), strict=False)
        features.dense.load_state_dict(load_dense_net(folder).state_dict(), strict=False)
    except ExpressionError as error:
        raise CheckpointUnreadable(str(error)) from error
    return features.state_dict(), {"files": dict(SHA256)}
