"""Lines of `circumplex-client live`: class probabilities by name, modalities in the summary."""

from __future__ import annotations

import json
from dataclasses import replace

from circumplex_client.live.output import format_json, format_table_rows
from circumplex_client.live.results import (
    Box,
    FaceEstimate,
    FrameResult,
    StreamSummary,
    TrackResult,
)

CLASSES = ("angry", "happy", "neutral")
ESTIMATE = FaceEstimate(
    valence=0.5,
    arousal=-0.25,
    valence_std=0.1,
    arousal_std=0.2,
    valence_smoothed=0.5,
    arousal_smoothed=-0.25,
)
TRACK = TrackResult(
    track=3,
    box=Box(left=0, top=0, width=9, height=9, score=1),
    missing=None,
    estimate=ESTIMATE,
    class_probabilities=(0.0625, 0.875, 0.0625),
)
RESULT = FrameResult(index=7, time=0.28, is_final=True, tracks=(TRACK,), missing=None)
HIDDEN = replace(TRACK, box=None, missing="face_not_found", class_probabilities=())


def test_json_has_probabilities_by_name_and_none_without_a_face() -> None:
    (track,) = json.loads(format_json(RESULT, CLASSES))["tracks"]
    assert track["classes"] == {"angry": 0.0625, "happy": 0.875, "neutral": 0.0625}
    (hidden,) = json.loads(format_json(replace(RESULT, tracks=(HIDDEN,)), CLASSES))["tracks"]
    assert hidden["classes"] == {}
    assert hidden["estimate"]["valence"] == 0.5


def test_table_rows_end_with_the_likeliest_class_or_why_there_is_none() -> None:
    assert format_table_rows(RESULT, CLASSES).endswith("3 happy 0.88")
    assert format_table_rows(RESULT).endswith(" 3")
    hidden = replace(RESULT, tracks=(HIDDEN,))
    assert format_table_rows(hidden, CLASSES).endswith("3 face_not_found")


def test_summary_names_what_the_model_used() -> None:
    summary = StreamSummary(
        frames=2,
        frames_dropped=0,
        primary_track=1,
        dropped_tracks=(),
        flags=("weights_unmeasured",),
        latency=None,
        modalities_used=("face", "voice"),
    )
    assert "used face and voice; weights_unmeasured" in format_table_rows(summary)
    assert json.loads(format_json(summary))["modalities_used"] == ["face", "voice"]
