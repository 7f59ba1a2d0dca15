"""Diagnosis of a refused file: the network that its tensors seem to belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Final

from torch import Tensor

from training.importers.candidates import WeightsCandidate, find_candidates
from training.importers.checkpoint_file import CheckpointContents
from training.importers.layouts import BackboneKind, build_layout

Tensors = Mapping[str, Tensor]

_MIN_MATCHED_SHARE: Final = 0.5
"""Share of matching keys above which a kind is suggested."""
_EMBEDDING_KEYS: Final = ("fc.", "features.", "output_layer.", "embeddings.")
"""First parts of the keys of the layers that make an embedding of a map."""


def diagnose_checkpoint(checkpoint: CheckpointContents, best: WeightsCandidate) -> str:
    """Describe in one sentence which network a file without a fitting part seems to hold."""
    parts = {kind: find_candidates(checkpoint, build_layout(kind))[0] for kind in BackboneKind}
    for kind, part in parts.items():
        if part.report.fits:
            return f"It looks like --kind {kind}."
    networks = [best.tensors, *(each.tensors for each in checkpoint.state_dicts)]
    for name, recognise in _KNOWN_NETWORKS.items():
        if any(recognise(_remove_common_prefix(tensors)) for tensors in networks):
            return f"It looks like {name}."
    shares = {
        kind: part.report.matched / len(build_layout(kind).shapes) for kind, part in parts.items()
    }
    kind = max(shares, key=shares.__getitem__)
    if shares[kind] <= _MIN_MATCHED_SHARE:
        return "It looks like none of the networks known here."
    seeming = f"It looks like an incomplete or changed --kind {kind}: {shares[kind]:.0%}"
    return f"{seeming} of its keys fit.{_explain_head(parts[kind])}"


def _explain_head(part: WeightsCandidate) -> str:
    """Explain the commonest change: a classifier takes the place of the embedding layer."""
    differing = {key.split(":")[0] for key in (*part.report.missing, *part.report.wrong_shape)}
    if not differing or not all(key.startswith(_EMBEDDING_KEYS) for key in differing):
        return ""
    return (
        " Its embedding layer was replaced or removed, as for a classifier: "
        "the backbone needs the original one."
    )


def _remove_common_prefix(tensors: Tensors) -> Tensors:
    """Remove the modules that all keys begin with; a single key stays as it is."""
    if len(tensors) == 1:
        return tensors
    modules = [key.split(".")[:-1] for key in tensors]
    levels = zip(*modules, strict=False)
    depth = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, levels))
    return {".".join(key.split(".")[depth:]): tensor for key, tensor in tensors.items()}


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
