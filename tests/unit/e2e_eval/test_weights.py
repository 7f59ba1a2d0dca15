"""Weights of an evaluation: only the exported ones are accepted, offline and served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e_eval.errors import WeightsMismatch
from e2e_eval.offline_estimates import load_exported_models
from e2e_eval.served_estimates import check_weights
from service.pipeline.provenance import read_provenance
from service.settings import Settings


@pytest.fixture(scope="module")
def provenance(mini_repository: Path) -> dict[str, Any]:
    return read_provenance(Settings(model_repository=mini_repository))


def test_export_is_loaded_with_its_serving_grid(
    mini_repository: Path, provenance: dict[str, Any]
) -> None:
    exported = load_exported_models(mini_repository, provenance)
    assert (exported.grid.window_frames, exported.grid.hop_frames) == (300, 200)


def test_file_that_differs_from_its_provenance_is_rejected(
    mini_repository: Path, provenance: dict[str, Any]
) -> None:
    changed = json.loads(json.dumps(provenance))
    changed["models"]["fusion"]["file_sha256"] = "0" * 64
    with pytest.raises(WeightsMismatch, match="fusion"):
        load_exported_models(mini_repository, changed)


def test_another_log_mel_is_rejected(mini_repository: Path, provenance: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(provenance))
    changed["models"]["log_mel"]["weights_sha256"] = "0" * 64
    with pytest.raises(WeightsMismatch, match="log-mel"):
        load_exported_models(mini_repository, changed)


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
