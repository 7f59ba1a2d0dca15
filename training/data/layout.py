"""Aff-Wild2's layout on disk: annotation files, crops and videos, real or synthetic.

    VA_Estimation_Challenge/{Train_Set,Validation_Set[,Test_Set]}/<recording>.txt
    cropped_aligned/<recording>/00001.jpg     row i is file i + 1; no file: no face
    videos/<subject>.mp4                      audio and frame times; optional

`_left` and `_right` mark two faces of one video: two recordings of one subject. Source [L].
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from service.domain.array_types import BoolArray, Float32Array
from training.data.annotations import read_annotations
from training.data.crops import read_face_mask
from training.data.errors import CropsNotFound, DuplicateRecording, LayoutNotFound, SplitEmpty

ANNOTATIONS_FOLDER: Final = "VA_Estimation_Challenge"
CROPS_FOLDER: Final = "cropped_aligned"
VIDEOS_FOLDER: Final = "videos"
VIDEO_SUFFIXES: Final = (".mp4", ".avi", ".mkv", ".webm", ".mov")

_SIDE_SUFFIX: Final = re.compile(r"_(left|right)$")


class Split(StrEnum):
    """The parts of the official split."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


_SPLIT_FOLDERS: Final = {
    Split.TRAINING: "Train_Set",
    Split.VALIDATION: "Validation_Set",
    Split.TEST: "Test_Set",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """One face of one video.

    targets: (T, 2) valence and arousal, NaN where a frame is not annotated.
    has_face: (T,) True where a frame has a crop.
    """

    name: str
    split: Split
    targets: Float32Array
    has_face: BoolArray
    crops_folder: Path
    video: Path | None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def subject(self) -> str:
        """Name of the subject: the video's name."""
        return parse_subject(self.name)

    @property
    def is_annotated(self) -> BoolArray:
        """(T,) mask of the frames with valence and arousal."""
        return np.logical_not(np.isnan(self.targets).any(axis=1))


def parse_subject(recording: str) -> str:
    """Return the video's name: a recording's name without `_left` or `_right`."""
    return _SIDE_SUFFIX.sub("", recording)


def read_dataset(root: Path) -> tuple[Recording, ...]:
    """Read every annotated recording, ordered by split and name.

    Raises: LayoutNotFound, SplitEmpty, DuplicateRecording, AnnotationUnreadable, CropsNotFound.
    """
    annotations, crops = root / ANNOTATIONS_FOLDER, root / CROPS_FOLDER
    for folder in (root, annotations, crops):
        if not folder.is_dir():
            raise LayoutNotFound(f"{folder} is not a folder")
    recordings: dict[str, Recording] = {}
    for split, folder in _SPLIT_FOLDERS.items():
        files = sorted((annotations / folder).glob("*.txt"))
        if not files and split is not Split.TEST:
            raise SplitEmpty(f"no *.txt in {annotations / folder}")
        for file in files:
            if file.stem in recordings:
                raise DuplicateRecording(f"{file.stem}: {recordings[file.stem].split} and {split}")
            recordings[file.stem] = _read_recording(root, file, split)
    return tuple(recordings.values())


def filter_split(recordings: Sequence[Recording], split: Split) -> tuple[Recording, ...]:
    """Return the recordings of one part of the official split."""
    return tuple(recording for recording in recordings if recording.split is split)


def fingerprint_dataset(recordings: Sequence[Recording]) -> str:
    """Hash names, split, annotations and face masks with SHA-256; images are not hashed."""
    digest = hashlib.sha256()
    for recording in recordings:
        digest.update(f"{recording.split} {recording.name} {len(recording)}\n".encode())
        digest.update(recording.targets.astype("<f4").tobytes())
        digest.update(recording.has_face.tobytes())
    return digest.hexdigest()


def _read_recording(root: Path, file: Path, split: Split) -> Recording:
    targets = read_annotations(file)
    crops = root / CROPS_FOLDER / file.stem
    if not crops.is_dir():
        raise CropsNotFound(f"{crops} is not a folder, {file} needs it")
    video = next(_find_videos(root / VIDEOS_FOLDER, parse_subject(file.stem)), None)
    return Recording(
        name=file.stem,
        split=split,
        targets=targets,
        has_face=read_face_mask(crops, len(targets)),
        crops_folder=crops,
        video=video,
    )


def _find_videos(folder: Path, subject: str) -> Iterator[Path]:
    candidates = (folder / f"{subject}{suffix}" for suffix in VIDEO_SUFFIXES)
    return (file for file in candidates if file.is_file())
