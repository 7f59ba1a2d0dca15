"""One piece of an order, written: a video of Aff-Wild2's layout, or a clip with its truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np

from service.domain.arrays import Bytes
from service.features.alignment import align_crop
from service.features.finder import open_finder
from training.synthetic.annotations import write_annotations
from training.synthetic.camera import Camera
from training.synthetic.clip import film, sound_of, write_clip, write_truth
from training.synthetic.order import Order, Piece
from training.synthetic.performance import Performance
from training.synthetic.rates import VARIABLE, declared_rate, frame_times
from training.synthetic.studio import Studio

JPEG_QUALITY: Final = 95


def write_piece(folder: Path, order: Order, piece: Piece, face_models: Path) -> None:
    """Write the piece; what marks it as finished is written last."""
    cv2.setNumThreads(1)
    recording = _Recording(folder, order, piece)
    if order.clips:
        recording.write_clip()
    else:
        recording.write_video(face_models if order.as_served else None)


def finished_file(folder: Path, order: Order, piece: Piece) -> Path:
    """The file that is there when the piece is finished."""
    if order.clips:
        return folder / f"{piece.name}.csv"
    return folder / "VA_Estimation_Challenge" / piece.part / f"{piece.name}.txt"


class _Recording:
    def __init__(self, folder: Path, order: Order, piece: Piece) -> None:
        self._folder = folder
        self._piece = piece
        self._finished = finished_file(folder, order, piece)
        self._performance = Performance.of_seed(piece.actor, seconds=order.seconds)
        self._studio = Studio(self._performance, Camera.of_seed(self._performance.seed))
        exact = frame_times(piece.rate, order.seconds, seed=self._performance.seed)
        self._exact = exact
        self._times = np.array([float(each) for each in exact])

    def write_clip(self) -> None:
        """`<name>.mp4` and the truth beside it."""
        pictures = film(self._performance, self._studio, self._times)
        self._write_file(self._folder / f"{self._piece.name}.mp4", pictures)
        part = self._finished.with_suffix(".part")
        write_truth(part, self._performance, self._times)
        part.replace(self._finished)

    def write_video(self, face_models: Path | None) -> None:
        """Crops, video and annotations; the crops are served ones if there are face models."""
        crops = self._folder / "cropped_aligned" / self._piece.name
        video = self._folder / "videos" / f"{self._piece.name}.mp4"
        for each in (crops, video.parent, self._finished.parent):
            each.mkdir(parents=True, exist_ok=True)
        if face_models is None:
            self._write_file(video, self._draw_crops(crops))
        else:
            self._write_file(video, film(self._performance, self._studio, self._times))
            _cut_crops(video, crops, face_models)
        part = self._finished.with_suffix(".part")
        write_annotations(part, self._performance, self._times)
        part.replace(self._finished)

    def _draw_crops(self, folder: Path) -> Iterator[Bytes]:
        """Write every visible frame's crop; the video shows them, and grey for the others."""
        visible = self._performance.visible(self._times)
        expressions = self._performance.expressions.at(self._times)
        for index, (seconds, expression) in enumerate(zip(self._times, expressions, strict=True)):
            if not visible[index]:
                yield np.full((112, 112, 3), 96, dtype=np.uint8)
                continue
            crop = self._studio.crop(expression, float(seconds))
            _write_crop(folder, index, crop)
            yield crop

    def _write_file(self, path: Path, pictures: Iterator[Bytes]) -> None:
        write_clip(
            path,
            pictures,
            rate=declared_rate(self._piece.rate),
            times=self._exact if self._piece.rate == VARIABLE else None,
            waveform=sound_of(self._performance),
        )


def _cut_crops(video: Path, folder: Path, face_models: Path) -> None:
    """Find and align the face in every decoded frame, in order, as serving does."""
    finder = open_finder(face_models, None)
    with av.open(str(video)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            picture = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
            for face in finder.find(picture)[:1]:
                _write_crop(folder, index, align_crop(picture, face.points).transpose(1, 2, 0))


def _write_crop(folder: Path, index: int, crop: Bytes) -> None:
    bgr = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2BGR)
    _, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    (folder / f"{index + 1:05d}.jpg").write_bytes(coded.tobytes())
