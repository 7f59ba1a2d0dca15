"""Export of imported backbones: provenance, outputs, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.unit.importers import public_layouts as public
from training.cli import app
from training.export import export_repository, hash_weights, load_model
from training.importers.backbone import ImportedBackbone, write_backbone
from training.importers.errors import BackboneFileInvalid
from training.importers.import_backbone import import_backbone
from training.importers.layouts import BackboneKind
from training.presets import MINI
from training.serving import ServedAudioBackbone, ServedVisualBackbone


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
def repository(folder: Path, imported: dict[str, Path]) -> Path:
    target = folder / "models"
    files = ["--visual", str(imported["face"]), "--audio", str(imported["voice"])]
    arguments = ["export", "--preset", "mini", "--repository", str(target), *files]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return target


def test_provenance_names_the_sources_and_the_untrained_fusion(
    repository: Path, emotion: ImportedBackbone, voice: ImportedBackbone
) -> None:
    provenance = json.loads((repository / "provenance.json").read_text())
    origins = {name: model["origin"] for name, model in provenance["models"].items()}
    assert provenance["training"] == "untrained"
    assert origins["fusion"] == {"training": "untrained", "seed": 0}
    for name, backbone in (("visual_backbone", emotion), ("audio_backbone", voice)):
        assert origins[name]["training"] == "imported"
        assert origins[name]["kind"] == backbone.kind
        assert origins[name]["source"] == backbone.record["source"]


def test_provenance_hashes_the_weights_that_are_served(
    repository: Path, emotion: ImportedBackbone, voice: ImportedBackbone
) -> None:
    models = json.loads((repository / "provenance.json").read_text())["models"]
    face = ServedVisualBackbone(emotion.build_visual())
    audio = ServedAudioBackbone(voice.build_audio())
    assert models["visual_backbone"]["weights_sha256"] == hash_weights(face)
    assert models["audio_backbone"]["weights_sha256"] == hash_weights(audio)
    assert models["visual_backbone"]["parameters"] == 37_283_520


@torch.inference_mode()
def test_exported_files_have_the_outputs_of_the_imported_networks(
    repository: Path, emotion: ImportedBackbone, voice: ImportedBackbone
) -> None:
    crops = public.make_crops()
    face = load_model(repository / "visual_backbone" / "1" / "model.pt")
    expected = emotion.build()((crops.float() / 255 - 0.5) / 0.5)
    # another memory layout and folded batch norms
    torch.testing.assert_close(face(crops), expected, rtol=0, atol=1e-5)
    patches = torch.as_tensor(public.draw_array("patches", (3, 96, 64)))
    audio = load_model(repository / "audio_backbone" / "1" / "model.pt")
    torch.testing.assert_close(audio(patches), voice.build()(patches), rtol=0, atol=1e-5)


def test_backbone_of_the_other_modality_is_refused(
    imported: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BackboneFileInvalid, match="not a visual backbone"):
        export_repository(MINI, repository=tmp_path, seed=0, visual=imported["voice"])
    with pytest.raises(BackboneFileInvalid, match="not an audio backbone"):
        export_repository(MINI, repository=tmp_path, seed=0, audio=imported["face"])
    assert [*tmp_path.iterdir()] == []


def test_the_command_refuses_a_public_file_with_what_to_do(
    emotion_file: Path, tmp_path: Path
) -> None:
    arguments = ["--repository", str(tmp_path), "--visual", str(emotion_file)]
    result = CliRunner().invoke(app, ["export", "--preset", "mini", *arguments])
    assert result.exit_code == 1
    assert "import-backbone" in result.stderr
