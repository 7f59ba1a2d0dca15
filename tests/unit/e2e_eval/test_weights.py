"""Weights of an evaluation: only the exported ones are accepted, offline and served."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e2e_eval.errors import WeightsMismatch
from e2e_eval.offline_estimates import load_exported_models
from e2e_eval.served_estimates import check_weights
from service.domain.estimator import EstimatorManifest
from service.errors import ModelChanged
from service.estimators.repository import EstimatorRepository
from service.pipeline.estimators import read_default_manifest
from service.pipeline.provenance import build_provenance
from service.settings import YARDSTICK, Settings


@pytest.fixture(scope="module")
def settings(mini_repository: Path) -> Settings:
    return Settings(models=YARDSTICK, model_repository=mini_repository)


@pytest.fixture(scope="module")
def repository(settings: Settings) -> EstimatorRepository:
    return EstimatorRepository(settings.model_repository)


@pytest.fixture(scope="module")
def manifest(settings: Settings) -> EstimatorManifest:
    return read_default_manifest(settings)


@pytest.fixture(scope="module")
def provenance(manifest: EstimatorManifest, settings: Settings) -> dict[str, Any]:
    return build_provenance(manifest, settings)


def change_model(manifest: EstimatorManifest, slot: str, **values: str) -> EstimatorManifest:
    """A manifest that states another hash of one model."""
    return replace(
        manifest, models={**manifest.models, slot: replace(manifest.models[slot], **values)}
    )


def test_export_is_loaded_with_its_serving_grid(
    repository: EstimatorRepository, manifest: EstimatorManifest, provenance: dict[str, Any]
) -> None:
    exported = load_exported_models(repository, manifest, provenance)
    assert (exported.grid.window_frames, exported.grid.hop_frames) == (300, 200)


def test_file_that_differs_from_its_manifest_is_rejected(
    repository: EstimatorRepository, manifest: EstimatorManifest, provenance: dict[str, Any]
) -> None:
    changed = change_model(manifest, "fusion", file_sha256="0" * 64)
    with pytest.raises(ModelChanged, match="fusion"):
        load_exported_models(repository, changed, provenance)


def test_another_log_mel_is_rejected(
    repository: EstimatorRepository, manifest: EstimatorManifest, provenance: dict[str, Any]
) -> None:
    changed = change_model(manifest, "log_mel", weights_sha256="0" * 64)
    with pytest.raises(WeightsMismatch, match="log-mel"):
        load_exported_models(repository, changed, provenance)


def test_result_of_other_weights_or_another_method_is_rejected(provenance: dict[str, Any]) -> None:
    check_weights(provenance, provenance)
    other = json.loads(json.dumps(provenance))
    other["models"]["audio_backbone"]["weights_sha256"] = "0" * 64
    with pytest.raises(WeightsMismatch, match="another audio_backbone"):
        check_weights(other, provenance)
    other = json.loads(json.dumps(provenance))
    other["method"]["hop_frames"] = 100
    with pytest.raises(WeightsMismatch, match="another method"):
        check_weights(other, provenance)
