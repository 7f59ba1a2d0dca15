"""Subjects: the persons of a data set, by the names of its recordings or by a table.

Aff-Wild2 names a video by number, frames per second and size, or as `videoN`; a number behind it
marks a part of that video, `_left` and `_right` one of two people in it:

    recording                 video file              subject                   source video
    5-60-1920x1080-3          5-60-1920x1080-3        5-60-1920x1080            5-60-1920x1080
    10-60-1280x720_right      10-60-1280x720          10-60-1280x720_right      10-60-1280x720
    video86_2                 video86_2               video86                   video86
    video5_left               video5                  video5_left               video5

Parts are one person; left and right are two persons, heard and seen in one scene: folds never
divide a source video. Other names are a person each, so that `actor_1` and `actor_2` stay two. The
names do not show whether one person is in two videos: that takes a table. Source: the names [L];
what a part or a side means for persons [I].
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from training.data.errors import SubjectTableInvalid

TABLE_COLUMNS: Final = ("video", "subject")
_SIDE: Final = re.compile(r"_(left|right)$")
_PART: Final = re.compile(r"^(\d+-\d+-\d+x\d+|video\d+)[-_]\d+$")
_DRAWN_RATE: Final = re.compile(r"^(actor\d+)-(\d+|variable)$")
"""A drawn actor's clips, one for each frame rate."""


def parse_video(recording: str) -> str:
    """Return the name of the video file: a recording's name without `_left` or `_right`."""
    return _SIDE.sub("", recording)


def parse_source_video(recording: str) -> str:
    """Return the video that a recording was cut from: its name without side and part number."""
    video = parse_video(recording)
    numbered = _PART.match(video) or _DRAWN_RATE.match(video)
    return numbered[1] if numbered else video


def parse_subject(recording: str) -> str:
    """Return the person's name: the source video, with the side where it shows two people."""
    side = _SIDE.search(recording)
    return parse_source_video(recording) + (side[0] if side else "")


def read_subject_table(file: Path) -> Mapping[str, str]:
    """Read a CSV with the columns `video,subject`: the person of each recording.

    `video` is a recording's name, with its side if it has one; recordings without a row have the
    person of their name.

    Raises: SubjectTableInvalid: with the line.
    """
    subjects: dict[str, str] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(lines)
            header = [cell.strip().lower() for cell in next(rows, list[str]())]
            if header != list(TABLE_COLUMNS):
                raise SubjectTableInvalid(f"{file}, line 1: the columns are not video,subject")
            for row in rows:
                if row:
                    _add_row(subjects, row, f"{file}, line {rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SubjectTableInvalid(f"{file}: {error}") from error
    return subjects


def _add_row(subjects: dict[str, str], row: list[str], location: str) -> None:
    cells = [cell.strip() for cell in row]
    if len(cells) != len(TABLE_COLUMNS) or not all(cells):
        raise SubjectTableInvalid(f"{location}: {','.join(row)!r} is not a video and a subject")
    video, subject = cells
    if subjects.setdefault(video, subject) != subject:
        raise SubjectTableInvalid(f"{location}: {video} is {subjects[video]} in an earlier line")
