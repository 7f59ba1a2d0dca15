"""Diagnosis of a refused file: the network that its tensors seem to belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from torch import Tensor

from training.importers.key_matching import match_keys
from training.importers.layouts import BackboneKind, build_layout

Tensors = Mapping[str, Tensor]

_MIN_MATCHED_SHARE: Final = 0.5
"""Share of matching keys above which a kind is suggested."""


def diagnose_tensors(tensors: Tensors) -> str:
    """Describe in one sentence which network these tensors seem to belong to."""
    for kind in BackboneKind:
        if match_keys(tensors, build_layout(kind)).fits:
            return f"It looks like --kind {kind}."
    for name, recognise in _KNOWN_NETWORKS.items():
        if recognise(tensors):
            return f"It looks like {name}."
    kind, share = max(
        ((kind, _compute_matched_share(tensors, kind)) for kind in BackboneKind),
        key=lambda pair: pair[1],
    )
    if share > _MIN_MATCHED_SHARE:
        return f"It looks like an incomplete or changed --kind {kind}: {share:.0%} of its keys fit."
    return "It looks like none of the networks known here."


def _compute_matched_share(tensors: Tensors, kind: BackboneKind) -> float:
    layout = build_layout(kind)
    return match_keys(tensors, layout).matched / len(layout.shapes)


def _count_blocks(tensors: Tensors, stage: str) -> int:
    return len({key.split(".")[1] for key in tensors if key.startswith(f"{stage}.")})


def _iresnet_predicate(third_stage: int) -> Callable[[Tensors], bool]:
    return lambda tensors: (
        "layer1.0.prelu.weight" in tensors and _count_blocks(tensors, "layer3") == third_stage
    )


def _resnet_predicate(third_stage: int, last_convolution: int) -> Callable[[Tensors], bool]:
    return lambda tensors: (
        f"layer1.0.conv{last_convolution}.weight" in tensors
        and "layer1.0.prelu.weight" not in tensors
        and _count_blocks(tensors, "layer3") == third_stage
    )


def _has_key_suffix(suffix: str) -> Callable[[Tensors], bool]:
    return lambda tensors: any(key.endswith(suffix) for key in tensors)


def _is_arcface_ir50(tensors: Tensors) -> bool:
    weight = next((v for k, v in tensors.items() if k.endswith("output_layer.3.weight")), None)
    return weight is not None and tuple(weight.shape) == (512, 25_088)


_KNOWN_NETWORKS: Final[dict[str, Callable[[Tensors], bool]]] = {
    "a ResNet-50 for ImageNet": _resnet_predicate(6, 3),
    "a ResNet-101 for ImageNet": _resnet_predicate(23, 3),
    "a ResNet-152 for ImageNet": _resnet_predicate(36, 3),
    "a small ResNet for ImageNet": lambda tensors: (
        _resnet_predicate(2, 2)(tensors) or (_resnet_predicate(6, 2)(tensors))
    ),
    "ArcFace's IResNet-18": _iresnet_predicate(2),
    "ArcFace's IResNet-34": _iresnet_predicate(6),
    "ArcFace's IResNet-100": _iresnet_predicate(30),
    "IR-SE-50, which has channel attention in every block": _has_key_suffix(
        "res_layer.5.fc1.weight"
    ),
    "IR-50 for face recognition at 112 x 112, not yet trained on emotions": _is_arcface_ir50,
    "the PCA parameters of VGGish: give them as --pca beside VGGish's own file": _has_key_suffix(
        "pca_eigen_vectors"
    ),
    "a VGG for ImageNet": _has_key_suffix("classifier.6.weight"),
    "ArcFace's class centres, not its backbone": lambda tensors: set(tensors) == {"weight"},
}
