"""Writing of one recording: a video in Aff-Wild2's layout, or a clip with its truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np

from service.domain.array_types import UInt8Array
from service.domain.model_signatures import CROP_SIDE
from service.faces.alignment import align_crop
from service.faces.finder import open_face_finder
from training.synthetic.camera import Camera
from training.synthetic.clip import render_audio, render_frames, write_clip, write_truth
from training.synthetic.dataset_spec import ClipSpec, DatasetSpec
from training.synthetic.frame_rates import VARIABLE_RATE, draw_frame_times, get_declared_rate
from training.synthetic.performance import Performance
from training.synthetic.renderer import PerformanceRenderer
from training.synthetic.trajectory import Doubles

JPEG_QUALITY: Final = 95
HEADER: Final = "valence,arousal"
UNANNOTATED: Final = "-5,-5"
_GAPS_PER_SECOND: Final = 0.02


def write_recording(
    folder: Path, spec: DatasetSpec, clip_spec: ClipSpec, face_models: Path
) -> None:
    """Write a recording; the file that marks it as complete is written last."""
    cv2.setNumThreads(1)
    recording = _RecordingWriter(folder, spec, clip_spec)
    if spec.clips:
        recording.write_clip()
    else:
        recording.write_video(face_models if spec.as_served else None)


def get_completion_file(folder: Path, spec: DatasetSpec, clip_spec: ClipSpec) -> Path:
    """Return the file that exists once the recording is complete."""
    if spec.clips:
        return folder / f"{clip_spec.name}.csv"
    return folder / "VA_Estimation_Challenge" / clip_spec.split_folder / f"{clip_spec.name}.txt"


def write_annotations(file: Path, performance: Performance, times: Doubles) -> None:
    """Write one row per frame; about 2 % of the rows, in gaps of up to two seconds, are -5."""
    random = np.random.default_rng([performance.seed, 10])
    known = np.ones(len(times), dtype=np.bool_)
    for start in random.uniform(
        0, performance.seconds, random.poisson(_GAPS_PER_SECOND * performance.seconds)
    ):
        known &= (times < start) | (times > start + random.uniform(0.2, 2.0))
    rows = [
        f"{valence:.6f},{arousal:.6f}" if is_known else UNANNOTATED
        for (valence, arousal), is_known in zip(performance.truth_at(times), known, strict=True)
    ]
    file.write_text("\n".join([HEADER, *rows]) + "\n")


class _RecordingWriter:
    def __init__(self, folder: Path, spec: DatasetSpec, clip_spec: ClipSpec) -> None:
        self._folder = folder
        self._clip_spec = clip_spec
        self._completion_file = get_completion_file(folder, spec, clip_spec)
        self._performance = Performance.from_seed(clip_spec.actor, seconds=spec.seconds)
        self._renderer = PerformanceRenderer(
            self._performance, Camera.from_seed(self._performance.seed)
        )
        exact = draw_frame_times(clip_spec.rate, spec.seconds, seed=self._performance.seed)
        self._exact_times = exact
        self._times = np.array([float(each) for each in exact])

    def write_clip(self) -> None:
        """Write `<name>.mp4` and its truth."""
        images = render_frames(self._performance, self._renderer, self._times)
        self._write_file(self._folder / f"{self._clip_spec.name}.mp4", images)
        part = self._completion_file.with_suffix(".part")
        write_truth(part, self._performance, self._times)
        part.replace(self._completion_file)

    def write_video(self, face_models: Path | None) -> None:
        """Write crops, video and annotations; with face models, crops are cut as in serving."""
        crops = self._folder / "cropped_aligned" / self._clip_spec.name
        video = self._folder / "videos" / f"{self._clip_spec.name}.mp4"
        for each in (crops, video.parent, self._completion_file.parent):
            each.mkdir(parents=True, exist_ok=True)
        if face_models is None:
            self._write_file(video, self._draw_crops(crops))
        else:
            self._write_file(video, render_frames(self._performance, self._renderer, self._times))
            _extract_crops(video, crops, face_models)
        part = self._completion_file.with_suffix(".part")
        write_annotations(part, self._performance, self._times)
        part.replace(self._completion_file)

    def _draw_crops(self, folder: Path) -> Iterator[UInt8Array]:
        """Write the crop of every visible frame; the video shows the crops, else grey."""
        visible = self._performance.is_visible_at(self._times)
        expressions = self._performance.expressions.sample(self._times)
        for index, (seconds, expression) in enumerate(zip(self._times, expressions, strict=True)):
            if not visible[index]:
                yield np.full((CROP_SIDE, CROP_SIDE, 3), 96, dtype=np.uint8)
                continue
            crop = self._renderer.render_crop(expression, float(seconds))
            _write_crop(folder, index, crop)
            yield crop

    def _write_file(self, path: Path, images: Iterator[UInt8Array]) -> None:
        write_clip(
            path,
            images,
            rate=get_declared_rate(self._clip_spec.rate),
            times=self._exact_times if self._clip_spec.rate == VARIABLE_RATE else None,
            waveform=render_audio(self._performance),
        )


def _extract_crops(video: Path, folder: Path, face_models: Path) -> None:
    """Detect and align the face in every decoded frame, in order, as in serving."""
    finder = open_face_finder(face_models, None)
    with av.open(str(video)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            image = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
            for face in finder.find(image, frame.time)[:1]:
                _write_crop(folder, index, align_crop(image, face.landmarks).transpose(1, 2, 0))


def _write_crop(folder: Path, index: int, crop: UInt8Array) -> None:
    bgr = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2BGR)
    _, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    (folder / f"{index + 1:05d}.jpg").write_bytes(coded.tobytes())
