"""Subjects: persons by the real names of Aff-Wild2's recordings, or by a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.data.errors import SubjectTableInvalid
from training.data.layout import Recording, Split
from training.data.subjects import (
    parse_source_video,
    parse_subject,
    parse_video,
    read_subject_table,
)
from training.folds import group_recordings, plan_folds

# recording, video file, subject, source video
REAL_NAMES = [
    ("1-30-1280x720", "1-30-1280x720", "1-30-1280x720", "1-30-1280x720"),
    ("5-60-1920x1080-1", "5-60-1920x1080-1", "5-60-1920x1080", "5-60-1920x1080"),
    ("5-60-1920x1080-4", "5-60-1920x1080-4", "5-60-1920x1080", "5-60-1920x1080"),
    ("24-30-1920x1080-2", "24-30-1920x1080-2", "24-30-1920x1080", "24-30-1920x1080"),
    ("28-30-1280x720-3", "28-30-1280x720-3", "28-30-1280x720", "28-30-1280x720"),
    ("122-60-1920x1080-5", "122-60-1920x1080-5", "122-60-1920x1080", "122-60-1920x1080"),
    ("6-30-1920x1080", "6-30-1920x1080", "6-30-1920x1080", "6-30-1920x1080"),
    ("6-30-1920x1080_left", "6-30-1920x1080", "6-30-1920x1080_left", "6-30-1920x1080"),
    ("10-60-1280x720_right", "10-60-1280x720", "10-60-1280x720_right", "10-60-1280x720"),
    ("46-30-484x360", "46-30-484x360", "46-30-484x360", "46-30-484x360"),
    ("136-30-1920x1080", "136-30-1920x1080", "136-30-1920x1080", "136-30-1920x1080"),
    ("video2", "video2", "video2", "video2"),
    ("video59", "video59", "video59", "video59"),
    ("video5_left", "video5", "video5_left", "video5"),
    ("video74_right", "video74", "video74_right", "video74"),
    ("video86_1", "video86_1", "video86", "video86"),
    ("video45_7", "video45_7", "video45", "video45"),
    ("5-60-1920x1080-2_left", "5-60-1920x1080-2", "5-60-1920x1080_left", "5-60-1920x1080"),
    # names of others: numbers behind them are people, not parts
    ("actor_1", "actor_1", "actor_1", "actor_1"),
    ("subject-2", "subject-2", "subject-2", "subject-2"),
    ("actor0100019", "actor0100019", "actor0100019", "actor0100019"),
    ("actor0100019-24", "actor0100019-24", "actor0100019", "actor0100019"),
    ("actor0100019-variable", "actor0100019-variable", "actor0100019", "actor0100019"),
]


@pytest.mark.parametrize(("name", "video", "subject", "source"), REAL_NAMES)
def test_a_real_name_gives_video_person_and_source(
    name: str, video: str, subject: str, source: str
) -> None:
    parsed = (parse_video(name), parse_subject(name), parse_source_video(name))
    assert parsed == (video, subject, source)


def recording(
    name: str, split: Split = Split.TRAINING, *, table_subject: str | None = None
) -> Recording:
    return Recording(
        name=name,
        split=split,
        targets=np.zeros((10, 2), np.float32),
        has_face=np.ones(10, np.bool_),
        crops_folder=Path(name),
        video=None,
        table_subject=table_subject,
    )


TRAINING_NAMES = (
    *("5-60-1920x1080-1", "5-60-1920x1080-2", "5-60-1920x1080-4", "video86_1", "video86_2"),
    *("6-30-1920x1080", "6-30-1920x1080_left", "6-30-1920x1080_right", "video5_left"),
    *("video5_right", "1-30-1280x720", "46-30-484x360", "136-30-1920x1080", "video59"),
)


def test_folds_divide_no_person_and_no_video_of_two_people() -> None:
    recordings = [*map(recording, TRAINING_NAMES), recording("video2", Split.VALIDATION)]
    assert len({each.subject for each in recordings}) == 12
    for seed in range(5):
        for fold in plan_folds(recordings, seed=seed).folds:
            held_out = set(map(parse_source_video, fold.validation))
            assert not held_out & set(map(parse_source_video, fold.training))


def test_a_training_recording_of_a_person_in_validation_is_named_and_left_out_of_fold_0() -> None:
    recordings = [
        *map(recording, TRAINING_NAMES),
        recording("24-30-1920x1080-1"),
        recording("24-30-1920x1080-2", Split.VALIDATION),
        recording("video74_left"),
        recording("video74_right", Split.VALIDATION),
    ]
    plan = plan_folds(recordings, seed=0)
    assert plan.shared == ("24-30-1920x1080-1", "video74_left")
    assert not set(plan.shared) & set(plan.folds[0].training)


def test_a_table_links_the_videos_of_one_person(tmp_path: Path) -> None:
    table = tmp_path / "subjects.csv"
    table.write_bytes(b"\xef\xbb\xbfvideo, subject\r\nvideo2,ann\r\nvideo59,ann\r\n\r\n")
    subjects = read_subject_table(table)
    assert subjects == {"video2": "ann", "video59": "ann"}
    recordings = [
        recording(name, table_subject=subjects.get(name))
        for name in ("video2", "video59", "video59_left", "video9")
    ]
    groups = group_recordings(recordings)
    assert groups["video2"] == groups["video59"] == groups["video59_left"] != groups["video9"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,person\nvideo2,ann\n", "line 1: the columns"),
        ("", "line 1"),
        ("video,subject\nvideo2\n", "line 2: 'video2'"),
        ("video,subject\nvideo2,\n", "line 2"),
        ("video,subject\nvideo2,ann\nvideo2,bob\n", "line 3: video2 is ann"),
    ],
)
def test_an_invalid_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(SubjectTableInvalid, match=message):
        read_subject_table(tmp_path / "table.csv")
