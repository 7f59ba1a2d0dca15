"""Export of untrained models: weights, files, manifest, command."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner, Result

from service.domain.estimator import EstimatorId
from service.domain.media import Flag
from service.estimators.repository import EstimatorRepository
from service.estimators.verification import FileVerifier
from tests.fake_estimators import LICENCES, make_manifest
from training.cli import app
from training.export import ExportTarget, export_untrained, hash_weights, write_estimator
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


MINI_1 = EstimatorId("mini", 1)


class TinyWeight(nn.Module):
    """Base of networks with one weight."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))


class TinyBackbone(TinyWeight):
    """A network for a slot of one input."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class TinyFusion(TinyWeight):
    """A network for a slot of three inputs."""

    def forward(self, x: Tensor, _audio: Tensor, _mask: Tensor) -> Tensor:
        return x * self.weight


_NETWORKS: dict[str, type[TinyWeight]] = {
    "visual_backbone": TinyBackbone,
    "live_visual_backbone": TinyBackbone,
    "fusion": TinyFusion,
    "live_fusion": TinyFusion,
}


def write_tiny(folder: Path, weight: float = 1.0, version: int = 1, **facts: Any) -> None:
    """Write an estimator of tiny networks, face only."""
    slots = make_manifest(modalities=("face",)).models
    write_estimator(
        {slot: _NETWORKS[slot](weight).eval() for slot in slots},
        ExportTarget(repository=folder, estimator=EstimatorId("tiny", version)),
        origins={slot: {"training": "none"} for slot in slots},
        facts={"domain": None, "modalities": ("face",), "licences": LICENCES, **facts},
    )


def list_states(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every file."""
    return {
        file.relative_to(folder).as_posix(): (file.stat().st_ino, file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_an_export_is_one_complete_set_of_files(tmp_path: Path) -> None:
    manifest = export_untrained(MINI, ExportTarget(repository=tmp_path, estimator=MINI_1), seed=0)
    assert set(list_states(tmp_path)) == {
        *(f"mini@1.{slot.name}/config.pbtxt" for slot in manifest.served_slots),
        *(f"mini@1.{slot.name}/1/model.pt" for slot in manifest.exported_slots),
        *("mini@1.json", "versions.json"),
    }
    assert EstimatorRepository(tmp_path).read_versions() == {"mini": 1}


def test_manifest_names_preset_seed_and_the_files_as_they_are(tmp_path: Path) -> None:
    exported = export_untrained(MINI, ExportTarget(repository=tmp_path, estimator=MINI_1), seed=5)
    repository = EstimatorRepository(tmp_path)
    manifest = repository.read_manifest(MINI_1)
    assert manifest == exported
    document = manifest.document
    assert tuple(document[k] for k in ("preset", "training", "seed")) == ("mini", "untrained", 5)
    assert torch.__version__ == document["software"]["torch"]
    assert (manifest.domain, manifest.flags) == (None, {Flag.WEIGHTS_UNMEASURED})
    for slot, model in manifest.models.items():
        content = repository.model_file(MINI_1, slot).read_bytes()
        assert hashlib.sha256(content).hexdigest() == model.file_sha256


def test_exporting_the_same_again_writes_nothing(tmp_path: Path) -> None:
    """A file that a running server has loaded is not exchanged behind its back."""
    write_tiny(tmp_path)
    before = list_states(tmp_path)
    write_tiny(tmp_path)
    assert list_states(tmp_path) == before


@pytest.mark.parametrize("change", [{"weight": 2.0}, {"title": "Another one."}], ids=str)
def test_other_weights_or_facts_are_written(tmp_path: Path, change: dict[str, Any]) -> None:
    write_tiny(tmp_path)
    before = list_states(tmp_path)
    write_tiny(tmp_path, **change)
    after = list_states(tmp_path)
    assert after.keys() == before.keys()
    assert after["tiny@1.json"] != before["tiny@1.json"]
    repository = EstimatorRepository(tmp_path)
    manifest = repository.read_manifest(EstimatorId("tiny", 1))
    FileVerifier(repository).verify(manifest)
    expected = hash_weights(TinyFusion(change.get("weight", 1.0)))
    assert manifest.weights_sha256["fusion"] == expected
    assert manifest.title == change.get("title", "")


@pytest.mark.parametrize("damaged", ["tiny@1.fusion/1/model.pt", "tiny@1.json"])
@pytest.mark.parametrize("is_removed", [True, False])
def test_a_damaged_export_is_written_again(tmp_path: Path, damaged: str, is_removed: bool) -> None:
    write_tiny(tmp_path)
    file = tmp_path / damaged
    file.unlink() if is_removed else file.write_bytes(b"damaged")
    write_tiny(tmp_path)
    repository = EstimatorRepository(tmp_path)
    FileVerifier(repository).verify(repository.read_manifest(EstimatorId("tiny", 1)))


@pytest.mark.parametrize("content", [None, "name: 'of another template'"])
def test_a_missing_or_other_configuration_alone_is_written_again(
    tmp_path: Path, content: str | None
) -> None:
    write_tiny(tmp_path)
    before = list_states(tmp_path)
    name = "tiny@1.valence_arousal/config.pbtxt"
    file = tmp_path / name
    text = file.read_text()
    file.unlink() if content is None else file.write_text(content)
    write_tiny(tmp_path)
    assert file.read_text() == text
    after = list_states(tmp_path)
    assert after.keys() == before.keys()
    assert {each for each, state in after.items() if state != before[each]} <= {name}


def test_the_first_version_of_a_name_becomes_current_and_others_do_not(tmp_path: Path) -> None:
    repository = EstimatorRepository(tmp_path)
    write_tiny(tmp_path)
    write_tiny(tmp_path, 2.0, version=2)
    assert repository.read_versions() == {"tiny": 1}
    (tmp_path / "versions.json").unlink()
    write_tiny(tmp_path)
    assert repository.read_versions() == {"tiny": 1}


def run_export(folder: Path, *arguments: str) -> Result:
    options = ["--repository", str(folder), "--untrained", "--preset", "mini"]
    return CliRunner().invoke(app, ["export", *options, *arguments])


def test_the_command_names_and_numbers_its_export(tmp_path: Path) -> None:
    for arguments in (("--version", "1"), ("--name", "own-1"), ("--version", "new")):
        result = run_export(tmp_path, *arguments)
        assert result.exit_code == 0, result.output
        assert "untrained" in result.output
    repository = EstimatorRepository(tmp_path)
    assert [*map(str, repository.list_ids())] == ["mini@1", "mini@2", "own-1@1"]
    assert repository.read_versions() == {"mini": 1, "own-1": 1}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--name", name) for name in ("Mini", "mini@2", "../mini", "a" * 65)),
        *(("--version", version) for version in ("0", "-1", "1.5", "newest", "1000000")),
    ],
)
def test_the_command_refuses_malformed_names_and_versions(
    tmp_path: Path, option: str, value: str
) -> None:
    result = run_export(tmp_path, option, value)
    assert result.exit_code == 2, result.output
    assert option in click.unstyle(result.output)
    assert [*tmp_path.iterdir()] == []


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
