"""What the public files hold: their keys and shapes, and where each tensor goes in our networks."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import torch
from torch import Tensor, nn

from training.networks.iresnet import IResNet, IResNetConfig
from training.networks.vggish import Vggish, VggishConfig


class Kind(StrEnum):
    """The kinds of public weights that can be imported."""

    ARCFACE = "arcface-iresnet50"
    """ArcFace-torch's IResNet-50, `backbone.pth`."""
    VGGISH = "vggish"
    """torchvggish's VGGish."""
    EMOTION = "emotion-ir50"
    """IR-50 trained on FER+ by the ABAW3 and ABAW5 pipelines, `res50_ir_0.887.pth`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """How an imported VGGish ends."""

    final_relu: bool = False
    pca: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The tensors of one kind of file.

    `keys` maps a public key to ours, `shapes` a public key to its shape; public
    keys that match `left_out` belong to other parts and are not imported.
    """

    keys: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    left_out: re.Pattern[str]


ARCFACE: Final = IResNetConfig(attention=False)
"""Public weights know no LA-SE; it is added, untrained, where training starts from them."""
EMOTION: Final = replace(
    ARCFACE,
    scaled_side=48,
    input_side=40,
    first_stride=1,
    inner_norm=False,
    unit_length=True,
    dropout=0.4,
)
"""The lineage's IR-50 on the middle 40 x 40 of a 48 x 48 face [L]; our crop as that face is [I]."""

_EMOTION_STEM: Final = {
    "conv1": "input_layer.0",
    "bn1": "input_layer.1",
    "prelu": "input_layer.2",
    "bn2": "output_layer.0",
    "fc": "output_layer.3",
    "features": "output_layer.4",
}
_EMOTION_BLOCK: Final = {
    "bn1": "res_layer.0",
    "conv1": "res_layer.1",
    "prelu": "res_layer.2",
    "conv2": "res_layer.3",
    "bn3": "res_layer.4",
    "downsample.0": "shortcut_layer.0",
    "downsample.1": "shortcut_layer.1",
}


def configure(kind: Kind, flags: Flags) -> IResNetConfig | VggishConfig:
    """The settings under which our network is the public one."""
    if kind is Kind.VGGISH:
        return VggishConfig(final_relu=flags.final_relu, whitened=flags.pca)
    return EMOTION if kind is Kind.EMOTION else ARCFACE


def outline(config: IResNetConfig | VggishConfig) -> IResNet | Vggish:
    """The network of these settings without weights: its tensors are on the meta device."""
    with torch.device("meta"):
        return IResNet(config) if isinstance(config, IResNetConfig) else Vggish(config)


def build_layout(kind: Kind) -> Layout:
    """The public layout of this kind, derived from our network and the key rules above."""
    network = outline(configure(kind, Flags()))
    if kind is Kind.EMOTION:
        return _layout(network, _emotion_keys(network), left_out=r"logits\.(weight|bias)")
    same = {key: key for key in network.state_dict()}
    return _layout(network, same, left_out=r"pproc\..*" if kind is Kind.VGGISH else r"(?!)")


def _layout(network: nn.Module, keys: dict[str, str], *, left_out: str) -> Layout:
    state: dict[str, Tensor] = network.state_dict()
    return Layout(
        keys=keys,
        shapes={public: tuple(state[ours].shape) for public, ours in keys.items()},
        left_out=re.compile(left_out),
    )


def _emotion_keys(network: nn.Module) -> dict[str, str]:
    """Public keys number the blocks through; ours count anew in every stage."""
    keys: dict[str, str] = {}
    blocks: dict[str, int] = {}
    for key in network.state_dict():
        in_block = re.fullmatch(r"(layer\d\.\d+)\.(downsample\.\d|\w+)\.(\w+)", key)
        if in_block:
            block, part, leaf = in_block.groups()
            number = blocks.setdefault(block, len(blocks))
            keys[f"body.{number}.{_EMOTION_BLOCK[part]}.{leaf}"] = key
        else:
            part, leaf = key.split(".")
            keys[f"{_EMOTION_STEM[part]}.{leaf}"] = key
    return keys
