"""Export of untrained models: weights, files, provenance."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from training.export import export_repository, hash_weights
from training.presets import MINI, build_networks
from training.serving import build_served_models

GOLDEN = {
    "visual_backbone": "363ff54b0f0d4f83508ef9905fc4f5616585632b4f1121ff9058a5e63f85f753",
    "audio_backbone": "816a7e772296b574e6aff57d36bd8bf86e2ce3621ad0b62f19eb8d3543a4eff9",
    "fusion": "50af72a42ad7c80eaebf423cfc5eee21b820e3fb6b9ae104452ea022c3a92585",
}


def test_a_seed_gives_the_same_bits_on_every_machine() -> None:
    models = build_served_models(build_networks(MINI, seed=0))
    assert {name: hash_weights(models[name]) for name in GOLDEN} == GOLDEN


@pytest.mark.parametrize("name", ["visual_backbone", "fusion"])
def test_streams_and_clips_use_the_same_weights(name: str) -> None:
    models = build_served_models(build_networks(MINI, seed=0))
    assert hash_weights(models[f"live_{name}"]) == GOLDEN[name]


def test_another_seed_gives_other_weights() -> None:
    models = build_served_models(build_networks(MINI, seed=1))
    assert not set(GOLDEN.values()) & {hash_weights(model) for model in models.values()}


def test_exporting_twice_leaves_one_complete_set_of_files(tmp_path: Path) -> None:
    first = export_repository(MINI, repository=tmp_path, seed=0)
    again = export_repository(MINI, repository=tmp_path, seed=0)
    assert [model.weights_sha256 for model in first.values()] == [
        model.weights_sha256 for model in again.values()
    ]
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert {f"{name}/1/model.pt" for name in first} | {"provenance.json"} == files


def test_provenance_names_preset_seed_and_the_files_as_they_are(tmp_path: Path) -> None:
    export_repository(MINI, repository=tmp_path, seed=5)
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert tuple(provenance[k] for k in ("preset", "training", "seed")) == ("mini", "untrained", 5)
    assert torch.__version__ == provenance["software"]["torch"]
    for name, model in provenance["models"].items():
        content = (tmp_path / name / "1" / "model.pt").read_bytes()
        assert hashlib.sha256(content).hexdigest() == model["file_sha256"]


def test_the_small_preset_stays_small_enough_for_git() -> None:
    models = build_served_models(build_networks(MINI, seed=0))
    stored = {value for model in models.values() for value in model.parameters()}
    assert sum(value.numel() for value in stored) < 4_000_000


@torch.inference_mode()
def test_untrained_estimates_vary_and_are_not_saturated() -> None:
    models = build_served_models(build_networks(MINI, seed=0))
    generator = torch.Generator().manual_seed(0)
    base = torch.randint(0, 200, (1, 3, 7, 7), generator=generator)
    change = torch.randint(0, 55, (40, 3, 7, 7), generator=generator)
    crops = torch.nn.functional.interpolate((base + change).float(), 112, mode="bilinear")
    patches = models["log_mel"](
        0.2 * torch.randn(48_000, generator=generator), 4 * torch.arange(40)
    )
    mean, spread = models["fusion"](
        models["visual_backbone"](crops.byte()),
        models["audio_backbone"](patches),
        torch.ones(40, dtype=torch.bool),
    )
    assert (mean.std(dim=0) > 0.01).all()
    assert mean.abs().max() < 0.95
    assert spread.min() > 0.01
