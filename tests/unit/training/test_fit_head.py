"""`fit-head`: a linear head of an exported estimator, on people it has not met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_dataset import TOY_RECORDINGS, write_dataset
from toy_estimator import BANDS, export_toy_estimator
from typer.testing import CliRunner, Result

from service.domain.estimator import Domain, EstimatorId, EstimatorManifest
from service.domain.media import Flag
from service.domain.uncertainty import StdMeaning
from service.estimators.repository import EstimatorRepository
from service.estimators.verification import FileVerifier
from training.cli import app
from training.export import load_model

ANNOTATIONS = Path("VA_Estimation_Challenge")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> EstimatorRepository:
    folder = tmp_path_factory.mktemp("models")
    export_toy_estimator(folder)
    return EstimatorRepository(folder)


def call_fit_head(
    data: Path, repository: EstimatorRepository, out: Path, *more: str, model: str = "toy@1"
) -> Result:
    arguments = ["--model", model, "--data", str(data), "--out", str(out)]
    return CliRunner().invoke(
        app, ["fit-head", *arguments, "--repository", str(repository.folder), *more]
    )


def has_error(result: Result, name: str) -> bool:
    """True if a line names the error; other threads of the process may log beside it."""
    return any(line.startswith(f"{name}: ") for line in result.stderr.splitlines())


@pytest.fixture(scope="module")
def out(
    data: Path, repository: EstimatorRepository, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("out")
    licence = ("--data-licence", "for research")
    result = call_fit_head(data, repository, folder, "--stride", "1", *licence)
    assert (result.exit_code, result.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def report(out: Path) -> dict[str, Any]:
    return json.loads((out / "report.json").read_text())


@pytest.fixture(scope="module")
def fitted(out: Path, repository: EstimatorRepository) -> EstimatorManifest:
    return repository.read_manifest(EstimatorId("toy", 2))


def test_a_fit_is_compared_with_the_model_as_it_is_on_the_same_people(
    report: dict[str, Any],
) -> None:
    before, after = (report["held_out"][name] for name in ("before", "fitted"))
    assert before["ccc"]["valence"] < 0.5
    assert before["ccc"]["arousal"] == 0
    assert after["ccc"]["valence"] > 0.9
    assert after["ccc"]["arousal"] > 0.6
    assert after["rmse"]["mean"] < before["rmse"]["mean"]
    low, high = report["held_out"]["difference"]["ccc_interval_95"]["mean"]
    assert 0 < low < after["ccc"]["mean"] - before["ccc"]["mean"] < high
    assert after["people"]["interval_95"]["mean"][0] < after["ccc"]["mean"]
    assert report["official_split"]["fitted"]["people"]["people"] == 2


def test_only_annotated_frames_from_the_first_face_on_of_people_outside_the_test_set_count(
    report: dict[str, Any],
) -> None:
    used = [each for each in TOY_RECORDINGS if each.folder != "Test_Set"]
    scored = [
        row
        for each in used
        for row in range(each.rows)
        if row not in each.unannotated_rows and (row > 1 or row not in each.rows_without_crop)
    ]
    assert (report["data"]["recordings"], report["data"]["scored"]) == (len(used), len(scored))


def test_the_fitted_model_is_a_new_version_beside_the_old_one(
    fitted: EstimatorManifest, repository: EstimatorRepository, report: dict[str, Any]
) -> None:
    FileVerifier(repository).verify(fitted)
    base = repository.read_manifest(EstimatorId("toy", 1))
    assert repository.read_versions()["toy"] == 1
    for slot in ("visual_backbone", "live_visual_backbone"):
        assert fitted.models[slot].file_sha256 == base.models[slot].file_sha256
    assert fitted.domain is Domain.RECORDINGS
    assert fitted.flags == frozenset[Flag]()
    assert fitted.smoothing_seconds == report["head"]["smoothing_seconds"]
    assert fitted.licences.data == "DATA; of the head: for research"
    assert [(f.metric, f.rated_video, f.measured_by) for f in fitted.figures] == [
        (metric, True, "user") for _ in range(2) for metric in ("ccc", "rmse")
    ]
    assert fitted.figures[0].valence == report["held_out"]["fitted"]["ccc"]["valence"]
    assert fitted.document["data"]["fingerprint"] == report["data"]["fingerprint"]
    assert fitted.uncertainty.meaning is StdMeaning.CALIBRATED


@torch.inference_mode()
def test_jobs_and_streams_are_served_the_map_that_was_fitted(
    fitted: EstimatorManifest, repository: EstimatorRepository, report: dict[str, Any]
) -> None:
    random = np.random.default_rng(0)
    visual = torch.as_tensor(random.uniform(0, 3, (2, 32, 512)).astype(np.float32))
    visual[0, :4] = torch.nan
    mask = torch.ones(2, 32, dtype=torch.bool)
    mask[0, :4] = False
    weights, intercept = np.array(report["head"]["weights"]), np.array(report["head"]["intercept"])
    expected = np.clip(visual[..., :BANDS].numpy() @ weights + intercept, -1, 1)
    live = load_model(repository.model_file(fitted.id, "live_fusion"))
    fusion = load_model(repository.model_file(fitted.id, "fusion"))
    mean, spread = live(visual, torch.zeros(2, 32, 128), mask)
    np.testing.assert_allclose(mean[mask].numpy(), expected[mask.numpy()], atol=1e-5)
    assert not spread.any()
    alone, _ = fusion(visual[1], torch.zeros(32, 128), mask[1])
    np.testing.assert_array_equal(alone.numpy(), mean[1].numpy())


def test_a_repeated_fit_uses_the_stored_features_and_gives_the_same_head(
    data: Path,
    repository: EstimatorRepository,
    out: Path,
    report: dict[str, Any],
    fitted: EstimatorManifest,
) -> None:
    stored = {file: file.stat().st_mtime_ns for file in (out / "features").iterdir()}
    name = ("--name", "mine", "--use")
    assert call_fit_head(data, repository, out, "--stride", "1", *name).exit_code == 0
    assert stored == {file: file.stat().st_mtime_ns for file in (out / "features").iterdir()}
    again = repository.read_manifest(EstimatorId("mine", 1))
    assert again.models["fusion"].weights_sha256 == fitted.models["fusion"].weights_sha256
    assert again.calibration == fitted.calibration
    assert call_fit_head(data, repository, out, *name, "--objective", "rmse").exit_code == 0
    assert repository.read_versions() == {"toy": 1, "mine": 2}


def test_a_model_fitted_to_these_people_is_not_compared_with(
    data: Path, repository: EstimatorRepository, tmp_path: Path, fitted: EstimatorManifest
) -> None:
    result = call_fit_head(data, repository, tmp_path, "--name", "twice", model=str(fitted.id))
    assert result.exit_code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["not_compared"] == "it has learnt from these people"
    assert set(report["held_out"]) == {"fitted", "annotations"}


def test_a_model_that_combines_frames_is_compared_only_where_all_are_looked_at(
    data: Path, tmp_path: Path
) -> None:
    export_toy_estimator(tmp_path / "models", delay=1)
    models = EstimatorRepository(tmp_path / "models")
    compared: list[bool] = []
    for stride in ("1", "3"):
        out = tmp_path / stride
        assert call_fit_head(data, models, out, "--stride", stride).exit_code == 0
        report = json.loads((out / "report.json").read_text())
        compared.append("before" in report["held_out"])
    assert compared == [True, False]


def test_a_head_fitted_to_a_drawn_world_says_so(
    data: Path, repository: EstimatorRepository, tmp_path: Path
) -> None:
    world = tmp_path / "world"
    world.mkdir()
    for folder in data.iterdir():
        (world / folder.name).symlink_to(folder)
    (world / "synthesis.json").write_text('{"world": 1}')
    assert call_fit_head(world, repository, tmp_path, "--name", "drawn").exit_code == 0
    manifest = repository.read_manifest(EstimatorId("drawn", 1))
    assert manifest.domain is Domain.DRAWN
    assert manifest.flags == {Flag.WEIGHTS_SYNTHETIC, Flag.WEIGHTS_UNMEASURED}


@pytest.mark.parametrize(
    ("model", "error"),
    [("other", "ModelUnknown"), ("toy@7", "ModelNotServed"), ("plain@1", "HeadFeaturesMissing")],
)
def test_a_model_that_cannot_have_a_head_is_refused(
    data: Path, repository: EstimatorRepository, tmp_path: Path, model: str, error: str
) -> None:
    manifest = json.loads(repository.manifest_file(EstimatorId("toy", 1)).read_text())
    plain = {**manifest, "name": "plain", "head_features": 0}
    repository.manifest_file(EstimatorId("plain", 1)).write_text(json.dumps(plain))
    result = call_fit_head(data, repository, tmp_path, model=model)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{error}: ")


def test_an_exchanged_file_is_refused(data: Path, tmp_path: Path) -> None:
    export_toy_estimator(tmp_path / "models")
    models = EstimatorRepository(tmp_path / "models")
    file = models.model_file(EstimatorId("toy", 1), "visual_backbone")
    file.write_bytes(file.read_bytes() + b" ")
    result = call_fit_head(data, models, tmp_path / "out")
    assert (result.exit_code, has_error(result, "ModelChanged")) == (1, True)


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (("train0", "train1", "train2", "train3", "check0"), "TooFewSubjects"),
        (tuple(each.name for each in TOY_RECORDINGS), "NoAnnotatedFrames"),
    ],
)
def test_too_few_people_and_no_annotation_are_named(
    repository: EstimatorRepository, tmp_path: Path, names: tuple[str, ...], error: str
) -> None:
    recordings = tuple(each for each in TOY_RECORDINGS if each.name in names)
    data = write_dataset(tmp_path / "data", recordings, videos=False)
    if error == "NoAnnotatedFrames":
        for file in (data / ANNOTATIONS).rglob("*.txt"):
            file.write_text("valence,arousal\n" + "-5,-5\n" * 25)
    result = call_fit_head(data, repository, tmp_path / "out", "--allow-missing-video")
    assert (result.exit_code, has_error(result, error)) == (1, True)


def test_annotations_that_nothing_follows_leave_a_report_and_no_model(
    repository: EstimatorRepository, tmp_path: Path
) -> None:
    data = write_dataset(tmp_path / "data", videos=False)
    random = np.random.default_rng(1)
    for file in (data / ANNOTATIONS).rglob("*.txt"):
        level = random.uniform(-0.9, 0.9, 2).round(3).tolist()
        file.write_text("valence,arousal\n" + f"{level[0]},{level[1]}\n" * 50)
    out, before = tmp_path / "out", repository.list_ids()
    result = call_fit_head(data, repository, out, "--allow-missing-video")
    assert (result.exit_code, has_error(result, "HeadNotFitted")) == (1, True)
    assert (out / "report.json").is_file()
    assert repository.list_ids() == before


def test_a_missing_video_is_an_error_unless_it_is_allowed(
    repository: EstimatorRepository, tmp_path: Path
) -> None:
    data = write_dataset(tmp_path / "data", videos=False)
    result = call_fit_head(data, repository, tmp_path / "out")
    assert (result.exit_code, has_error(result, "VideoNotFound")) == (1, True)
