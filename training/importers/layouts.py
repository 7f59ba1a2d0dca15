"""Layouts of the public weight files: keys, shapes, and the mapping to this project's keys."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import torch
from torch import Tensor, nn

from training.networks.iresnet import IResNetConfig
from training.networks.vggish import Vggish, VggishConfig
from training.networks.visual_architectures import (
    PublishedConfig,
    VisualConfig,
    build_visual_network,
)


class BackboneKind(StrEnum):
    """The kinds of public weights that can be imported."""

    ARCFACE = "arcface-iresnet50"
    """ArcFace-torch's IResNet-50, `backbone.pth`."""
    VGGISH = "vggish"
    """torchvggish's VGGish."""
    EMOTION = "emotion-ir50"
    """IR-50 trained on FER+ by the ABAW3 and ABAW5 pipelines, `res50_ir_0.887.pth`."""
    MOBILEFACENET = "mbf-va-mtl"
    """EmotiEffLib's MobileFaceNet, `mbf_va_mtl.onnx`."""
    EFFICIENTNET = "enet-b0-8-va-mtl"
    """EmotiEffLib's EfficientNet-B0, `enet_b0_8_va_mtl.onnx`."""
    EXPRESSION = "expression"
    """Both networks of the estimator `expression`: the folder that set-up fetches them into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VggishFlags:
    """Final layers of an imported VGGish."""

    final_relu: bool = False
    pca: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLayout:
    """Tensors of one kind of file.

    `keys` maps public keys to this project's keys, `shapes` public keys to shapes; public keys that
    match `ignored_keys` belong to other parts and are not imported.
    """

    keys: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    ignored_keys: re.Pattern[str]


ARCFACE_CONFIG: Final = IResNetConfig(attention=False)
"""Public weights have no LA-SE; training that starts from them adds it untrained."""
EMOTION_CONFIG: Final = replace(
    ARCFACE_CONFIG,
    scaled_side=48,
    input_side=40,
    first_stride=1,
    inner_norm=False,
    unit_length=True,
    dropout=0.4,
)
"""The lineage's IR-50 on the central 40 x 40 of a 48 x 48 face [L]; our crop as that face [I]."""

_EMOTION_STEM_KEYS: Final = {
    "conv1": "input_layer.0",
    "bn1": "input_layer.1",
    "prelu": "input_layer.2",
    "bn2": "output_layer.0",
    "fc": "output_layer.3",
    "features": "output_layer.4",
}
_EMOTION_BLOCK_KEYS: Final = {
    "bn1": "res_layer.0",
    "conv1": "res_layer.1",
    "prelu": "res_layer.2",
    "conv2": "res_layer.3",
    "bn3": "res_layer.4",
    "downsample.0": "shortcut_layer.0",
    "downsample.1": "shortcut_layer.1",
}


PUBLISHED_CONFIGS: Final = {
    BackboneKind.MOBILEFACENET: PublishedConfig(architecture="mobilefacenet"),
    BackboneKind.EFFICIENTNET: PublishedConfig(architecture="efficientnet_b0"),
    BackboneKind.EXPRESSION: PublishedConfig(architecture="expression"),
}
"""Of the kinds that are read by `training.importers.published`."""


def build_config(kind: BackboneKind, flags: VggishFlags) -> VisualConfig | VggishConfig:
    """Return the configuration under which this project's network equals the public one."""
    if kind in PUBLISHED_CONFIGS:
        return PUBLISHED_CONFIGS[kind]
    if kind is BackboneKind.VGGISH:
        return VggishConfig(final_relu=flags.final_relu, whitened=flags.pca)
    return EMOTION_CONFIG if kind is BackboneKind.EMOTION else ARCFACE_CONFIG


def build_meta_network(config: VisualConfig | VggishConfig) -> nn.Module:
    """Build a network without weights: its tensors are on the meta device."""
    with torch.device("meta"):
        return Vggish(config) if isinstance(config, VggishConfig) else build_visual_network(config)


def build_layout(kind: BackboneKind) -> KeyLayout:
    """Derive the public layout of a kind from this project's network and the key tables above."""
    network = build_meta_network(build_config(kind, VggishFlags()))
    if kind is BackboneKind.EMOTION:
        return _build_key_layout(
            network, _map_emotion_keys(network), ignored_keys=r"logits\.(weight|bias)"
        )
    same = {key: key for key in network.state_dict()}
    return _build_key_layout(
        network, same, ignored_keys=r"pproc\..*" if kind is BackboneKind.VGGISH else r"(?!)"
    )


def _build_key_layout(network: nn.Module, keys: dict[str, str], *, ignored_keys: str) -> KeyLayout:
    state: dict[str, Tensor] = network.state_dict()
    return KeyLayout(
        keys=keys,
        shapes={public_key: tuple(state[key].shape) for public_key, key in keys.items()},
        ignored_keys=re.compile(ignored_keys),
    )


def _map_emotion_keys(network: nn.Module) -> dict[str, str]:
    """Map public keys, which number the blocks consecutively, to keys numbered per stage."""
    keys: dict[str, str] = {}
    blocks: dict[str, int] = {}
    for key in network.state_dict():
        in_block = re.fullmatch(r"(layer\d\.\d+)\.(downsample\.\d|\w+)\.(\w+)", key)
        if in_block:
            block, part, leaf = in_block.groups()
            number = blocks.setdefault(block, len(blocks))
            keys[f"body.{number}.{_EMOTION_BLOCK_KEYS[part]}.{leaf}"] = key
        else:
            part, leaf = key.split(".")
            keys[f"{_EMOTION_STEM_KEYS[part]}.{leaf}"] = key
    return keys
