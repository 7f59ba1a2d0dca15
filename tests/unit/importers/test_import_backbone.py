"""Import of public weights: kinds, mismatches, conversions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.importers import public_layouts as public
from training.importers.errors import LayoutMismatch, WeightsNotFinite
from training.importers.import_backbone import import_backbone
from training.importers.layouts import BackboneKind

LAYOUTS: dict[BackboneKind, Callable[[], public.Shapes]] = {
    BackboneKind.ARCFACE: public.arcface_iresnet50,
    BackboneKind.EMOTION: public.emotion_ir50,
    BackboneKind.VGGISH: public.vggish,
}


def import_and_catch(kind: BackboneKind, shapes: public.Shapes, folder: Path) -> LayoutMismatch:
    torch.save(public.make_zero_state_dict(shapes), folder / "file.pth")
    with pytest.raises(LayoutMismatch) as caught:
        import_backbone(kind, folder / "file.pth")
    return caught.value


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("other", LAYOUTS)
def test_a_file_of_another_kind_is_refused_with_its_kind(
    kind: BackboneKind, other: BackboneKind, tmp_path: Path
) -> None:
    if kind is not other:
        message = str(import_and_catch(kind, LAYOUTS[other](), tmp_path))
        assert f"is not {kind}" in message
        assert f"looks like --kind {other}." in message


@pytest.mark.parametrize("kind", LAYOUTS)
def test_an_imagenet_resnet_is_refused_by_its_name(kind: BackboneKind, tmp_path: Path) -> None:
    error = import_and_catch(kind, public.imagenet_resnet50(), tmp_path)
    assert "It looks like a ResNet-50 for ImageNet." in str(error)


def test_similar_architectures_are_refused_by_name(tmp_path: Path) -> None:
    deeper = public.arcface_iresnet50() | {f"layer3.{i}.conv1.weight": (1,) for i in range(14, 30)}
    assert "ArcFace's IResNet-100" in str(import_and_catch(BackboneKind.ARCFACE, deeper, tmp_path))
    with_se = public.emotion_ir50() | {"backbone.body.0.res_layer.5.fc1.weight": (4, 64, 1, 1)}
    assert "IR-SE-50" in str(import_and_catch(BackboneKind.EMOTION, with_se, tmp_path))
    at_112 = public.emotion_ir50() | {"backbone.output_layer.3.weight": (512, 25_088)}
    assert "face recognition at 112 x 112" in str(
        import_and_catch(BackboneKind.EMOTION, at_112, tmp_path)
    )
    pca: public.Shapes = {"pca_eigen_vectors": (128, 128), "pca_means": (128,)}
    assert "--pca" in str(import_and_catch(BackboneKind.VGGISH, pca, tmp_path))
    unknown: public.Shapes = {"encoder.weight": (3, 3)}
    assert "none of the networks known here" in str(
        import_and_catch(BackboneKind.VGGISH, unknown, tmp_path)
    )


def test_every_key_without_a_partner_is_reported(tmp_path: Path) -> None:
    shapes = public.vggish() | {"embeddings.4.weight": (64, 4096), "extra": (2,)}
    del shapes["features.0.bias"]
    error = import_and_catch(BackboneKind.VGGISH, shapes, tmp_path)
    assert error.report["missing"] == ["features.0.bias"]
    assert error.report["unexpected"] == ["extra"]
    assert error.report["wrong_shape"] == ["embeddings.4.weight: (64, 4096) instead of (128, 4096)"]
    assert error.report["matched"] == 16
    assert "incomplete or changed --kind vggish: 89% of its keys fit" in str(error)


def test_classifier_of_the_emotion_backbone_is_left_out_and_reported(
    emotion_file: Path,
) -> None:
    backbone = import_backbone(BackboneKind.EMOTION, emotion_file)
    assert backbone.record["keys"]["left_out"] == ["logits.weight", "logits.bias"]
    assert backbone.record["keys"]["matched"] == 349
    assert backbone.record["unwrapped"] == ["backbone."]


def add_prefix(shapes: public.Shapes, prefix: str) -> public.Shapes:
    return {f"{prefix}{key}": shape for key, shape in shapes.items()}


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("prefix", ["model.", "ema_model.module."])
def test_a_lightning_checkpoint_of_each_kind_is_imported(
    kind: BackboneKind, prefix: str, tmp_path: Path
) -> None:
    state = public.make_zero_state_dict(add_prefix(LAYOUTS[kind](), prefix))
    content = {"state_dict": state | {"loss.weight": torch.ones(2)}, "hyper_parameters": {"lr": 1}}
    torch.save(content, tmp_path / "file.ckpt")
    record = import_backbone(kind, tmp_path / "file.ckpt").record
    assert record["weights"]["averaged"] == prefix.startswith("ema")
    assert record["unwrapped"][0] == "state_dict"
    assert record["unwrapped"][1].startswith(prefix)
    assert "loss.weight" in record["keys"]["left_out"]


@pytest.mark.parametrize("prefix", ["backbone.", "module.backbone."])
def test_a_whole_model_with_an_fc_of_its_own_gives_its_backbone(
    prefix: str, tmp_path: Path
) -> None:
    own = {f"{prefix.removesuffix('backbone.')}fc.{leaf}": (2, 512) for leaf in ("weight", "bias")}
    whole = add_prefix(public.arcface_iresnet50(), prefix) | own
    torch.save(public.make_zero_state_dict(whole), tmp_path / "file.pth")
    backbone = import_backbone(BackboneKind.ARCFACE, tmp_path / "file.pth")
    assert backbone.record["keys"]["left_out"] == list(own)
    assert backbone.state["fc.weight"].shape == (512, 25_088)


def test_a_backbone_whose_fc_became_the_classifier_is_refused_with_that_reason(
    tmp_path: Path,
) -> None:
    replaced = public.arcface_iresnet50() | {"fc.weight": (2, 512), "fc.bias": (2,)}
    message = str(import_and_catch(BackboneKind.ARCFACE, add_prefix(replaced, "net."), tmp_path))
    assert "Its best part is net." in message
    assert "fc.weight: (2, 512) instead of (512, 25088)" in message
    assert "Its embedding layer was replaced or removed" in message
    removed = {k: v for k, v in public.arcface_iresnet50().items() if not k.startswith("fc.")}
    headed = add_prefix(removed, "backbone.") | {"fc.weight": (512, 25_088), "fc.bias": (512,)}
    message = str(import_and_catch(BackboneKind.ARCFACE, headed, tmp_path))
    assert "2 keys are missing: fc.weight, fc.bias." in message
    assert "Its best part is backbone." in message


def test_counters_that_old_files_lack_are_filled(tmp_path: Path) -> None:
    state = public.make_zero_state_dict(public.arcface_iresnet50())
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "file.pth")
    backbone = import_backbone(BackboneKind.ARCFACE, tmp_path / "file.pth")
    assert len(backbone.record["keys"]["filled"]) == len(state) - len(old)
    assert int(backbone.state["bn1.num_batches_tracked"]) == 0


def test_half_precision_is_widened_and_reported(tmp_path: Path) -> None:
    state = public.make_zero_state_dict(public.vggish()) | {
        "features.0.bias": torch.full((64,), 0.1).half()
    }
    torch.save(state, tmp_path / "file.pth")
    backbone = import_backbone(BackboneKind.VGGISH, tmp_path / "file.pth")
    assert backbone.record["keys"]["converted"] == ["features.0.bias: float16"]
    assert torch.equal(backbone.state["features.0.bias"], torch.full((64,), 0.1).half().float())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights_are_refused(value: float, tmp_path: Path) -> None:
    state = public.make_zero_state_dict(public.vggish()) | {
        "features.3.bias": torch.full((128,), value)
    }
    torch.save(state, tmp_path / "file.pth")
    with pytest.raises(WeightsNotFinite, match=r"features\.3\.bias"):
        import_backbone(BackboneKind.VGGISH, tmp_path / "file.pth")


def test_a_pca_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    torch.save(public.make_zero_state_dict(public.vggish()), tmp_path / "file.pth")
    np.savez(tmp_path / "pca.npz", pca_eigen_vectors=np.zeros((64, 128)), pca_means=np.zeros(128))
    with pytest.raises(LayoutMismatch, match=r"\(64, 128\)"):
        import_backbone(BackboneKind.VGGISH, tmp_path / "file.pth", pca=tmp_path / "pca.npz")
    with pytest.raises(LayoutMismatch, match="no PCA parameters"):
        import_backbone(BackboneKind.VGGISH, tmp_path / "file.pth", pca=tmp_path / "file.pth")


def test_a_whole_torchvggish_model_is_read_with_its_own_pca(tmp_path: Path) -> None:
    whole = public.vggish() | {"pproc.pca_eigen_vectors": (128, 128), "pproc.pca_means": (128, 1)}
    torch.save(public.make_zero_state_dict(whole), tmp_path / "file.pth")
    backbone = import_backbone(
        BackboneKind.VGGISH, tmp_path / "file.pth", pca=tmp_path / "file.pth"
    )
    assert tuple(backbone.state["whitening.means"].shape) == (128,)
    assert len(backbone.record["keys"]["left_out"]) == 2
