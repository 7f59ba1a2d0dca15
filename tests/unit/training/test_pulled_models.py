"""Pulled networks as estimators: their served models, held to ONNX Runtime, and their versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from service.domain.estimator import EstimatorId
from service.domain.media import Flag
from service.errors import ModelFileMismatch, ModelFileTooLarge
from service.estimators.repository import EstimatorRepository
from service.estimators.verification import FileVerifier
from service.model_catalogue.entries import CatalogueEntry, read_catalogue
from service.model_catalogue.file_hashes import hash_file
from tests.unit.importers.published_networks import (
    build_efficientnet,
    build_mobilefacenet,
    run_onnx,
)
from training.export import load_model, script_model
from training.importers.errors import ArchitectureMismatch
from training.pulled.build import build_pulled_models
from training.pulled.export_pulled import export_pulled

Array = npt.NDArray[Any]
TOLERANCE = 1e-5


def make_pulled_entry(name: str, file: Path) -> CatalogueEntry:
    """Entry of the catalogue with the hash of a file with random weights."""
    return (
        read_catalogue()
        .find(name)
        .model_copy(update={"git_blob_sha1": hash_file(file).git_blob_sha1})
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    onnx.save(build_mobilefacenet(batch_norms=False), folder / "mbf_va_mtl.onnx")
    onnx.save(build_efficientnet(padding="from_shape"), folder / "enet_b0_8_va_mtl.onnx")
    return folder


def preprocess(crops: Array, entry: CatalogueEntry) -> Array:
    """Preprocess crops as the publishers do, with OpenCV."""
    size = (entry.input.side, entry.input.side)
    scaled: list[Array] = [
        cv2.resize(crop.transpose(1, 2, 0).astype(np.float32) / 255, size, None) for crop in crops
    ]
    normalised = (np.stack(scaled) - np.array(entry.input.mean)) / np.array(entry.input.std)
    return normalised.transpose(0, 3, 1, 2).astype(np.float32)


@pytest.mark.parametrize("name", ["mbf_va_mtl", "enet_b0_8_va_mtl"])
def test_served_models_give_what_the_file_computes(name: str, folder: Path) -> None:
    file = folder / f"{name}.onnx"
    entry = make_pulled_entry(name, file)
    models = {slot: script_model(each) for slot, each in build_pulled_models(entry, file).items()}
    assert set(models) == {"visual_backbone", "live_visual_backbone", "fusion", "live_fusion"}
    crops = np.random.default_rng(2).integers(0, 256, (3, 3, 112, 112), dtype=np.uint8)
    expected = run_onnx(file, preprocess(crops, entry))
    with torch.inference_mode():
        features = models["visual_backbone"](torch.from_numpy(crops))
        alone = models["visual_backbone"](torch.from_numpy(crops[1:2]))
        mean, spread = models["fusion"](features, torch.zeros(3, 128), torch.tensor([True] * 3))
        live_mean, _ = models["live_fusion"](
            features[None], torch.zeros(1, 3, 128), torch.tensor([[True] * 3])
        )
    assert features.shape == (3, 512)
    scores = np.exp(expected[:, :8] - expected[:, :8].max(1, keepdims=True))
    probabilities = scores / scores.sum(1, keepdims=True)
    for found, values in (
        (features[:, :8], probabilities),
        (features[:, 8:10], expected[:, 8:]),
        (features[:, 10:18], expected[:, :8]),
        (mean, expected[:, 8:].clip(-1, 1)),
        (live_mean[0], expected[:, 8:].clip(-1, 1)),
    ):
        np.testing.assert_allclose(found.numpy(), values, rtol=0, atol=TOLERANCE)
    assert np.array_equal(alone.numpy()[0], features.numpy()[1])
    assert not spread.any()


def test_an_export_is_an_estimator_of_its_name(folder: Path, tmp_path: Path) -> None:
    file = folder / "mbf_va_mtl.onnx"
    entry = make_pulled_entry("mbf_va_mtl", file)
    manifest = export_pulled(entry, file, tmp_path)
    repository = EstimatorRepository(tmp_path)
    assert repository.list_ids() == [EstimatorId("mbf_va_mtl", 1)]
    assert repository.read_manifest(manifest.id) == manifest
    FileVerifier(repository).verify(manifest)
    assert not manifest.has_voice
    assert manifest.flags == {Flag.WEIGHTS_UNMEASURED}
    assert manifest.classes == entry.classes
    assert manifest.uncertainty.floor == entry.published_error
    assert manifest.licences.data.startswith("AffectNet-VGGFace2-research: ")
    assert [figure.valence for figure in manifest.figures] == [0.577, 0.447, 0.44, 0.483]
    assert load_model(repository.model_file(manifest.id, "live_fusion"))

    assert export_pulled(entry, file, tmp_path).id == manifest.id
    changed = entry.model_copy(update={"smoothing_seconds": 2.0})
    assert export_pulled(changed, file, tmp_path).id == EstimatorId("mbf_va_mtl", 2)
    assert repository.read_versions() == {"mbf_va_mtl": 1}


def test_another_file_is_not_exported(folder: Path, tmp_path: Path) -> None:
    entry = make_pulled_entry("mbf_va_mtl", folder / "mbf_va_mtl.onnx")
    other = folder / "enet_b0_8_va_mtl.onnx"
    with pytest.raises(ModelFileTooLarge):
        export_pulled(entry, other, tmp_path)
    entry = entry.model_copy(update={"max_bytes": 2**28})
    with pytest.raises(ModelFileMismatch):
        export_pulled(entry, other, tmp_path)
    entry = entry.model_copy(update={"git_blob_sha1": hash_file(other).git_blob_sha1})
    with pytest.raises(ArchitectureMismatch):
        export_pulled(entry, other, tmp_path)
    assert list(tmp_path.iterdir()) == []
