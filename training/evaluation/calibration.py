"""Calibration of a run: its uncertainty, fitted on people that no fold or backbone has learnt from.

RUN/calibration.json has the weights of the uncertainty's factors (service/domain/uncertainty.py),
what they were fitted on, and the coverage before and after, on these same people.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from service.domain.array_types import Float32Array
from service.domain.audio_grid import PATCH_HOPS, WINDOW_SAMPLES
from service.domain.clip import FaceBox
from service.domain.model_signatures import FOLDS
from service.domain.uncertainty import (
    FULL_FACE_PIXELS,
    ConditionTracker,
    UncertaintyModel,
)
from service.domain.windows import Features
from training.data.embeddings import EmbeddingStore
from training.data.files import replace_text
from training.data.folders import DatasetOptions
from training.data.layout import Recording, Split, fingerprint_dataset, read_dataset
from training.data.subjects import parse_source_video
from training.evaluation.conditions import (
    DEFAULT_FACE_MODELS,
    ScenarioEstimator,
    ScoredFrames,
    open_mesh,
)
from training.evaluation.run_estimator import RunEstimator
from training.evaluation.timelines import Timeline, TimelineEstimator
from training.evaluation.uncertainty_fit import fit_uncertainty
from training.evaluation.uncertainty_metrics import measure_uncertainty
from training.export import script_model
from training.loop.errors import SubjectsNotHeldOut
from training.loop.fold_training import zero_ablated_modality
from training.loop.run_logger import RunLogger
from training.networks.log_mel import LogMel
from training.runs import CALIBRATION_FILE, TrainingRun, check_has_all_folds, open_run
from training.serving import ServedAudioBackbone, ServedVisualBackbone

_SILENCE_SHARE: Final = 0.25
"""Voice features nearer to silence than this share of the median distance count as silence."""


def read_calibration(run: TrainingRun) -> UncertaintyModel:
    """Read the run's calibration; the folds' disagreement if it has none."""
    file = run.folder / CALIBRATION_FILE
    if not file.is_file():
        return UncertaintyModel()
    return UncertaintyModel.parse(json.loads(file.read_text(encoding="utf-8")))


def calibrate_run(
    run: TrainingRun,
    recordings: Sequence[Recording],
    embeddings: EmbeddingStore,
    device: torch.device,
) -> str:
    """Fit on the run's calibration subjects, write calibration.json; returns a message."""
    chosen = [r for r in recordings if r.name in set(run.plan.calibration)]
    if not chosen or len(run.options.folds) < FOLDS:
        return "the std is the folds' disagreement: this needs all six folds and calibration people"
    return _fit_and_write(run, chosen, embeddings, device, RunLogger(None), DEFAULT_FACE_MODELS)


def recalibrate(
    folder: Path,
    data: Path,
    *,
    device: torch.device,
    logger: RunLogger,
    dataset: DatasetOptions | None = None,
    face_models: Path = DEFAULT_FACE_MODELS,
) -> str:
    """Calibrate a run on all recordings of another data set; returns a message.

    Errors differ between subjects: 20 subjects determine a 90 % interval within about 4 %,
    120 subjects within 1 to 2 %.

    Raises: DatasetError; RunError, of which SubjectsNotHeldOut: the run was trained or validated
        on one of the subjects.
    """
    dataset = dataset or DatasetOptions()
    run, recordings = open_run(folder), read_dataset(data, dataset)
    check_has_all_folds(run)
    check_held_out(run, recordings, data)
    embeddings = open_embeddings(
        run, recordings, data, device, logger, allow_missing_audio=dataset.allow_missing_audio
    )
    return _fit_and_write(run, recordings, embeddings, device, logger, face_models)


def check_held_out(run: TrainingRun, recordings: Sequence[Recording], data: Path) -> None:
    """Raise SubjectsNotHeldOut where the run was trained or validated on a recording."""
    seen_names = {name for fold in run.plan.folds for name in (*fold.training, *fold.validation)}
    seen_videos = set(map(parse_source_video, seen_names))
    shared_names = sorted(r.name for r in recordings if r.source_video in seen_videos)
    if shared_names:
        raise SubjectsNotHeldOut(
            f"{data} has {len(shared_names)} recordings of its training: {shared_names[0]}"
        )


def open_embeddings(
    run: TrainingRun,
    recordings: Sequence[Recording],
    data: Path,
    device: torch.device,
    logger: RunLogger,
    *,
    allow_missing_audio: bool = False,
) -> EmbeddingStore:
    """Embed the recordings of another data set with the run's backbones."""
    estimation = RunEstimator(
        split=Split.TEST,
        recordings=recordings,
        fingerprint=fingerprint_dataset(recordings),
        data=data,
        out=None,
        device=device,
        logger=logger,
        allow_missing_audio=allow_missing_audio,
    )
    return estimation.embed(run, run)


