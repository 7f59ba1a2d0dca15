"""Export of imported backbones: provenance, outputs, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from service.domain.estimator import EstimatorId
from service.estimators.repository import EstimatorRepository
from tests.unit.importers import public_layouts as public
from training.cli import app
from training.export import ExportTarget, export_untrained, hash_weights, load_model
from training.importers.backbone import ImportedBackbone, write_backbone
from training.importers.errors import BackboneFileInvalid
from training.importers.import_backbone import import_backbone
from training.importers.layouts import BackboneKind
from training.presets import MINI
from training.serving import ServedAudioBackbone, ServedVisualBackbone

MINI_1 = EstimatorId("mini", 1)


@pytest.fixture(scope="module")
def emotion(emotion_file: Path) -> ImportedBackbone:
    return import_backbone(BackboneKind.EMOTION, emotion_file)


@pytest.fixture(scope="module")
def voice(vggish_file: Path) -> ImportedBackbone:
    return import_backbone(BackboneKind.VGGISH, vggish_file)


@pytest.fixture(scope="module")
def imported(folder: Path, emotion: ImportedBackbone, voice: ImportedBackbone) -> dict[str, Path]:
    return {kind: write_backbone(b, folder) for kind, b in (("face", emotion), ("voice", voice))}


@pytest.fixture(scope="module")
def repository(folder: Path, imported: dict[str, Path]) -> EstimatorRepository:
    target = folder / "models"
    files = ["--visual", str(imported["face"]), "--audio", str(imported["voice"])]
    arguments = ["export", "--preset", "mini", "--repository", str(target), *files]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return EstimatorRepository(target)


def test_manifest_names_the_sources_and_the_untrained_fusion(
    repository: EstimatorRepository, emotion: ImportedBackbone, voice: ImportedBackbone
) -> None:
    manifest = repository.read_manifest(MINI_1)
    origins = {name: model.origin for name, model in manifest.models.items()}
    assert manifest.document["training"] == "untrained"
    assert origins["fusion"] == {"training": "untrained", "seed": 0}
    for name, backbone in (("visual_backbone", emotion), ("audio_backbone", voice)):
        assert origins[name]["training"] == "imported"
        assert origins[name]["kind"] == backbone.kind
        assert origins[name]["source"] == backbone.record["source"]


def test_manifest_hashes_the_weights_that_are_served(
    repository: EstimatorRepository, emotion: ImportedBackbone, voice: ImportedBackbone
) -> None:
    models = repository.read_manifest(MINI_1).models
    face = ServedVisualBackbone(emotion.build_visual())
    audio = ServedAudioBackbone(voice.build_audio())
    assert models["visual_backbone"].weights_sha256 == hash_weights(face)
    assert models["audio_backbone"].weights_sha256 == hash_weights(audio)
    assert models["visual_backbone"].parameters == 37_283_520


@torch.inference_mode()
def test_exported_files_have_the_outputs_of_the_imported_networks(
    repository: EstimatorRepository, emotion: ImportedBackbone, voice: ImportedBackbone
) -> None:
    crops = public.make_crops()
    face = load_model(repository.model_file(MINI_1, "visual_backbone"))
    expected = emotion.build()((crops.float() / 255 - 0.5) / 0.5)
    # another memory layout and folded batch norms
    torch.testing.assert_close(face(crops), expected, rtol=0, atol=1e-5)
    patches = torch.as_tensor(public.draw_array("patches", (3, 96, 64)))
    audio = load_model(repository.model_file(MINI_1, "audio_backbone"))
    torch.testing.assert_close(audio(patches), voice.build()(patches), rtol=0, atol=1e-5)


def test_backbone_of_the_other_modality_is_refused(
    imported: dict[str, Path], tmp_path: Path
) -> None:
    target = ExportTarget(repository=tmp_path, estimator=MINI_1)
    with pytest.raises(BackboneFileInvalid, match="not a visual backbone"):
        export_untrained(MINI, target, seed=0, visual=imported["voice"])
    with pytest.raises(BackboneFileInvalid, match="not an audio backbone"):
        export_untrained(MINI, target, seed=0, audio=imported["face"])
    assert [*tmp_path.iterdir()] == []


def test_the_command_refuses_a_public_file_with_what_to_do(
    emotion_file: Path, tmp_path: Path
) -> None:
    arguments = ["--repository", str(tmp_path), "--visual", str(emotion_file)]
    result = CliRunner().invoke(app, ["export", "--preset", "mini", *arguments])
    assert result.exit_code == 1
    assert "import-backbone" in result.stderr
