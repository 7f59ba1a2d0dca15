"""Evaluation command `python -m e2e_eval`, as run by `make eval`, against the real stack.

The weights are untrained, so the scores are meaningless; but an untrained network is a hash of its
input. Offline and served estimates of one frame agree (CCC .84 to .97 on eight clips, rendered
crops against crops found in coded video), those of neighbouring frames do not (at most .30), nor
those of another actor (at most .13).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from e2e_eval.clips import ClipSelection, RenderedClip, read_clips, render_clips
from e2e_eval.frame_matching import ClipEstimates
from e2e_eval.offline_estimates import estimate_offline, load_exported_models
from e2e_eval.served_estimates import estimate_served
from service.decoding.requests import DecodeRequest
from service.decoding.worker.clip import extract_clip
from service.domain.clip import Chunk
from service.domain.options import AnalysisOptions
from service.embedded.stack import Stack, settings_to_environment
from service.estimators.repository import EstimatorRepository
from service.faces.finder import open_face_finder
from service.pipeline.estimators import read_default_manifest
from service.pipeline.provenance import build_provenance
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
EVAL_ACTORS = ClipSelection(
    seed=1_000, actors=2, seconds=3.0, rates=("24", "variable"), rates_per_actor=2
)
MIN_AGREEMENT_CCC = 0.75


@pytest.fixture(scope="module")
def out_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e_eval")


@pytest.fixture(scope="module")
def clips(out_dir: Path) -> list[RenderedClip]:
    list(render_clips(EVAL_ACTORS, out_dir / "eval"))
    return read_clips(EVAL_ACTORS, out_dir / "eval")


@pytest.fixture(scope="module")
def completed_run(
    stack: Stack, address: str, out_dir: Path, clips: list[RenderedClip]
) -> subprocess.CompletedProcess[str]:
    options = ("--actors", "2", "--seconds", "3", "--rate", "24", "--rate", "variable")
    return subprocess.run(
        [sys.executable, "-m", "e2e_eval", *options, "--url", address, "--out", out_dir],
        env=os.environ | settings_to_environment(stack.settings) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture(scope="module")
def report(completed_run: subprocess.CompletedProcess[str], out_dir: Path) -> dict[str, Any]:
    assert completed_run.returncode == 0, completed_run.stderr
    return json.loads((out_dir / "eval.json").read_text())


def test_offline_and_served_estimates_of_the_same_frames_agree(report: dict[str, Any]) -> None:
    assert report["end_to_end"]["by_rate"].keys() == {"24", "variable"}
    for figures in report["end_to_end"]["by_rate"].values():
        for target in ("valence", "arousal"):
            assert figures["agreement"]["ccc"][target] > MIN_AGREEMENT_CCC
            assert figures["agreement"]["mean_absolute_difference"][target] < 0.06


def test_report_has_every_metric_and_its_provenance(
    report: dict[str, Any], clips: list[RenderedClip]
) -> None:
    assert report["held_out"].keys() == {"valence", "arousal", "mean"}
    assert report["end_to_end"].keys() >= {"valence", "arousal", "by_rate"}
    assert 0 <= report["coverage_90"] <= 1
    assert report["ablations"] is None
    assert report["provenance"]["seed"] == EVAL_ACTORS.seed
    assert len(report["provenance"]["weights"]["models"]["fusion"]["weights_sha256"]) == 64
    frames = report["frames"]
    assert frames["all"] == sum(len(clip.truth) for clip in clips)
    assert frames["counted"] + sum(frames["left_out"].values()) == frames["all"]
    assert frames["counted"] > 0.9 * frames["all"]
    assert (frames["lost"], frames["strange"]) == (0, 0)


def test_two_people_are_too_few_to_judge_and_each_target_says_so(
    completed_run: subprocess.CompletedProcess[str], report: dict[str, Any]
) -> None:
    assert "Does not hold" not in completed_run.stderr
    groups = "all clips (2), rate 24 (2), rate variable (2)"
    assert f"Not judged, fewer than 8 people: {groups}" in completed_run.stdout
    assert "The weights are untrained" in completed_run.stdout
    checked = report["targets"]["checked"]
    assert [each["holds"] for each in checked] == [True, *[None] * 12]
    assert {each["people"] for each in checked[1:]} == {EVAL_ACTORS.actors}


def run_offline_estimation(
    clips: list[RenderedClip], settings: Settings, cache: Path
) -> list[ClipEstimates]:
    manifest = read_default_manifest(settings)
    exported = load_exported_models(
        EstimatorRepository(settings.model_repository),
        manifest,
        build_provenance(manifest, settings),
    )
    return list(estimate_offline(exported, [clip.recording for clip in clips], cache))


def use_service_crops(clip: RenderedClip, settings: Settings, folder: Path) -> RenderedClip:
    """Replace a clip's rendered crops by those that the service cuts, losslessly."""
    crops = folder / clip.truth.clip
    crops.mkdir(parents=True)
    has_face = np.zeros(len(clip.truth), np.bool_)
    finder = open_face_finder(settings.face_models_dir, settings.yunet_file)
    for chunk in extract_clip(
        clip.file, DecodeRequest.from_settings(AnalysisOptions(), settings, 2**32), finder
    ):
        if isinstance(chunk, Chunk):
            indices = [frame.index for frame in chunk.frames for _ in frame.faces]
            for index, crop in zip(indices, chunk.crops, strict=True):
                has_face[index] = True
                bgr = np.ascontiguousarray(crop.transpose(1, 2, 0)[..., ::-1])
                # PNG in spite of its name: readers detect the format by the content
                (crops / f"{index + 1:05d}.jpg").write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
    recording = replace(clip.recording, crops_folder=crops, has_face=has_face, video=clip.file)
    return replace(clip, recording=recording)


def test_offline_equals_served_given_the_same_crops(
    stack: Stack, address: str, clips: list[RenderedClip], tmp_path: Path
) -> None:
    settings = stack.settings
    cut = [use_service_crops(clip, settings, tmp_path / "crops") for clip in clips]
    files = [clip.file for clip in clips]
    provenance = build_provenance(read_default_manifest(settings), settings)
    served = list(estimate_served(address, files, provenance))
    offline = run_offline_estimation(cut, settings, tmp_path / "cache")
    for actual, expected in zip(offline, served, strict=True):
        assert np.array_equal(actual.times, expected.times)
        assert np.isfinite(actual.mean).any()
        # float32 in another order: the measured difference is 4e-7
        np.testing.assert_allclose(actual.mean, expected.mean, rtol=0, atol=1e-5)
        np.testing.assert_allclose(actual.spread, expected.spread, rtol=0, atol=1e-5)
