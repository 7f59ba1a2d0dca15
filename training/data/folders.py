"""Folders of Aff-Wild2 as its organisers hand them out, found below one root.

    6th ABAW Annotations/VA_Estimation_Challenge/{Train_Set,Validation_Set[,Test_Set]}/<name>.txt
    cropped_aligned/<name>/00001.jpg, cropped_aligned_new_50_vids/<name>/00001.jpg
    batch1/<video>.mp4, batch2/<video>.avi, new_vids/<video>.mp4 .. or videos/<video>.mp4
    VA_test_set_release.txt                   names of the test videos, one a line
    <..>VA_test_set_sample.txt                sample submission: image_location,valence,arousal

Archives unpacked into a folder of their own name are found too; hidden files and `__MACOSX` are
passed over. Source: the challenge's downloads [L].
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from training.data.errors import CropsNotFound, LayoutAmbiguous, LayoutNotFound, VideoNotFound
from training.data.subjects import parse_video

ANNOTATIONS_FOLDER: Final = "VA_Estimation_Challenge"
_ANNOTATIONS_FOLDERS: Final = frozenset((ANNOTATIONS_FOLDER.lower(), "va_set"))
"""Names of it, the second of the challenges of 2020 and 2021."""
CROPS_FOLDER: Final = "cropped_aligned"
VIDEOS_FOLDER: Final = "videos"
SUBJECTS_FILE: Final = "subjects.csv"
VIDEO_SUFFIXES: Final = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".ts", ".mts", ".m2ts"),
        *(".avi", ".flv", ".mpg", ".mpeg", ".vob", ".wmv", ".asf", ".ogv", ".dv", ".mxf"),
    }
)
"""Suffixes of the containers that the service accepts."""
_LISTED_SUFFIXES: Final = VIDEO_SUFFIXES | {".txt", ".csv"}
_DEPTH: Final = 4
_TEST_FILE: Final = re.compile(
    r"(?=.*(?<![a-z])va(lence)?(?![a-z]))(?=.*test).*\.(txt|csv)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOptions:
    """Places that are not to be searched for, and what is accepted in a data set.

    crops, videos: folders, annotations: the folder of the splits; empty or None: searched for in
    the root. subjects: a table of persons, else `subjects.csv` of the root, if it is there.
    """

    annotations: Path | None = None
    crops: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    subjects: Path | None = None
    allow_missing_audio: bool = False
    """Recordings whose video is missing, broken or too short are silent there."""
    refuse_shared_subjects: bool = False
    """A person in the training and in the validation set is an error; else left out of fold 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFolders:
    """Places of a data set. test_files: lists of test videos and sample submissions."""

    annotations: Path
    crops: tuple[Path, ...]
    video_places: tuple[Path, ...]
    test_files: tuple[Path, ...]
    subjects: Path | None
    _videos: dict[str, list[Path]] = field(default_factory=dict[str, list[Path]])

    def find_crops(self, recording: str) -> Path:
        """Find a recording's folder of crops. Raises: CropsNotFound, LayoutAmbiguous."""
        found = [place / recording for place in self.crops if (place / recording).is_dir()]
        if not found:
            raise CropsNotFound(f"{recording}: looked in {_join(self.crops)}")
        if len(found) > 1:
            raise LayoutAmbiguous(f"crops of {recording}: {_join(found)}")
        return found[0]

    def find_video(self, recording: str) -> Path:
        """Find a recording's video, by its name with and without the side.

        Raises: VideoNotFound, LayoutAmbiguous.
        """
        for name in dict.fromkeys((recording, parse_video(recording))):
            found = self._videos.get(name, [])
            if len(found) > 1:
                raise LayoutAmbiguous(f"videos of {recording}: {_join(found)}")
            if found:
                return found[0]
        raise VideoNotFound(f"{recording}: looked in {_join(self.video_places)}")


