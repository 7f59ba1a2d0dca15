"""The `import-backbone` command."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from typer.testing import CliRunner

from tests.unit.importers import public_layouts as public
from training.cli import app
from training.importers.backbone import read_backbone
from training.importers.layouts import VggishFlags

RUNNER = CliRunner()


def test_public_weights_are_imported(vggish_file: Path, tmp_path: Path) -> None:
    flags = ["--kind", "vggish", "--final-relu", "--out", str(tmp_path)]
    result = RUNNER.invoke(app, ["import-backbone", *flags, str(vggish_file)])
    assert result.exit_code == 0, result.output
    assert "matched: 18 keys" in result.output
    assert read_backbone(tmp_path / "vggish.safetensors").flags == VggishFlags(final_relu=True)


def test_a_wrong_file_fails_with_a_message_and_writes_nothing(tmp_path: Path) -> None:
    torch.save(public.make_zero_state_dict(public.imagenet_resnet50()), tmp_path / "resnet50.pth")
    arguments = ["--kind", "arcface-iresnet50", "--out", str(tmp_path / "out")]
    result = RUNNER.invoke(app, ["import-backbone", *arguments, str(tmp_path / "resnet50.pth")])
    assert result.exit_code == 1
    assert "LayoutMismatch: resnet50.pth is not arcface-iresnet50." in result.stderr
    assert "It looks like a ResNet-50 for ImageNet." in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_report_of_a_wrong_file_lists_every_key(tmp_path: Path) -> None:
    torch.save(public.make_zero_state_dict(public.imagenet_resnet50()), tmp_path / "resnet50.pth")
    arguments = ["import-backbone", "--report", "--kind", "vggish", str(tmp_path / "resnet50.pth")]
    result = RUNNER.invoke(app, arguments)
    report = json.loads(result.stdout)
    assert (result.exit_code, report["refused"]) == (1, "LayoutMismatch")
    assert sorted(report["keys"]["missing"]) == sorted(public.vggish())
    assert sorted(report["keys"]["unexpected"]) == sorted(public.imagenet_resnet50())


def test_the_report_of_a_right_file_writes_nothing(tmp_path: Path) -> None:
    torch.save(public.make_zero_state_dict(public.vggish()), tmp_path / "vggish.pth")
    arguments = ["--kind", "vggish", "--report", "--out", str(tmp_path / "out")]
    result = RUNNER.invoke(app, ["import-backbone", *arguments, str(tmp_path / "vggish.pth")])
    assert (result.exit_code, json.loads(result.stdout)["keys"]["matched"]) == (0, 18)
    assert not (tmp_path / "out").exists()


def test_vggish_options_are_refused_for_visual_backbones(tmp_path: Path) -> None:
    arguments = ["import-backbone", "--kind", "emotion-ir50", "--final-relu", str(tmp_path)]
    assert RUNNER.invoke(app, arguments).exit_code == 2


def test_raw_and_averaged_weights_are_chosen_by_name(tmp_path: Path) -> None:
    raw = public.make_zero_state_dict(public.vggish())
    averaged = {key: value + 1 for key, value in raw.items() if value.numel() < 10_000}
    torch.save({"model": raw, "ema": raw | averaged}, tmp_path / "file.pth")
    arguments = ["import-backbone", "--kind", "vggish", "--out", str(tmp_path / "out")]
    refused = RUNNER.invoke(app, [*arguments, str(tmp_path / "file.pth")])
    assert refused.exit_code == 1
    assert "WeightsAmbiguous" in refused.stderr
    assert "model; ema (averaged)" in refused.stderr
    assert not (tmp_path / "out").exists()
    chosen = RUNNER.invoke(app, [*arguments, "--weights", "ema", str(tmp_path / "file.pth")])
    assert chosen.exit_code == 0, chosen.output
    assert "weights: ema, a moving average" in chosen.output
    state = read_backbone(tmp_path / "out" / "vggish.safetensors").state
    assert bool((state["features.0.bias"] == 1).all())
