"""Errors of a data set.

DatasetError
├── LayoutNotFound          a folder of Aff-Wild2's layout is missing
├── LayoutAmbiguous         several folders or files may be meant
├── SplitEmpty              a part of the official split has no annotation file
├── DuplicateRecording      one recording is in two parts of the split
├── AnnotationUnreadable    an annotation file has an invalid line
├── SubjectTableInvalid     the table of subjects has an invalid line
├── SubjectsShared          a person is in the training and in the validation set
├── TestListInvalid         the list of test videos or the sample submission cannot be used
├── CropsNotFound           an annotated recording has no folder of crops
├── CropsMisnumbered        crops do not have one number each, from 1
├── CropUnreadable          a crop is broken or not an image
├── VideoNotFound           a recording has no video, and so no audio
├── VideoUnreadable         a video file exists and cannot be read
├── VideoTooShort           a video has fewer frames than its annotation has rows
├── DatasetChanged          files were changed while they were read
├── CacheReplaced           another process has replaced a file of the cache
├── NoAnnotatedFrames       no usable frame where some are needed
├── TooFewSubjects          fewer subjects than the folds need
├── CropsFolderOccupied     cut crops would replace something else
└── CropsFolderBusy         another process cuts crops into the folder
"""

from __future__ import annotations


class DatasetError(Exception):
    """The data set cannot be used."""

    def __init__(self, detail: str) -> None:
        title = (type(self).__doc__ or type(self).__name__).splitlines()[0].rstrip(".")
        super().__init__(f"{title}: {detail}")


class LayoutNotFound(DatasetError):
    """The folder is not laid out like Aff-Wild2."""


class LayoutAmbiguous(DatasetError):
    """Several folders or files may be meant."""


class SplitEmpty(DatasetError):
    """A part of the official split has no annotation file."""


class DuplicateRecording(DatasetError):
    """One recording is in two parts of the split."""


class AnnotationUnreadable(DatasetError):
    """An annotation file cannot be read."""


class SubjectTableInvalid(DatasetError):
    """The table of subjects cannot be used."""


class SubjectsShared(DatasetError):
    """A person is in the training and in the validation set."""


class TestListInvalid(DatasetError):
    """The test list or the sample submission cannot be used."""

    __test__ = False
    """Not a test, although pytest would collect it by its name."""


class CropsNotFound(DatasetError):
    """An annotated recording has no folder of crops."""


class CropsMisnumbered(DatasetError):
    """The crops of a recording do not have one number each, from 1."""


class CropUnreadable(DatasetError):
    """A crop is broken or not an image."""


class VideoNotFound(DatasetError):
    """A recording has no video, and so no audio."""


class VideoUnreadable(DatasetError):
    """A video file cannot be read."""


class VideoTooShort(DatasetError):
    """A video has fewer frames than its annotation has rows."""


class DatasetChanged(DatasetError):
    """Files were changed while they were read."""


class CacheReplaced(DatasetError):
    """Another process has replaced a file of the cache."""


class NoAnnotatedFrames(DatasetError):
    """There is no annotated frame to train on or to score."""


class TooFewSubjects(DatasetError):
    """There are fewer subjects than folds need."""


class CropsFolderOccupied(DatasetError):
    """Cut crops would replace something else."""


class CropsFolderBusy(DatasetError):
    """Another process cuts crops into this folder."""
