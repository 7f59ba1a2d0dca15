"""The estimator `expression`: its networks against the packages' own runtimes, and what is served.

`expression_golden.json` holds what the packages compute themselves, Keras for `fer` and
TensorFlow.js for face-api, for patterns that `draw_pattern` draws.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service.domain.array_types import UInt8Array
from service.domain.estimator import Domain, EstimatorId
from service.domain.media import Flag
from service.domain.model_signatures import CROP_SIDE, FACE_FEATURES
from service.settings import Settings
from training.export import ExportTarget, script_model
from training.expression import dense_expression_net, mini_xception
from training.expression.classes import CLASSES, PLACES, order_of
from training.expression.dense_expression_net import DENSE_NET_CLASSES
from training.expression.errors import ExpressionWeightsInvalid, ExpressionWeightsMissing
from training.expression.estimator import UNCERTAINTY, build_expression_models, export_expression
from training.expression.keras_weights import load_mini_xception
from training.expression.mini_xception import MINI_XCEPTION_CLASSES
from training.expression.serving import (
    HEAD_FEATURES,
    ExpressionConfig,
    ServedExpressionFusion,
    SquareView,
)
from training.expression.tfjs_weights import dequantise, load_dense_net
from training.expression.weight_files import DENSE_NET_FILE, MINI_XCEPTION_FILE

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / Settings().runtime_dir / "expression"
GOLDEN = json.loads(Path(__file__).with_name("expression_golden.json").read_bytes())
CROPS = 9
FRAMES = 4


def draw_pattern(number: int, side: int) -> UInt8Array:
    """Draw waves of light and colour, (side, side, 3)."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    channels: list[Any] = []
    for channel in range(3):
        waves = sum(
            np.sin(
                6.2831853
                * (
                    (wave * (number + 1) % 5 + 0.5) * rows
                    + ((wave + number + channel) % 4 - 1.5) * columns
                )
                + wave * number
                + channel
            )
            / (wave + 1)
            for wave in range(4)
        )
        channels.append(np.rint(127.5 + 60 * waves).clip(0, 255))
    return np.stack(channels, axis=-1).astype(np.uint8)


def make_crops(count: int) -> Tensor:
    patterns = [draw_pattern(number, CROP_SIDE) for number in range(count)]
    return torch.from_numpy(np.stack(patterns).transpose(0, 3, 1, 2).copy())


def make_embedding(mini: str, dense: str) -> Tensor:
    """The embedding of a face for which each network is sure of a class, (512,)."""
    embedding = torch.zeros(FACE_FEATURES)
    embedding[7 + CLASSES.index(mini)] = 1.0
    embedding[14 + CLASSES.index(dense)] = 1.0
    return embedding


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    return build_expression_models(FOLDER)


@pytest.fixture(scope="module")
def scripted(models: dict[str, nn.Module]) -> dict[str, torch.jit.ScriptModule]:
    return {slot: script_model(model) for slot, model in models.items()}


def run_as_served(model: torch.jit.ScriptModule, *inputs: Tensor) -> Any:
    """Call a model as Triton does: run-time optimisation would make the first calls slow."""
    with cast("Any", torch.jit).optimized_execution(False):
        return model(*inputs)


