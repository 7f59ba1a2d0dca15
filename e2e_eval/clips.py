"""Evaluation clips of held-out actors, rendered twice: as clips to upload and as crops.

FOLDER/clips/<name>.mp4, .csv       H.264 and AAC, and the ground truth of every frame
FOLDER/crops/                       the same frames in Aff-Wild2's layout
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from e2e_eval.errors import FramesMismatch
from e2e_eval.frame_matching import ClipTruth
from training.data.annotations import read_annotations
from training.data.crops import read_face_mask
from training.data.folders import ANNOTATIONS_FOLDER, CROPS_FOLDER, VIDEOS_FOLDER
from training.data.layout import Recording, Split
from training.synthetic.dataset_spec import ClipSpec, DatasetSpec, SpecMismatch, iter_clip_specs
from training.synthetic.recording_writer import get_completion_file, write_recording

_NO_FACE_MODELS_DIR: Final = Path()
"""Rendered crops need none."""
_TRUTH_TOLERANCE: Final = 1e-6
"""Both are written with six decimals."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderedClip:
    """One actor at one frame rate; recording: the crops of the same frames."""

    file: Path
    truth: ClipTruth
    recording: Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSelection:
    """Actors, length and frame rates of the clips.

    rates_per_actor: number of the rates that each actor is rendered at, in rotation.
    """

    seed: int
    actors: int
    seconds: float
    rates: tuple[str, ...]
    rates_per_actor: int

    @property
    def spec(self) -> DatasetSpec:
        """Specification of the clips."""
        return DatasetSpec(
            seed=self.seed, seconds=self.seconds, rates=self.rates, clips=True, as_served=False
        )

    @property
    def clip_specs(self) -> list[ClipSpec]:
        """One specification for each selected pair of actor and rate."""
        all_specs = iter_clip_specs(self.spec, self.actors)
        return [spec for position, spec in enumerate(all_specs) if self._is_selected(position)]

    @property
    def subjects(self) -> set[str]:
        """Names of the actors, as in a data set."""
        return {spec.name.removesuffix(f"-{spec.rate}") for spec in self.clip_specs}

    def _is_selected(self, position: int) -> bool:
        actor, rate = divmod(position, len(self.rates))
        return (rate - actor) % len(self.rates) < self.rates_per_actor


def render_clips(selection: ClipSelection, folder: Path) -> Iterator[Path]:
    """Render missing files on all cores, yielding each finished file: two for each clip.

    A folder of another specification is emptied first.
    """
    specs = {"clips": selection.spec, "crops": replace(selection.spec, clips=False)}
    for name, spec in specs.items():
        _prepare_folder(folder / name, spec)
    work = [
        (folder / name, spec, clip_spec)
        for clip_spec in selection.clip_specs
        for name, spec in specs.items()
    ]
    pending = [task for task in work if not get_completion_file(*task).exists()]
    yield from (get_completion_file(*task) for task in work if task not in pending)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=context) as pool:
        futures = {
            pool.submit(write_recording, *task, _NO_FACE_MODELS_DIR): task for task in pending
        }
        try:
            for future in as_completed(futures):
                future.result()
                yield get_completion_file(*futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read_clips(selection: ClipSelection, folder: Path) -> list[RenderedClip]:
    """Read the rendered clips. Raises: FramesMismatch: clip and crops differ in their truth."""
    return [_read_clip(spec, folder) for spec in selection.clip_specs]


def _prepare_folder(folder: Path, spec: DatasetSpec) -> None:
    try:
        spec.write(folder)
    except SpecMismatch:
        shutil.rmtree(folder)
        spec.write(folder)


def _read_clip(clip_spec: ClipSpec, folder: Path) -> RenderedClip:
    file = folder / "clips" / f"{clip_spec.name}.mp4"
    rows = np.loadtxt(file.with_suffix(".csv"), delimiter=",", skiprows=1, ndmin=2)
    recording = _read_recording(clip_spec, folder / "crops")
    if len(rows) != len(recording):
        raise FramesMismatch(
            f"{clip_spec.name}: truth of {len(rows)} frames, {len(recording)} of crops"
        )
    is_annotated = recording.is_annotated
    if not np.allclose(
        rows[is_annotated, 1:], recording.targets[is_annotated], rtol=0, atol=_TRUTH_TOLERANCE
    ):
        raise FramesMismatch(f"{clip_spec.name}: the truth of the clip differs from the crops'")
    truth = ClipTruth(
        clip=clip_spec.name, rate=clip_spec.rate, times=rows[:, 0], targets=rows[:, 1:]
    )
    return RenderedClip(file=file, truth=truth, recording=recording)


def _read_recording(clip_spec: ClipSpec, root: Path) -> Recording:
    targets = read_annotations(
        root / ANNOTATIONS_FOLDER / clip_spec.split_folder / f"{clip_spec.name}.txt"
    )
    crops = root / CROPS_FOLDER / clip_spec.name
    return Recording(
        name=clip_spec.name,
        split=Split.TEST,
        targets=targets,
        has_face=read_face_mask(crops, len(targets)),
        crops_folder=crops,
        video=root / VIDEOS_FOLDER / f"{clip_spec.name}.mp4",
    )