def estimate_scenarios(
    run: TrainingRun,
    recordings: Sequence[Recording],
    embeddings: EmbeddingStore,
    model: UncertaintyModel,
    *,
    device: torch.device,
    logger: RunLogger,
    face_models: Path,
) -> list[ScoredFrames]:
    """Estimate recordings in all scenarios; `model` has the voice features of silence."""
    networks = run.load_networks()
    options = run.options

    def transform(features: Features) -> Features:
        return zero_ablated_modality(features, options.ablation)

    estimator = TimelineEstimator(embeddings, options.grid, device, transform)
    scenarios = ScenarioEstimator(
        folds=[networks.fusion.folds[fold].to(device) for fold in options.folds],
        visual=script_model(ServedVisualBackbone(networks.visual).eval().to(device)),
        embeddings=embeddings,
        estimator=estimator,
        transform=transform,
        model=model,
        mesh=open_mesh(face_models),
        device=device,
    )
    steps = logger.track_progress(recordings, total=len(recordings), title="estimating scenarios")
    return [part for each in steps for part in scenarios.estimate(each) if len(part.truth)]


def measure_silence(
    run: TrainingRun, recordings: Sequence[Recording], embeddings: EmbeddingStore
) -> UncertaintyModel:
    """Compute the voice features of silence, and how far a voice is from them."""
    log_mel = LogMel(run.preset.log_mel).eval()
    with torch.inference_mode():
        spectrum = log_mel.compute_spectra(torch.zeros(1, WINDOW_SAMPLES))[0]
        patch = spectrum.expand(1, PATCH_HOPS, -1).contiguous()
        silence = ServedAudioBackbone(run.load_networks(folds=False).audio).eval()(patch)[0].numpy()
    distances = [
        np.linalg.norm(embeddings.read_features(recording).audio - silence, axis=1)
        for recording in recordings
    ]
    radius = _SILENCE_SHARE * float(np.median(np.concatenate(distances)))
    return UncertaintyModel(silence=tuple(silence.tolist()), silence_radius=radius)


def compute_timeline_std(
    model: UncertaintyModel, recording: Recording, timeline: Timeline
) -> Float32Array:
    """Compute the (T, 2) std of a recording's timeline, as serving does; crops tell no size."""
    tracker = ConditionTracker()
    box = FaceBox(left=0, top=0, width=FULL_FACE_PIXELS, height=FULL_FACE_PIXELS, score=1)
    voiced = model.detect_voice(timeline.voice).tolist()
    rows = zip(timeline.times.tolist(), recording.has_face.tolist(), voiced, strict=True)
    conditions = [
        tracker.observe(seconds, box if has_face else None, has_voice=has_voice)
        for seconds, has_face, has_voice in rows
    ]
    return model.compute_std(timeline.mean, timeline.spread, np.array(conditions).reshape(-1, 4))


def collect_scored_frames(
    recordings: Sequence[Recording], timelines: Sequence[Timeline]
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Collect estimate, spread and truth of all frames that have both, (N, 2) each."""
    scored = [r.is_annotated & t.known for r, t in zip(recordings, timelines, strict=True)]
    pairs = list(zip(timelines, scored, strict=True))
    estimate = np.concatenate([timeline.mean[rows] for timeline, rows in pairs])
    spread = np.concatenate([timeline.spread[rows] for timeline, rows in pairs])
    truth = [r.targets[rows] for r, rows in zip(recordings, scored, strict=True)]
    return estimate, spread, np.concatenate(truth)


def _fit_and_write(
    run: TrainingRun,
    recordings: Sequence[Recording],
    embeddings: EmbeddingStore,
    device: torch.device,
    logger: RunLogger,
    face_models: Path,
) -> str:
    """Fit on held-out recordings, write calibration.json; returns a message."""
    model = measure_silence(run, recordings, embeddings)
    parts = estimate_scenarios(
        run, recordings, embeddings, model, device=device, logger=logger, face_models=face_models
    )
    if not parts:
        return "the std is the folds' disagreement: no calibration frame is annotated"
    fitted = fit_uncertainty(parts, model)
    has_scores = open_mesh(face_models) is not None
    document: dict[str, Any] = asdict(fitted) | {
        "mesh_scores": has_scores,
        "data_fingerprint": fingerprint_dataset(recordings),
        "coverage_90_before": measure_uncertainty(parts, model)["all"]["coverage_90"],
        "coverage_90": measure_uncertainty(parts, fitted)["all"]["coverage_90"],
    }
    replace_text(run.folder / CALIBRATION_FILE, json.dumps(document, indent=2) + "\n")
    unscored = "" if has_scores else f"; no face models in {face_models}: the score has no weight"
    return f"std calibrated on {fitted.subjects} people{unscored}"
