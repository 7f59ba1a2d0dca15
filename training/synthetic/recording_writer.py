"""One piece of an order, written: a video of Aff-Wild2's layout, or a clip with its truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np

from service.domain.array_types import UInt8Array
from service.faces.alignment import align_crop
from service.faces.finder import open_face_finder
from training.synthetic.annotation_writer import write_annotations
from training.synthetic.camera import Camera
from training.synthetic.clip import render_audio, render_frames, write_clip, write_truth
from training.synthetic.dataset_spec import ClipSpec, DatasetSpec
from training.synthetic.frame_rates import VARIABLE_RATE, draw_frame_times, get_declared_rate
from training.synthetic.performance import Performance
from training.synthetic.renderer import PerformanceRenderer

JPEG_QUALITY: Final = 95


def write_recording(
    folder: Path, spec: DatasetSpec, clip_spec: ClipSpec, face_models: Path
) -> None:
    """Write the piece; what marks it as finished is written last."""
    cv2.setNumThreads(1)
    recording = _RecordingWriter(folder, spec, clip_spec)
    if spec.clips:
        recording.write_clip()
    else:
        recording.write_video(face_models if spec.as_served else None)


def get_completion_file(folder: Path, spec: DatasetSpec, clip_spec: ClipSpec) -> Path:
    """The file that is there when the piece is finished."""
    if spec.clips:
        return folder / f"{clip_spec.name}.csv"
    return folder / "VA_Estimation_Challenge" / clip_spec.split_folder / f"{clip_spec.name}.txt"


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
        """`<name>.mp4` and the truth beside it."""
        pictures = render_frames(self._performance, self._renderer, self._times)
        self._write_file(self._folder / f"{self._clip_spec.name}.mp4", pictures)
        part = self._completion_file.with_suffix(".part")
        write_truth(part, self._performance, self._times)
        part.replace(self._completion_file)

    def write_video(self, face_models: Path | None) -> None:
        """Crops, video and annotations; the crops are served ones if there are face models."""
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
        """Write every visible frame's crop; the video shows them, and grey for the others."""
        visible = self._performance.is_visible_at(self._times)
        expressions = self._performance.expressions.sample(self._times)
        for index, (seconds, expression) in enumerate(zip(self._times, expressions, strict=True)):
            if not visible[index]:
                yield np.full((112, 112, 3), 96, dtype=np.uint8)
                continue
            crop = self._renderer.render_crop(expression, float(seconds))
            _write_crop(folder, index, crop)
            yield crop

    def _write_file(self, path: Path, pictures: Iterator[UInt8Array]) -> None:
        write_clip(
            path,
            pictures,
            rate=get_declared_rate(self._clip_spec.rate),
            times=self._exact_times if self._clip_spec.rate == VARIABLE_RATE else None,
            waveform=render_audio(self._performance),
        )


def _extract_crops(video: Path, folder: Path, face_models: Path) -> None:
    """Find and align the face in every decoded frame, in order, as serving does."""
    finder = open_face_finder(face_models, None)
    with av.open(str(video)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            picture = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
            for face in finder.find(picture)[:1]:
                _write_crop(folder, index, align_crop(picture, face.landmarks).transpose(1, 2, 0))


def _write_crop(folder: Path, index: int, crop: UInt8Array) -> None:
    bgr = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2BGR)
    _, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    (folder / f"{index + 1:05d}.jpg").write_bytes(coded.tobytes())
