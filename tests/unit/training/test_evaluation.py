"""Evaluation, calibration and export of a trained run."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from toy_dataset import QUICK_OPTIONS, TINY_PRESET, ToyRecording, write_dataset
from typer.testing import CliRunner

from service.domain.clip import FaceBox, Frame, TimelinePoint, TrackedFace
from service.domain.estimator import EstimatorId
from service.domain.track_pipeline import TrackPipeline
from service.domain.uncertainty import StdMeaning
from service.domain.windows import FusionOutput
from service.estimators.repository import EstimatorRepository
from training.cli import app
from training.data.crops import read_crop
from training.data.layout import Recording, Split, read_dataset
from training.data.video import read_video
from training.evaluation.calibration import read_calibration, recalibrate
from training.evaluation.report import evaluate_run
from training.export import ExportTarget, load_model
from training.export_run import export_run
from training.loop.distributed import Ranks
from training.loop.errors import RunIncomplete, RunNotServable, SubjectsNotHeldOut
from training.loop.options import Ablation
from training.loop.run_logger import RunLogger
from training.loop.train_run import InitialWeights, train_run
from training.presets import build_networks
from training.runs import TrainingRun, open_run, start_or_resume_run
from training.serving import ServedFusion

Doubles = npt.NDArray[np.float64]

CPU = torch.device("cpu")
SINGLE_RANK = Ranks(rank=0, size=1, device=CPU)
TINY = EstimatorId("tiny", 1)
OPTIONS = replace(QUICK_OPTIONS, fold=replace(QUICK_OPTIONS.fold, epochs=2))


@pytest.fixture(scope="module")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def run(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    folder = tmp_path_factory.mktemp("run")
    return train_run(
        dataset_root,
        folder,
        preset=TINY_PRESET,
        options=OPTIONS,
        ranks=SINGLE_RANK,
        logger=RunLogger(None),
    )


@pytest.fixture(scope="module")
def report(dataset_root: Path, run: TrainingRun) -> dict[str, Any]:
    return evaluate_run(
        run.folder, dataset_root, split=Split.TEST, device=CPU, logger=RunLogger(None)
    )


@pytest.fixture(scope="module")
def repository(run: TrainingRun, tmp_path_factory: pytest.TempPathFactory) -> EstimatorRepository:
    folder = tmp_path_factory.mktemp("repository")
    export_run(run.folder, ExportTarget(repository=folder, estimator=TINY))
    return EstimatorRepository(folder)


def column(rows: list[dict[str, str]], name: str) -> Doubles:
    return np.array([float(row[name]) for row in rows])


def recompute_ccc(rows: list[dict[str, str]], estimate: str, target: str) -> float:
    """Compute the CCC with numpy's covariance."""
    x, y = column(rows, estimate), column(rows, f"{target}_truth")
    (xx, xy), (_, yy) = cast("Doubles", np.cov(x, y, bias=True))
    return 2 * xy / (xx + yy + (x.mean() - y.mean()) ** 2)


def scored_rows(run: TrainingRun) -> list[dict[str, str]]:
    files = sorted((run.folder / "evaluation" / "test" / "predictions").glob("*.csv"))
    rows = [row for file in files for row in csv.DictReader(file.read_text().splitlines())]
    return [row for row in rows if row["valence"] and row["valence_truth"]]


def test_every_metric_can_be_recomputed_from_the_written_predictions(
    run: TrainingRun, report: dict[str, Any]
) -> None:
    rows = scored_rows(run)
    assert report["scored"] == len(rows) == 100 - 2 - 1
    for target in ("valence", "arousal"):
        # the same numbers in another order of adding
        assert report["ensemble"][target] == pytest.approx(
            recompute_ccc(rows, target, target), abs=1e-9
        )
        for fold in range(6):
            again = recompute_ccc(rows, f"fold{fold}_{target}", target)
            assert report["folds"][str(fold)][target] == pytest.approx(again, abs=1e-9)
        error = np.abs(column(rows, target) - column(rows, f"{target}_truth"))
        inside = error <= 1.6448536 * column(rows, f"{target}_std")
        assert report["coverage_90"][target] == pytest.approx(inside.mean(), abs=1e-9)


