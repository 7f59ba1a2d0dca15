"""What can be wrong with a data set.

DatasetError
├── LayoutNotFound          a folder of Aff-Wild2's layout is missing
├── SplitEmpty              a part of the official split has no annotation file
├── RecordingTwice          one recording is in two parts of the split
├── AnnotationUnreadable    a line of an annotation file is not what the layout says
├── CropsNotFound           an annotated recording has no folder of crops
├── CropUnreadable          a crop is no picture
├── VideoUnreadable         a video file is there and cannot be read
├── NothingAnnotated        not one usable frame where some are needed
└── TooFewSubjects          fewer subjects than folds need
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
    """A crop is not a picture."""


class VideoUnreadable(DatasetError):
    """A video file cannot be read."""


class NoAnnotatedFrames(DatasetError):
    """There is no annotated frame to learn from or to score."""


class TooFewSubjects(DatasetError):
    """There are fewer subjects than folds need."""
