"""Evaluation pipeline: render clips, estimate offline and through a service, match frames."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from e2e_eval.clips import ClipSelection, RenderedClip, read_clips, render_clips
from e2e_eval.errors import ActorsNotHeldOut
from e2e_eval.frame_matching import ClipEstimates, MatchedFrames, match_frames
from e2e_eval.offline_estimates import estimate_offline, load_exported_models
from e2e_eval.served_estimates import check_served, estimate_served
from e2e_eval.training_record import TrainingRecord, read_training_record
from service.embedded.stack import isolate_settings, run_stack
from service.estimators.repository import EstimatorRepository
from service.pipeline.estimators import read_default_manifest
from service.pipeline.provenance import build_provenance
from service.settings import Settings
from training.loop.run_logger import RunLogger
from training.synthetic.dataset_spec import WORLD_VERSION

T = TypeVar("T")


class EvaluationPipeline:
    """Pipeline of one evaluation; logs its stages and records their durations."""

    def __init__(
        self, selection: ClipSelection, settings: Settings, folder: Path, console: Console
    ) -> None:
        """Raises: ModelsMissing: no models have been exported."""
        self._selection = selection
        self._settings = settings
        self._folder = folder
        self._manifest = read_default_manifest(settings)
        self._provenance = build_provenance(self._manifest, settings)
        self._logger = RunLogger(console)
        self._seconds: dict[str, float] = {}

    def read_training_record(self, run: Path | None) -> TrainingRecord:
        """Read the record of the exported run. Raises: ActorsNotHeldOut."""
        folder = run or Path("weights") / self._provenance["preset"]
        record = read_training_record(folder, self._provenance)
        overlapping = sorted(self._selection.subjects & record.training_subjects)
        if overlapping:
            raise ActorsNotHeldOut(
                f"{folder} was trained on {', '.join(overlapping)}: choose another seed"
            )
        return record

    def match_estimates(self, url: str | None) -> list[MatchedFrames]:
        """Render the clips, estimate them offline and through a service, and match the frames.

        Args: url: of a running service; None: one is started for the evaluation.
        Raises: EvaluationError, DatasetError, CircumplexError.
        """
        if url is not None:
            check_served(url, self._settings.chosen_model)
        self._run_stage(
            "drawing",
            render_clips(self._selection, self._folder),
            2 * len(self._selection.clip_specs),
        )
        clips = read_clips(self._selection, self._folder)
        offline = self._estimate_offline(clips)
        with self._running_service(url) as address:
            files = [clip.file for clip in clips]
            estimates = estimate_served(
                address, files, self._provenance, model=self._settings.chosen_model
            )
            served = self._run_stage("serving", estimates, len(clips))
        truths = [clip.truth for clip in clips]
        return [match_frames(*each) for each in zip(truths, offline, served, strict=True)]

    def describe(self) -> dict[str, Any]:
        """Provenance of the evaluation."""
        selection = self._selection
        return {
            "seed": selection.seed,
            "actors": selection.actors,
            "seconds": selection.seconds,
            "rates": list(selection.rates),
            "rates_of_each_actor": selection.rates_per_actor,
            "world": WORLD_VERSION,
            "weights": self._provenance,
            "took_seconds": self._seconds,
        }

    def _estimate_offline(self, clips: Sequence[RenderedClip]) -> list[ClipEstimates]:
        exported = load_exported_models(
            EstimatorRepository(self._settings.model_repository), self._manifest, self._provenance
        )
        recordings = [clip.recording for clip in clips]
        estimates = estimate_offline(exported, recordings, self._folder / "crops")
        return self._run_stage("estimating offline", estimates, len(clips))

    @contextmanager
    def _running_service(self, url: str | None) -> Generator[str]:
        if url is not None:
            yield url
            return
        isolated_settings = isolate_settings(self._settings, self._settings.runtime_dir / "eval")
        shutil.rmtree(isolated_settings.state_dir, ignore_errors=True)
        with run_stack(
            isolated_settings, on_start=lambda part: self._logger.log(f"Starting {part} ...")
        ) as stack:
            yield f"http://{stack.settings.host}:{stack.settings.http_port}"

    def _run_stage(self, title: str, steps: Iterable[T], total: int) -> list[T]:
        self._logger.log(f"{title.capitalize()}: {total} files ...")
        started = time.monotonic()
        results = list(self._logger.track_progress(steps, total=total, title=title))
        self._seconds[title.replace(" ", "_")] = round(time.monotonic() - started, 1)
        return results