def find_folders(root: Path, options: DatasetOptions | None = None) -> DatasetFolders:
    """Find the folders and files of a data set.

    Raises: LayoutNotFound, LayoutAmbiguous.
    """
    options = options or DatasetOptions()
    if not root.is_dir():
        raise LayoutNotFound(f"{root} is not a folder")
    crops = options.crops or tuple(_find_crop_folders(root))
    given = (options.annotations,) if options.annotations else ()
    for place in (*crops, *options.videos, *given):
        if not place.is_dir():
            raise LayoutNotFound(f"{place} is not a folder")
    if not crops:
        raise LayoutNotFound(f"no folder {CROPS_FOLDER}* in {root}")
    listing = list(_walk(root, _DEPTH, skipped=crops))
    annotations = _find_annotations(root, options.annotations, listing)
    if options.videos:
        places = options.videos
        listing_of_videos = [each for place in places for each in _walk(place, _DEPTH, skipped=())]
    else:
        places, listing_of_videos = (root,), listing
    table = options.subjects or root / SUBJECTS_FILE
    return DatasetFolders(
        annotations=annotations,
        crops=crops,
        video_places=_name_places(places, listing_of_videos),
        test_files=filter_test_files(listing),
        subjects=table if options.subjects or table.is_file() else None,
        _videos=index_videos(listing_of_videos),
    )


def index_videos(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Index the videos among files by their name without suffix."""
    index: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        if file.suffix.lower() in VIDEO_SUFFIXES:
            index[file.stem].append(file)
    return dict(index)


def filter_test_files(files: Sequence[Path]) -> tuple[Path, ...]:
    """Select lists of test videos and sample submissions, by their names."""
    return tuple(file for file in files if _TEST_FILE.fullmatch(file.name))


def list_files(folder: Path) -> list[Path]:
    """List the videos and texts up to four folders below; hidden ones are passed over."""
    return list(_walk(folder, _DEPTH, skipped=()))


def normalise_folder(name: str) -> str:
    """Return a folder's name in lower case, with underscores for spaces and hyphens."""
    return name.lower().replace(" ", "_").replace("-", "_")


def is_annotations_folder(folder: Path) -> bool:
    """Return whether a folder has the name of the challenge of valence and arousal."""
    return normalise_folder(folder.name) in _ANNOTATIONS_FOLDERS


def _find_crop_folders(root: Path) -> Iterator[Path]:
    """Find `cropped_aligned*`, and folders of that name in them, of archives unpacked twice."""
    for folder in _list_folders(root):
        if normalise_folder(folder.name).startswith(CROPS_FOLDER):
            nested = folder / folder.name
            yield nested if nested.is_dir() else folder


def _find_annotations(root: Path, given: Path | None, listing: Sequence[Path]) -> Path:
    if given is not None:
        inside = [folder for folder in _list_folders(given) if is_annotations_folder(folder)]
        return inside[0] if inside else given
    splits = {file.parent.parent for file in listing if file.suffix.lower() == ".txt"}
    found = sorted(filter(is_annotations_folder, splits))
    if not found:
        raise LayoutNotFound(
            f"no folder {ANNOTATIONS_FOLDER} with splits, in {_DEPTH} levels of {root}; name the "
            "folder of the splits with --annotations"
        )
    if len(found) > 1:
        raise LayoutAmbiguous(f"annotations: {_join(found)}")
    return found[0]


def _name_places(places: Sequence[Path], listing: Sequence[Path]) -> tuple[Path, ...]:
    """List the folders with videos, after the places that were searched."""
    folders = {file.parent for file in listing if file.suffix.lower() in VIDEO_SUFFIXES}
    return (*places, *sorted(folders - set(places)))


def _walk(folder: Path, depth: int, *, skipped: Sequence[Path]) -> Iterator[Path]:
    """Iterate over the videos and texts of a folder and of those below it, ordered by name."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        path = folder / entry.name
        if _is_passed_over(entry.name):
            continue
        if entry.is_dir():
            is_searched = depth and path not in skipped
            if is_searched and not normalise_folder(entry.name).startswith(CROPS_FOLDER):
                yield from _walk(path, depth - 1, skipped=skipped)
        elif path.suffix.lower() in _LISTED_SUFFIXES:
            yield path


def _list_folders(root: Path) -> list[Path]:
    return sorted(
        path for path in root.iterdir() if not _is_passed_over(path.name) and path.is_dir()
    )


def _is_passed_over(name: str) -> bool:
    """Return whether a name is hidden, as a Mac's `._name.txt`, or an archive's extra folder."""
    return name.startswith(".") or name == "__MACOSX"


def _join(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))
