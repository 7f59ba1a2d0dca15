"""Errors of a data set.

DatasetError
├── LayoutNotFound          a folder of Aff-Wild2's layout is missing
├── SplitEmpty              a part of the official split has no annotation file
├── DuplicateRecording      one recording is in two parts of the split
├── AnnotationUnreadable    an annotation file has an invalid line
├── CropsNotFound           an annotated recording has no folder of crops
├── CropUnreadable          a crop is not an image
├── VideoUnreadable         a video file exists and cannot be read
├── NoAnnotatedFrames       no usable frame where some are needed
└── TooFewSubjects          fewer subjects than the folds need
"""

from __future__ import annotations


class DatasetError(Exception):
    """The data set cannot be used."""

    def __init__(self, detail: str) -> None:
        title = (type(self).__doc__ or type(self).__name__).splitlines()[0].rstrip(".")
        super().__init__(f"{title}: {detail}")


class LayoutNotFound(DatasetError):
    """The folder is not laid out like Aff-Wild2."""


class SplitEmpty(DatasetError):
    """A part of the official split has no annotation file."""


class DuplicateRecording(DatasetError):
    """One recording is in two parts of the split."""


class AnnotationUnreadable(DatasetError):
    """An annotation file cannot be read."""


class CropsNotFound(DatasetError):
    """An annotated recording has no folder of crops."""


class CropUnreadable(DatasetError):
    """A crop is not an image."""


class VideoUnreadable(DatasetError):
    """A video file cannot be read."""


class NoAnnotatedFrames(DatasetError):
    """There is no annotated frame to train on or to score."""


class TooFewSubjects(DatasetError):
    """There are fewer subjects than folds need."""
