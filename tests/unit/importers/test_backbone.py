"""Imported backbone files: writing, reading, refusals."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.importers.backbone import ImportedBackbone, read_backbone, write_backbone
from training.importers.errors import BackboneFileInvalid
from training.importers.import_backbone import import_backbone
from training.importers.layouts import ARCFACE_CONFIG, BackboneKind
from training.networks.iresnet import IResNet
from training.networks.visual_architectures import build_visual_network
from training.presets import MINI


@pytest.fixture(scope="module")
def backbone(arcface_file: Path) -> ImportedBackbone:
    return import_backbone(BackboneKind.ARCFACE, arcface_file)


@pytest.fixture
def weights(backbone: ImportedBackbone, tmp_path: Path) -> Path:
    return write_backbone(backbone, tmp_path)


def test_a_written_backbone_is_read_back(backbone: ImportedBackbone, weights: Path) -> None:
    again = read_backbone(weights)
    assert (again.kind, again.flags) == (backbone.kind, backbone.flags)
    assert again.state.keys() == backbone.state.keys()
    assert all(torch.equal(again.state[key], backbone.state[key]) for key in again.state)
    names = {"arcface-iresnet50.safetensors", "arcface-iresnet50.json"}
    assert {file.name for file in weights.parent.iterdir()} == names


def test_the_record_names_the_source_and_the_file(weights: Path, arcface_file: Path) -> None:
    record = json.loads(weights.with_suffix(".json").read_text())
    assert record["source"] == {
        "file": arcface_file.name,
        "sha256": hashlib.sha256(arcface_file.read_bytes()).hexdigest(),
        "bytes": arcface_file.stat().st_size,
    }
    assert record["file_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert record["keys"]["matched"] == 475


def test_a_changed_file_is_not_read(weights: Path) -> None:
    with weights.open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x55")
    with pytest.raises(BackboneFileInvalid, match="not the file that its record describes"):
        read_backbone(weights)


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "other", "flags": {}}', "[]"])
def test_a_damaged_record_is_not_read(weights: Path, text: str) -> None:
    weights.with_suffix(".json").write_text(text)
    with pytest.raises(BackboneFileInvalid, match="damaged"):
        read_backbone(weights)


def test_a_public_file_given_as_an_imported_one_is_refused_with_what_to_do(
    arcface_file: Path,
) -> None:
    with pytest.raises(BackboneFileInvalid, match="import-backbone"):
        read_backbone(arcface_file)


def test_loading_into_a_network_keeps_its_attention_weights(
    backbone: ImportedBackbone,
) -> None:
    network = IResNet(replace(ARCFACE_CONFIG, attention=True))
    attention = network.attention.state_dict()
    before = {key: value.clone() for key, value in attention.items()}
    backbone.load_into(network)
    assert torch.equal(network.fc.weight, backbone.state["fc.weight"])
    assert all(torch.equal(value, before[key]) for key, value in attention.items())


def test_a_network_of_another_size_does_not_take_the_weights(backbone: ImportedBackbone) -> None:
    with pytest.raises(BackboneFileInvalid, match="do not fit"):
        backbone.load_into(build_visual_network(MINI.visual))


def test_the_imported_network_is_trainable(backbone: ImportedBackbone) -> None:
    assert all(parameter.requires_grad for parameter in backbone.build().parameters())