@torch.inference_mode()
def test_mini_xception_computes_what_keras_computes() -> None:
    patterns = [draw_pattern(each, mini_xception.INPUT_SIDE) for each in GOLDEN["patterns"]]
    grey = torch.from_numpy(np.stack(patterns)[:, None, :, :, 1]).float() / 127.5 - 1.0
    computed = torch.softmax(load_mini_xception(FOLDER)(grey), dim=1)
    expected = torch.tensor(GOLDEN["mini_xception"])
    # 1e-6 was measured; another processor may order its sums otherwise
    torch.testing.assert_close(computed, expected, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_dense_net_computes_what_tensorflow_js_computes() -> None:
    patterns = [draw_pattern(each, dense_expression_net.INPUT_SIDE) for each in GOLDEN["patterns"]]
    colour = torch.from_numpy(np.stack(patterns).transpose(0, 3, 1, 2).copy()).float()
    computed = torch.softmax(load_dense_net(FOLDER)(colour), dim=1)
    expected = torch.tensor(GOLDEN["dense_expression_net"])
    # 5e-6 was measured
    torch.testing.assert_close(computed, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("load", "name"),
    [(load_mini_xception, MINI_XCEPTION_FILE), (load_dense_net, DENSE_NET_FILE)],
    ids=["mini_xception", "dense_net"],
)
def test_missing_and_changed_weights_are_refused(
    tmp_path: Path, load: Callable[[Path], nn.Module], name: str
) -> None:
    for file in FOLDER.iterdir():
        if file.is_file() and file.name != name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ExpressionWeightsMissing, match=name):
        load(tmp_path)
    changed = bytearray((FOLDER / name).read_bytes())
    changed[-1] ^= 1
    (tmp_path / name).write_bytes(changed)
    with pytest.raises(ExpressionWeightsInvalid, match=name):
        load(tmp_path)


def test_quantised_and_plain_tensors_are_read_in_order() -> None:
    scaling = {"dtype": "uint8", "scale": 0.5, "min": -1.0}
    manifest = [
        {
            "weights": [
                {"name": "a", "shape": [2, 1], "dtype": "float32", "quantization": scaling},
                {"name": "b", "shape": [1], "dtype": "float32"},
            ]
        }
    ]
    content = bytes([0, 4]) + np.float32(0.25).tobytes()
    arrays = dequantise(manifest, content)
    assert {name: values.tolist() for name, values in arrays.items()} == {
        "a": [[-1.0], [1.0]],
        "b": [0.25],
    }
    for damaged in (content[:-1], content + b"\0"):
        with pytest.raises(ExpressionWeightsInvalid):
            dequantise(manifest, damaged)