def test_the_ensemble_is_the_mean_of_its_folds(run: TrainingRun, report: object) -> None:
    rows = scored_rows(run)
    for target in ("valence", "arousal"):
        mean = np.mean([column(rows, f"fold{fold}_{target}") for fold in range(6)], axis=0)
        np.testing.assert_allclose(column(rows, target), mean, atol=1e-6)


def test_the_submission_has_one_row_for_every_frame(run: TrainingRun, report: object) -> None:
    file = run.folder / "evaluation" / "test" / "submission.txt"
    lines = file.read_text().splitlines()
    assert lines[0] == "image_location,valence,arousal"
    names = [line.split(",")[0] for line in lines[1:]]
    assert names == [f"test{i}/{row:05d}.jpg" for i in range(2) for row in range(1, 51)]
    values = [float(value) for line in lines[1:] for value in line.split(",")[1:]]
    assert np.abs(values).max() <= 1


def test_frames_before_the_first_face_have_no_prediction(run: TrainingRun, report: object) -> None:
    file = run.folder / "evaluation" / "test" / "predictions" / "test0.csv"
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [bool(row["valence"]) for row in rows] == [False, False, *[True] * 48]
    assert rows[7]["valence_truth"] == ""
    assert [row["frame"] for row in rows] == [str(row) for row in range(50)]


def test_held_out_status_is_reported_per_fold(
    dataset_root: Path, run: TrainingRun, report: dict[str, Any]
) -> None:
    assert report["ensemble"]["held_out"]
    assert all(fold["held_out"] for fold in report["folds"].values())
    other = evaluate_run(
        run.folder, dataset_root, split=Split.VALIDATION, device=CPU, logger=RunLogger(None)
    )
    assert [other["folds"][str(fold)]["held_out"] for fold in range(6)] == [True, *[False] * 5]
    assert not other["ensemble"]["held_out"]
    best = max(record["mean"] for record in run.read_histories()["fold 0"])
    # batches of other sizes
    assert other["folds"]["0"]["mean"] == pytest.approx(best, abs=1e-5)
    assert [scores["backbones_held_out"] for scores in other["cross_validation"].values()] == [
        True,
        *[False] * 5,
    ]


def test_a_test_set_without_annotations_still_gets_its_submission(
    tmp_path: Path, run: TrainingRun
) -> None:
    recordings = (
        *(ToyRecording(name=f"t{i}", folder=folder) for i, folder in enumerate(("Train_Set",) * 2)),
        ToyRecording(name="v", folder="Validation_Set"),
        ToyRecording(name="blind", folder="Test_Set", rows=20, unannotated_rows=tuple(range(20))),
    )
    root = write_dataset(tmp_path / "world", recordings)
    copy = shutil.copytree(run.folder, tmp_path / "run")
    report = evaluate_run(copy, root, split=Split.TEST, device=CPU, logger=RunLogger(None))
    assert report["ensemble"] is None
    submission = (copy / "evaluation" / "test" / "submission.txt").read_text()
    assert submission.count("blind/") == 20


def test_the_test_list_gets_the_rows_of_the_sample_submission(
    tmp_path: Path, run: TrainingRun
) -> None:
    recordings = (
        ToyRecording(name="t", folder="Train_Set"),
        ToyRecording(name="v", folder="Validation_Set"),
        ToyRecording(name="blind", folder="Test_Set", rows=20),
    )
    root = write_dataset(tmp_path / "world", recordings)
    shutil.rmtree(root / "VA_Estimation_Challenge" / "Test_Set")
    (root / "VA_test_set_release.txt").write_text("blind\n")
    wanted = ["blind/00002.jpg", "blind/00001.jpg", "blind/00021.jpg"]
    rows = "".join(f"{location},-5,-5\n" for location in wanted)
    (root / "VA_test_set_sample.txt").write_text(f"image_location,valence,arousal\n{rows}")
    evaluate_run(
        run.folder, root, split=Split.TEST, device=CPU, logger=RunLogger(None), out=tmp_path / "out"
    )
    lines = (tmp_path / "out" / "test" / "submission.txt").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["image_location", *wanted]


