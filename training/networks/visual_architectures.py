"""Architectures of the visual backbone: the paper's IResNet, and published networks for faces.

Each maps (B, 3, 112, 112) float32 in [-1, 1] to (B, 512). A further one is an entry of
PUBLISHED_ARCHITECTURES, and of the importers if it has public weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from service.domain.model_signatures import FACE_FEATURES
from training.networks import efficientnet
from training.networks.iresnet import IResNet, IResNetConfig
from training.networks.published_backbones import (
    PROJECTION_PREFIX,
    EfficientNetFeatures,
    MobileFaceFeatures,
    PublishedBackbone,
)

UnfreezeStages = tuple[tuple[str, ...], ...]
"""Prefixes of the parameters that are unfrozen, stage by stage, in a pre-trained backbone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedConfig:
    """A published network as the visual backbone.

    architecture: key of PUBLISHED_ARCHITECTURES. frozen: its weights stay as they were published,
    and only the projection of its features is trained.
    """

    architecture: str
    frozen: bool = False


VisualConfig = IResNetConfig | PublishedConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedArchitecture:
    """A published network: crops to features. stages: prefixes of its keys, from its end."""

    build: Callable[[], nn.Module]
    features: int
    stages: UnfreezeStages


def _build_expression_features() -> nn.Module:
    # here, since what is served by `training.expression` imports this module
    from training.expression.features import ExpressionFeatures

    return ExpressionFeatures()


PUBLISHED_ARCHITECTURES: Final[Mapping[str, PublishedArchitecture]] = {
    "mobilefacenet": PublishedArchitecture(
        build=MobileFaceFeatures,
        features=FACE_FEATURES,
        stages=(("embedding.", "pool.", "last."), ("stages.12.", "stages.13.", "stages.14.")),
    ),
    "efficientnet_b0": PublishedArchitecture(
        build=EfficientNetFeatures,
        features=efficientnet.FEATURES,
        stages=(("last.", "blocks.15."), ("blocks.11.", "blocks.12.", "blocks.13.", "blocks.14.")),
    ),
    "expression": PublishedArchitecture(
        build=_build_expression_features,
        features=384,
        stages=(("mini.blocks.3.", "dense.blocks.3."), ("mini.blocks.2.", "dense.blocks.2.")),
    ),
}
_IRESNET_STAGES: Final[UnfreezeStages] = (
    ("features.", "fc.", "bn2.", "attention."),
    ("layer4.",),
    ("layer3.",),
    ("layer2.",),
)


def build_visual_network(config: VisualConfig) -> nn.Module:
    """Build a visual backbone, untrained."""
    if isinstance(config, IResNetConfig):
        return IResNet(config)
    architecture = PUBLISHED_ARCHITECTURES[config.architecture]
    return PublishedBackbone(architecture.build(), architecture.features)


def parse_visual_config(values: Mapping[str, Any]) -> VisualConfig:
    """Parse the fields of a configuration; without an architecture it is an IResNet's."""
    return PublishedConfig(**values) if "architecture" in values else IResNetConfig(**values)


def list_unfreeze_stages(config: VisualConfig) -> UnfreezeStages:
    """List the stages of a pre-trained backbone; a frozen one has none but its projection."""
    if isinstance(config, IResNetConfig):
        return _IRESNET_STAGES
    if config.frozen:
        return ((PROJECTION_PREFIX,),)
    first, *others = PUBLISHED_ARCHITECTURES[config.architecture].stages
    return (
        (PROJECTION_PREFIX, *_add_prefix(first)),
        *(_add_prefix(stage) for stage in others),
    )


def _add_prefix(stage: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"network.{prefix}" for prefix in stage)
