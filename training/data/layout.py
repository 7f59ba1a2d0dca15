"""Recordings of Aff-Wild2 in its layout on disk, real or synthetic.

Folders are those of `training.data.folders`; row i of an annotation file is crop i + 1, and a
missing crop is a frame without a face. Source [L].
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from service.domain.array_types import BoolArray, Float32Array
from training.data.annotations import read_annotations
from training.data.crops import (
    CUT_MANIFEST_FILE,
    CropNames,
    format_crop_name,
    list_crops,
)
from training.data.errors import (
    CropsNotFound,
    DatasetError,
    DuplicateRecording,
    LayoutNotFound,
    SplitEmpty,
    VideoNotFound,
)
from training.data.folders import (
    DatasetFolders,
    DatasetOptions,
    filter_test_files,
    find_folders,
    is_annotations_folder,
    list_files,
    normalise_folder,
)
from training.data.subjects import (
    parse_source_video,
    parse_subject,
    parse_video,
    read_subject_table,
)
from training.data.test_list import SubmissionRow, TestList, read_test_list


class Split(StrEnum):
    """The parts of the official split."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


_LOG: Final = logging.getLogger(__name__)
_MAX_ROWS: Final = 500_000
"""Five hours at 30 frames a second."""
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
    crop_names: (T,) file names of the crops; None: the challenge's own.
    table_subject: person by a table; None: by the name.
    """

    name: str
    split: Split
    targets: Float32Array
    has_face: BoolArray
    crops_folder: Path
    video: Path | None
    crop_names: CropNames | None = None
    surplus_crops: int = 0
    """Crops past the last row, which nothing uses."""
    table_subject: str | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def subject(self) -> str:
        """Name of the person."""
        return self.table_subject or parse_subject(self.name)

    @property
    def source_video(self) -> str:
        """Name of the video that this and its other parts and sides were cut from."""
        return parse_source_video(self.name)

    @property
    def video_name(self) -> str:
        """Name of the video file without suffix, or the name that it should have."""
        return parse_video(self.name) if self.video is None else self.video.stem

    @property
    def is_annotated(self) -> BoolArray:
        """(T,) mask of the frames with valence and arousal."""
        return np.logical_not(np.isnan(self.targets).any(axis=1))

    def crop_file(self, row: int) -> Path:
        """Return the file of a row that has a face."""
        if self.crop_names is None:
            return self.crops_folder / format_crop_name(row)
        return self.crops_folder / os.fsdecode(bytes(self.crop_names[row]))


def read_dataset(root: Path, options: DatasetOptions | None = None) -> tuple[Recording, ...]:
    """Read every recording, ordered by split and name; the test set may be a list of names.

    Raises: LayoutNotFound, LayoutAmbiguous, SplitEmpty, DuplicateRecording, AnnotationUnreadable,
        SubjectTableInvalid, TestListInvalid, CropsNotFound, CropsMisnumbered, VideoNotFound.
    """
    recordings: list[Recording] = []
    for each in scan_dataset(root, options):
        if isinstance(each, DatasetError):
            raise each
        recordings.append(each)
    return tuple(recordings)


def scan_dataset(
    root: Path, options: DatasetOptions | None = None
) -> Iterator[Recording | DatasetError]:
    """Yield every recording, or the error because of which it cannot be read.

    Raises: LayoutNotFound, LayoutAmbiguous, SubjectTableInvalid, TestListInvalid: of the whole.
    """
    options = options or DatasetOptions()
    folders = find_folders(root, options)
    reader = _RecordingReader(
        folders,
        {} if folders.subjects is None else read_subject_table(folders.subjects),
        allow_missing_video=options.allow_missing_audio,
    )
    splits: dict[str, Split] = {}
    for split, folder in _SPLIT_FOLDERS.items():
        files = _list_annotations(folders.annotations, folder)
        if not files and split is not Split.TEST:
            yield SplitEmpty(f"no *.txt in {folders.annotations / folder}")
        for file in files:
            if file.stem in splits:
                yield DuplicateRecording(f"{file.stem}: {splits[file.stem]} and {split}")
                continue
            splits[file.stem] = split
            yield from reader.read_annotated(file, split)
    if Split.TEST not in splits.values():
        yield from reader.read_listed(read_test_list(folders.test_files), splits)


def read_sample_submission(
    root: Path, options: DatasetOptions | None = None
) -> tuple[SubmissionRow, ...] | None:
    """Read the rows of the sample submission; None if there is none.

    Raises: LayoutNotFound, LayoutAmbiguous, TestListInvalid.
    """
    return read_test_list(find_folders(root, options).test_files).rows or None


def list_recording_names(annotations: Path) -> list[str]:
    """List the names of all recordings that annotation files and test lists name.

    The organisers' folder holds other challenges too: where one is VA_Estimation_Challenge, the
    recordings are those of it.

    Raises: LayoutNotFound: nothing is named, or there is no such folder; TestListInvalid.
    """
    if not annotations.is_dir():
        raise LayoutNotFound(f"{annotations} is not a folder")
    files = list_files(annotations)
    splits = {folder.lower() for folder in _SPLIT_FOLDERS.values()}
    annotated = [file for file in files if normalise_folder(file.parent.name) in splits]
    of_challenge = [file for file in annotated if is_annotations_folder(file.parent.parent)]
    names = {file.stem for file in of_challenge or annotated if file.suffix.lower() == ".txt"}
    names |= set(read_test_list(filter_test_files(files)).names)
    if not names:
        raise LayoutNotFound(
            f"no {', '.join(_SPLIT_FOLDERS.values())} with *.txt and no test list in {annotations}"
        )
    return sorted(names)


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


@dataclass(frozen=True, slots=True)
class _RecordingReader:
    folders: DatasetFolders
    subjects: Mapping[str, str]
    allow_missing_video: bool

    def read_annotated(self, file: Path, split: Split) -> Iterator[Recording | DatasetError]:
        try:
            yield self._read(file.stem, split, read_annotations(file))
        except DatasetError as error:
            yield error

    def read_listed(
        self, test_list: TestList, splits: Mapping[str, Split]
    ) -> Iterator[Recording | DatasetError]:
        """Yield the recordings of a test list; nothing if not one of them has crops."""
        places = self.folders.crops
        if not any((place / name).is_dir() for name in test_list.names for place in places):
            if test_list.names:
                _LOG.warning("no test set: none of its %d names has crops", len(test_list.names))
            return
        for name in test_list.names:
            try:
                if name in splits:
                    raise DuplicateRecording(f"{name}: {splits[name]} and {Split.TEST}")
                rows = test_list.row_counts.get(name) or self._count_crops(name)
                yield self._read(name, Split.TEST, np.full((rows, 2), np.nan, np.float32))
            except DatasetError as error:
                yield error

    def _count_crops(self, name: str) -> int:
        """Count the rows of a listed recording: up to its last crop."""
        names, _ = list_crops(self.folders.find_crops(name), _MAX_ROWS)
        with_face = np.flatnonzero(names != b"")
        if not len(with_face):
            raise CropsNotFound(f"{name}: {self.folders.find_crops(name)} is empty")
        return int(with_face[-1]) + 1

    def _read(self, name: str, split: Split, targets: Float32Array) -> Recording:
        crops = self.folders.find_crops(name)
        names, surplus = list_crops(crops, len(targets))
        if len(names) and not names.any() and not (crops / CUT_MANIFEST_FILE).is_file():
            raise CropsNotFound(f"{name}: no file such as 00001.jpg in {crops}")
        return Recording(
            name=name,
            split=split,
            targets=targets,
            has_face=names != b"",
            crops_folder=crops,
            crop_names=names,
            surplus_crops=surplus,
            video=self._find_video(name),
            table_subject=self.subjects.get(name),
        )

    def _find_video(self, name: str) -> Path | None:
        try:
            return self.folders.find_video(name)
        except VideoNotFound:
            if self.allow_missing_video:
                return None
            raise


def _list_annotations(folder: Path, split_folder: str) -> list[Path]:
    """List the annotation files of a split, in any case of its folder; hidden ones are not."""
    places = [
        place
        for place in sorted(folder.iterdir())
        if normalise_folder(place.name) == split_folder.lower() and place.is_dir()
    ]
    files = (file for place in places for file in place.iterdir())
    return sorted(
        file for file in files if file.suffix.lower() == ".txt" and not file.name.startswith(".")
    )