def test_other_crops_under_the_same_names_get_their_own_estimates(
    tmp_path: Path, dataset_root: Path, run: TrainingRun, report: dict[str, Any]
) -> None:
    other = shutil.copytree(dataset_root, tmp_path / "other")
    for file in other.glob("cropped_aligned/test?/*.jpg"):
        shutil.copy(dataset_root / "cropped_aligned/train0/00010.jpg", file)
    embeddings = run.folder / "embeddings" / "test0.safetensors"
    before = embeddings.read_bytes()
    reports = [
        evaluate_run(
            run.folder, other, split=Split.TEST, device=CPU, logger=RunLogger(None), out=out
        )
        for out in (None, tmp_path / "fresh")
    ]
    assert reports[0]["data_fingerprint"] == report["data_fingerprint"]
    assert reports[0]["ensemble"] == reports[1]["ensemble"] != report["ensemble"]
    assert embeddings.read_bytes() == before
    again = evaluate_run(
        run.folder, dataset_root, split=Split.TEST, device=CPU, logger=RunLogger(None)
    )
    assert again["ensemble"] == report["ensemble"]


def serve_recording(repository: EstimatorRepository, recording: Recording) -> dict[str, Doubles]:
    """Estimate a recording's crops and audio with the exported models, as the service does."""
    served = {
        name: load_model(repository.model_file(TINY, name))
        for name in ("visual_backbone", "log_mel", "audio_backbone", "fusion")
    }
    assert recording.video is not None
    times, waveform = read_video(recording.video)
    box = FaceBox(left=0, top=0, width=112, height=112, score=1)
    faces = (TrackedFace(track=1, box=box),)
    frames = [
        Frame(index=row, time_seconds=seconds, faces=faces if recording.has_face[row] else ())
        for row, seconds in enumerate(times.tolist())
    ]
    crops = np.stack(
        [read_crop(recording.crop_file(int(row))) for row in np.flatnonzero(recording.has_face)]
    )
    starts = torch.tensor([round(100 * seconds) for seconds in times.tolist()])
    pipeline = TrackPipeline(
        track=1,
        window_frames=30,
        hop_frames=20,
        smoothing_seconds=0.2,
        uncertainty=repository.read_manifest(TINY).uncertainty,
    )
    with torch.inference_mode():
        faces = served["visual_backbone"](torch.as_tensor(crops.transpose(0, 3, 1, 2).copy()))
        voice = served["audio_backbone"](served["log_mel"](torch.as_tensor(waveform), starts))
        windows = [*pipeline.add(frames, faces.numpy(), voice.numpy()), *pipeline.close()]
        points: list[TimelinePoint] = []
        for window in windows:
            parts = (window.features.visual, window.features.audio, window.features.mask)
            mean, spread = served["fusion"](*map(torch.as_tensor, parts))
            mean, spread = mean[: window.frames].numpy(), spread[: window.frames].numpy()
            points += pipeline.add_fusion_output(FusionOutput(mean=mean, spread=spread))
    estimates = [point.estimate for point in (*points, *pipeline.finish())]
    names = ("valence", "arousal_std", "valence_smoothed")
    return {n: np.array([getattr(e, n) if e else np.nan for e in estimates]) for n in names}


def test_exported_run_reproduces_the_evaluated_predictions(
    repository: EstimatorRepository, dataset_root: Path, run: TrainingRun, report: object
) -> None:
    recording = next(r for r in read_dataset(dataset_root) if r.name == "test0")
    served = serve_recording(repository, recording)
    file = run.folder / "evaluation" / "test" / "predictions" / "test0.csv"
    rows = list(csv.DictReader(file.read_text().splitlines()))
    for name, values in served.items():
        expected = np.array([float(row[name] or "nan") for row in rows])
        # log-mel of stored spectra, and windows in batches: the same sums in another order
        np.testing.assert_allclose(values, expected, atol=2e-5)


def test_run_manifest_states_training_data_and_scores(
    repository: EstimatorRepository, run: TrainingRun
) -> None:
    manifest = repository.read_manifest(TINY)
    document = manifest.document
    assert (document["preset"], document["training"]) == ("tiny", "trained")
    assert document["data"] == run.config["data"]
    assert set(document["ccc"]) == {str(fold) for fold in range(6)}
    assert manifest.calibration["subjects"] == 1
    assert manifest.calibration["meaning"] == "calibrated"
    assert manifest.models["fusion"].origin["training"] == "trained"