@torch.inference_mode()
def test_an_embedding_holds_the_mean_and_both_networks_in_one_order(
    models: dict[str, nn.Module],
) -> None:
    config, crops = ExpressionConfig(), make_crops(FRAMES)
    embeddings = models["visual_backbone"](crops)
    square = SquareView(config, dense_expression_net.INPUT_SIDE)(crops.float())
    logits = load_dense_net(FOLDER)(square) / config.dense_temperature
    dense = torch.softmax(logits, dim=1)[:, order_of(DENSE_NET_CLASSES)]
    torch.testing.assert_close(embeddings[:, 14:21], dense, rtol=0, atol=1e-5)
    view = SquareView(config, mini_xception.INPUT_SIDE)(crops.float())
    grey = (view * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    logits = load_mini_xception(FOLDER)(grey / 127.5 - 1) / config.mini_temperature
    mini = torch.softmax(logits, dim=1)[:, order_of(MINI_XCEPTION_CLASSES)]
    torch.testing.assert_close(embeddings[:, 7:14], mini, rtol=0, atol=1e-5)
    torch.testing.assert_close(embeddings[:, :7], (mini + dense) / 2, rtol=0, atol=1e-5)
    assert embeddings.shape == (FRAMES, FACE_FEATURES)
    assert not embeddings[:, HEAD_FEATURES:].any()


@torch.inference_mode()
def test_only_the_square_of_the_crop_is_seen(models: dict[str, nn.Module]) -> None:
    crops = make_crops(2)
    framed = crops.clone()
    framed[:, :, :8], framed[:, :, :, :4], framed[:, :, :, 108:] = 0, 0, 255
    backbone = models["visual_backbone"]
    assert torch.equal(backbone(crops), backbone(framed))


@torch.inference_mode()
def test_expression_embeddings_are_bit_identical_in_every_batch(
    scripted: dict[str, torch.jit.ScriptModule],
) -> None:
    crops, backbone = make_crops(CROPS), scripted["visual_backbone"]
    live_backbone = scripted["live_visual_backbone"]
    alone = torch.cat([run_as_served(backbone, crop[None]) for crop in crops])
    for size in (3, 4, CROPS):
        last = crops[-size:]
        assert torch.equal(alone[-size:], run_as_served(backbone, last)), size
        assert torch.equal(alone[-size:], run_as_served(live_backbone, last)), size


@torch.inference_mode()
def test_scripted_models_compute_what_the_modules_compute(
    models: dict[str, nn.Module], scripted: dict[str, torch.jit.ScriptModule]
) -> None:
    crops = make_crops(FRAMES)
    visual = models["visual_backbone"](crops)
    # folded batch norms
    served = run_as_served(scripted["visual_backbone"], crops)
    torch.testing.assert_close(served, visual, rtol=0, atol=1e-5)
    inputs = (visual, torch.zeros(FRAMES, 128), torch.tensor([True, False, True, True]))
    for plain, frozen in zip(models["fusion"](*inputs), scripted["fusion"](*inputs), strict=True):
        assert torch.equal(plain, frozen)


@torch.inference_mode()
def test_streams_and_clips_are_fused_alike(scripted: dict[str, torch.jit.ScriptModule]) -> None:
    visual = run_as_served(scripted["visual_backbone"], make_crops(FRAMES))
    audio, mask = torch.zeros(FRAMES, 128), torch.tensor([False, True, True, True])
    live = scripted["live_fusion"](visual[None], audio[None], mask[None])
    for clip_output, live_output in zip(scripted["fusion"](visual, audio, mask), live, strict=True):
        assert torch.equal(clip_output, live_output[0])


@pytest.mark.parametrize("name", CLASSES)
@torch.inference_mode()
def test_a_sure_class_is_at_its_published_place(name: str) -> None:
    embedding = make_embedding(name, name)[None]
    mean, spread = ServedExpressionFusion()(embedding, torch.zeros(1, 128), torch.ones(1).bool())
    assert mean[0].tolist() == pytest.approx(PLACES[name])
    assert not spread.any()


@torch.inference_mode()
def test_networks_that_disagree_are_averaged_and_widen_the_standard_deviation() -> None:
    embeddings = torch.stack(
        [make_embedding("happiness", "sadness"), make_embedding("fear", "fear")]
    )
    mean, spread = ServedExpressionFusion()(embeddings, torch.zeros(2, 128), torch.ones(2).bool())
    assert mean[0].tolist() == pytest.approx([0.09, 0.12])
    # half of the distance of (.81, .51) and (-.63, -.27)
    assert spread[0].tolist() == pytest.approx([0.72, 0.39])
    deviations = UNCERTAINTY.compute_std(mean.numpy(), spread.numpy(), np.zeros((2, 4)))
    sample = [math.sqrt(2) * 0.72, math.sqrt(2) * 0.39]
    assert deviations[0].tolist() == pytest.approx(
        [math.hypot(sample[0], 0.447), math.hypot(sample[1], 0.387)]
    )
    assert deviations[1].tolist() == pytest.approx([0.447, 0.387])


@torch.inference_mode()
def test_masked_frames_are_zero_and_change_no_others() -> None:
    embedding, mask = make_embedding("anger", "disgust"), torch.tensor([True, False])
    fusion = ServedExpressionFusion()
    for hidden in (make_embedding("happiness", "surprise"), torch.full((FACE_FEATURES,), math.nan)):
        mean, spread = fusion(torch.stack([embedding, hidden]), torch.zeros(2, 128), mask)
        alone = fusion(embedding[None], torch.zeros(1, 128), mask[:1])
        assert torch.equal(mean[0], alone[0][0])
        assert torch.equal(spread[0], alone[1][0])
        assert not mean[1].any()
        assert not spread[1].any()


def test_the_manifest_names_what_it_is_and_what_was_never_measured(tmp_path: Path) -> None:
    target = ExportTarget(repository=tmp_path, estimator=EstimatorId("expression", 1))
    manifest = export_expression(target, FOLDER)
    assert (manifest.domain, manifest.has_voice) == (Domain.PHOTOGRAPHS, False)
    assert manifest.flags == {Flag.WEIGHTS_UNMEASURED}
    assert (manifest.classes, manifest.head_features) == (CLASSES, 21)
    assert "MIT" in manifest.licences.weights
    assert manifest.uncertainty == UNCERTAINTY
    written = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    export_expression(target, FOLDER)
    assert {file: file.stat().st_mtime_ns for file in written} == written
