"""Check of a whole data set, past its first fault."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from training.checking.findings import CheckReport, Finding, measure_splits
from training.checking.recording_check import CheckedRecording, check_recording
from training.data.errors import DatasetError, SubjectsShared
from training.data.folders import DatasetOptions, find_folders
from training.data.layout import Recording, scan_dataset
from training.data.subjects import read_subject_table
from training.folds import plan_folds

TrackProgress = Callable[[Iterable[CheckedRecording], int], Iterable[CheckedRecording]]
"""Takes what is being checked and the number of recordings, and yields the same."""


def check_dataset(
    root: Path, options: DatasetOptions, *, quick: bool, workers: int, track: TrackProgress
) -> CheckReport:
    """Check every recording and how the recordings go together.

    Args: quick: sample crops, and open videos without decoding them; workers: threads.
    """
    recordings: list[Recording] = []
    findings: list[Finding] = []
    try:
        for each in scan_dataset(root, options):
            if isinstance(each, DatasetError):
                findings.append(Finding.of(each))
            else:
                recordings.append(each)
    except DatasetError as error:
        findings.append(Finding.of(error))
        return CheckReport(sizes={}, findings=tuple(findings))

    def check(recording: Recording) -> CheckedRecording:
        return check_recording(
            recording, quick=quick, allow_missing_audio=options.allow_missing_audio
        )

    with ThreadPoolExecutor(workers) as threads:
        checking = threads.map(check, recordings)
        checked = list(track(checking, len(recordings)))
    findings += [finding for each in checked for finding in each.findings]
    findings += _find_duplicates(recordings, checked)
    findings += _find_same_videos(recordings)
    findings += _check_subjects(root, options, recordings)
    return CheckReport(sizes=measure_splits(recordings), findings=tuple(findings))


def _find_duplicates(
    recordings: Sequence[Recording], checked: Sequence[CheckedRecording]
) -> Iterator[Finding]:
    annotations, crops = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for recording, each in zip(recordings, checked, strict=True):
        if each.annotation is not None:
            annotations[each.annotation].append(recording.name)
        if each.crops is not None:
            crops[each.crops].append(recording.name)
    for kind, found in (("AnnotationsEqual", annotations), ("CropsEqual", crops)):
        for names in found.values():
            if len(names) > 1:
                yield Finding.warning(kind, ", ".join(names))


def _find_same_videos(recordings: Sequence[Recording]) -> Iterator[Finding]:
    """Find different files with the same content; only those of equal size are read."""
    videos = {recording.video for recording in recordings if recording.video is not None}
    by_size = defaultdict[int, list[Path]](list)
    for video in sorted(videos):
        by_size[video.stat().st_size].append(video)
    for files in by_size.values():
        if len(files) > 1:
            yield from _compare_videos(files)


def _compare_videos(files: Sequence[Path]) -> Iterator[Finding]:
    by_content = defaultdict[str, list[Path]](list)
    for file in files:
        with file.open("rb") as content:
            by_content[hashlib.file_digest(content, "sha256").hexdigest()].append(file)
    for same in by_content.values():
        if len(same) > 1:
            yield Finding.warning("VideosEqual", ", ".join(map(str, same)))


def _check_subjects(
    root: Path, options: DatasetOptions, recordings: Sequence[Recording]
) -> Iterator[Finding]:
    table = find_folders(root, options).subjects
    if table is not None:
        unknown = set(read_subject_table(table)) - {recording.name for recording in recordings}
        for name in sorted(unknown):
            yield Finding.warning("SubjectUnused", f"{table}: there is no recording {name}")
    try:
        plan = plan_folds(recordings, seed=0)
    except DatasetError as error:
        yield Finding.of(error)
        return
    for name in plan.left_out:
        detail = f"a person or video of {name} is in the test set; it is left out of training"
        yield Finding.warning(SubjectsShared.__name__, detail)
    for name in plan.shared:
        detail = f"a person or video of {name} is in the validation set; it is left out of fold 0"
        if options.refuse_shared_subjects:
            yield Finding.of(SubjectsShared(detail))
        else:
            yield Finding.warning(SubjectsShared.__name__, detail)