def test_a_run_without_all_folds_or_without_a_modality_is_not_exported(
    tmp_path: Path, dataset_root: Path, run: TrainingRun
) -> None:
    options = replace(OPTIONS, folds=(0,), ablation=Ablation.VOICE_ONLY)
    voice_only = train_run(
        dataset_root,
        tmp_path / "voice_only",
        preset=TINY_PRESET,
        options=options,
        ranks=SINGLE_RANK,
        logger=RunLogger(None),
        initial=InitialWeights(backbones=run.folder),
    )
    with pytest.raises(RunNotServable, match="voice_only"):
        export_run(voice_only.folder, ExportTarget(repository=tmp_path, estimator=TINY))
    two_folds = start_or_resume_run(
        tmp_path / "two_folds",
        preset=run.preset,
        options=replace(OPTIONS, folds=(0, 1)),
        plan=run.plan,
        metadata={"data": {}, "initial": {}},
    )
    with pytest.raises(RunIncomplete, match="all six"):
        export_run(two_folds.folder, ExportTarget(repository=tmp_path, estimator=TINY))
    report = evaluate_run(
        run.folder,
        dataset_root,
        split=Split.TEST,
        device=CPU,
        logger=RunLogger(None),
        ablations=[voice_only.folder],
    )
    assert set(report["ablations"]) == {"voice_only"}
    assert report["ablations"]["voice_only"] != report["ensemble"]


def test_recalibration_accepts_only_unseen_subjects(
    dataset_root: Path, run: TrainingRun, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run.folder, copy)
    with pytest.raises(SubjectsNotHeldOut, match="check0"):
        recalibrate(copy, dataset_root, device=CPU, logger=RunLogger(None))
    assert read_calibration(open_run(copy)) == read_calibration(run)
    recordings = (
        *(ToyRecording(name=f"stranger{i}", folder="Test_Set", rows=30) for i in range(3)),
        ToyRecording(name="another", folder="Train_Set"),
        ToyRecording(name="third", folder="Validation_Set"),
    )
    unseen = write_dataset(tmp_path / "unseen", recordings)
    recalibrate(copy, unseen, device=CPU, logger=RunLogger(None))
    fitted = read_calibration(open_run(copy))
    assert (fitted.subjects, fitted.meaning) == (5, StdMeaning.CALIBRATED)
    report = evaluate_run(copy, unseen, split=Split.TEST, device=CPU, logger=RunLogger(None))
    assert 0.75 < report["coverage_90"]["mean"] < 1


def test_an_uncalibrated_spread_is_that_of_the_folds() -> None:
    ensemble = build_networks(TINY_PRESET, seed=0).fusion
    window = (torch.randn(30, 512), torch.randn(30, 128), torch.ones(30, dtype=torch.bool))
    with torch.inference_mode():
        _, spread = ensemble(*(part[None] for part in window))
        _, served = ServedFusion(ensemble).eval()(*window)
    # a square and its root, and sums in another order
    torch.testing.assert_close(spread[0], served, rtol=0, atol=1e-5)
    assert spread.min() > 1e-3


def test_command_errors_are_reported(tmp_path: Path, dataset_root: Path) -> None:
    runner = CliRunner()
    no_data = ["--data", str(tmp_path), "--out", str(tmp_path / "run")]
    result = runner.invoke(app, ["train", *no_data])
    assert (result.exit_code, "LayoutNotFound" in result.output) == (1, True)
    result = runner.invoke(app, ["train", *no_data, "--folds", "0,6"])
    assert result.exit_code == 2
    result = runner.invoke(app, ["evaluate", "--run", str(tmp_path), "--data", str(dataset_root)])
    assert (result.exit_code, "RunNotFound" in result.output) == (1, True)
    result = runner.invoke(app, ["export", "--run", str(tmp_path)])
    assert (result.exit_code, "RunNotFound" in result.output) == (1, True)
    assert runner.invoke(app, ["export"]).exit_code == 2
