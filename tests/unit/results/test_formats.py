"""Result builder, and the JSON and CSV formats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable

import numpy as np
import pytest

from service.domain.clip import (
    AnalysisClosed,
    AnalysisOpened,
    AnalysisProgress,
    Estimate,
    FaceBox,
    Frame,
    FramesDecoded,
    TimelinePoint,
    TrackDropped,
    TrackedFace,
)
from service.domain.media import Anomalies, Flag, MediaInfo
from service.domain.options import FaceSelection
from service.errors import InternalError, ResultFormatUnknown
from service.results.builder import ESTIMATE_COLUMNS, FACE_COLUMNS, AnalysisResult, ResultBuilder
from service.results.formats import CSV, FORMATS, JSON, ResultFormat, find_format
from tests.fake_estimators import make_manifest

MEDIA = MediaInfo(
    container="mov,mp4",
    video_streams=2,
    video_stream_index=3,
    video_codec="h264",
    width=640,
    height=480,
    rotation_degrees=90,
    average_rate_hz=29.97,
    duration_seconds=None,
    frames_estimate=None,
    audio_codec="aac",
    audio_rate_hz=44_100,
    audio_channels=2,
)


def make_points(values: Iterable[float]) -> list[TimelinePoint]:
    """Points with these values in every column, after a first one without a face."""
    found = [TimelinePoint(track=1, frame=Frame(index=0, time_seconds=0.0), estimate=None)]
    for index, value in enumerate(values, start=1):
        box = FaceBox(left=value, top=value, width=value, height=value, score=value)
        found.append(make_point(1, index, box, value))
    return found


def make_point(track: int, index: int, box: FaceBox | None, value: float) -> TimelinePoint:
    faces = () if box is None else (TrackedFace(track=track, box=box),)
    frame = Frame(index=index, time_seconds=index / 29.97, faces=faces)
    estimate = Estimate(**dict.fromkeys(ESTIMATE_COLUMNS, value))
    return TimelinePoint(track=track, frame=frame, estimate=estimate)


def make_result(timeline: list[TimelinePoint]) -> AnalysisResult:
    builder = ResultBuilder(make_manifest(), {"weights": "untrained"})
    builder.add(AnalysisOpened(media=MEDIA))
    for point in timeline:
        builder.add(FramesDecoded(times_seconds=(point.frame.time_seconds,)))
        builder.add(point)
        builder.add(AnalysisProgress(done=point.frame.index + 1, expected=None))
    primary = 1 if timeline else None
    builder.add(
        AnalysisClosed(
            frames=len(timeline),
            flags=(Flag.NO_AUDIO,),
            anomalies=Anomalies(times_repeated=3),
            primary=primary,
        )
    )
    return builder.build()


BOX = FaceBox(left=-64, top=120, width=320, height=240, score=0.9)


def make_result_of_several_tracks(faces: FaceSelection) -> AnalysisResult:
    """Seven frames: track 2 is primary, 5 begins late and has a gap, 7 is dropped."""
    builder = ResultBuilder(make_manifest(), {}, faces)
    builder.add(AnalysisOpened(media=MEDIA))
    builder.add(FramesDecoded(times_seconds=tuple(index / 29.97 for index in range(7))))
    for index in range(7):
        builder.add(make_point(2, index, BOX if index else None, index / 10))
    builder.add(make_point(7, 3, BOX, 0.9))
    for index, box in ((1, None), (2, BOX), (3, None), (5, None), (6, BOX)):
        builder.add(make_point(5, index, box, -index / 10))
    builder.add(TrackDropped(track=7))
    builder.add(AnalysisClosed(frames=7, flags=(), primary=2))
    return builder.build()


def format_text(result_format: ResultFormat, result: AnalysisResult) -> str:
    return b"".join(result_format.write(result)).decode()


@pytest.fixture(scope="module")
def sample_points() -> list[TimelinePoint]:
    """More than two slices of points, with values of every float32 magnitude."""
    noise = np.random.default_rng(7)
    magnitudes = 10.0 ** noise.uniform(-40, 5, size=9_000)
    values = noise.choice([-1, 1], size=9_000) * magnitudes
    return make_points(values.astype(np.float32).tolist())


def test_json_floats_read_back_as_the_same_float32(sample_points: list[TimelinePoint]) -> None:
    result = make_result(sample_points)

    frames = json.loads(format_text(JSON, result))["frames"]

    for name in ESTIMATE_COLUMNS:
        read = np.array([np.nan if v is None else v for v in frames[name]], dtype=np.float32)
        np.testing.assert_array_equal(read, result.frames.estimates[name])
    assert frames["time"] == [point.frame.time_seconds for point in sample_points]
    assert frames["index"] == list(range(len(sample_points)))


def test_csv_and_json_hold_the_same_cells(sample_points: list[TimelinePoint]) -> None:
    result = make_result(sample_points)
    frames = json.loads(format_text(JSON, result), parse_float=str, parse_int=str)["frames"]
    columns = frames | {f"face_{name}": frames["face"][name] for name in FACE_COLUMNS}
    columns["track"] = ["1"] * len(sample_points)
    columns["model"] = ["mini@1"] * len(sample_points)
    columns["domain"] = [None] * len(sample_points)

    rows = list(csv.DictReader(io.StringIO(format_text(CSV, result))))

    assert len(rows) == len(sample_points)
    for name in rows[0]:
        expected = [_cell(value) for value in columns[name]]
        assert [row[name] for row in rows] == expected, name


def _cell(value: str | bool | None) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def test_every_column_has_one_value_for_each_frame(sample_points: list[TimelinePoint]) -> None:
    frames = json.loads(format_text(JSON, make_result(sample_points)))["frames"]
    columns = {**frames, **frames.pop("face")}

    assert {len(column) for name, column in columns.items() if name != "face"} == {
        len(sample_points)
    }


def test_unknown_values_are_null_or_empty() -> None:
    result = make_result(make_points([float("nan"), 0.25]))

    text = format_text(JSON, result)

    frames = json.loads(text, parse_constant=lambda constant: pytest.fail(constant))["frames"]
    assert frames["valence"] == [None, None, 0.25]
    assert frames["face"]["left"] == [None, None, 0.25]
    assert frames["observed"] == [False, True, True]
    assert frames["missing"] == ["face_not_found", None, None]
    row = "0,0.0,,,,,,,false,face_not_found,,,,,,,,,,1,mini@1,"
    assert format_text(CSV, result).splitlines()[1] == row


def test_json_has_schema_media_flags_and_provenance() -> None:
    document = json.loads(format_text(JSON, make_result(make_points([0.5]))))

    assert document["schema"] == "circumplex.result.v1"
    assert document["provenance"] == {"weights": "untrained"}
    assert document["std_meaning"] == "disagreement"
    assert document["flags"] == ["no_audio", "weights_unmeasured"]
    assert document["media"]["rotation_degrees"] == 90
    assert document["media"]["duration_seconds"] is None
    assert document["media"]["anomalies"]["times_repeated"] == 3


def test_result_without_frames_has_empty_columns() -> None:
    result = make_result([])

    assert json.loads(format_text(JSON, result))["frames"]["valence"] == []
    assert len(format_text(CSV, result).splitlines()) == 1


def test_missing_frame_raises_an_internal_error() -> None:
    builder = ResultBuilder(make_manifest(), {})
    builder.add(AnalysisOpened(media=MEDIA))
    builder.add(FramesDecoded(times_seconds=(0.0,)))
    builder.add(AnalysisClosed(frames=2, flags=()))

    with pytest.raises(InternalError, match="2 frames were decoded and 1"):
        builder.build()


def test_primary_track_without_points_raises_an_internal_error() -> None:
    builder = ResultBuilder(make_manifest(), {})
    builder.add(AnalysisOpened(media=MEDIA))
    builder.add(FramesDecoded(times_seconds=(0.0,)))
    builder.add(AnalysisClosed(frames=1, flags=(), primary=1))

    with pytest.raises(InternalError, match="no point of its own"):
        builder.build()


def test_frames_are_every_frame_with_the_primary_track() -> None:
    for faces in FaceSelection:
        document = json.loads(format_text(JSON, make_result_of_several_tracks(faces)))
        assert (document["faces"], document["track"]) == (faces, 2)
        assert document["frames"]["index"] == list(range(7))
        assert document["frames"]["observed"] == [False] + [True] * 6
        assert document["frames"]["missing"] == ["face_not_found"] + [None] * 6
        assert document["frames"]["valence"][6] == pytest.approx(0.6)


def test_dropped_tracks_are_left_out_of_the_tracks() -> None:
    primary, other = json.loads(
        format_text(JSON, make_result_of_several_tracks(FaceSelection.PRIMARY))
    )["tracks"]
    assert (primary["id"], primary["primary"], primary["observed_frames"]) == (2, True, 6)
    assert (other["id"], other["primary"], other["observed_frames"]) == (5, False, 2)
    assert (other["first_time"], other["last_time"]) == (2 / 29.97, 6 / 29.97)
    assert other["mean_face"]["width"] == 320
    assert other["mean_face"]["w"] == 0.4
    assert "frames" not in other


def test_every_track_has_its_own_frames_where_all_are_requested() -> None:
    document = json.loads(format_text(JSON, make_result_of_several_tracks(FaceSelection.ALL)))
    primary, other = document["tracks"]
    assert primary["frames"]["index"] == [1, 2, 3, 4, 5, 6]
    frames = other["frames"]
    assert frames["index"] == [2, 3, 5, 6]  # not before its beginning, nor in its gap
    assert frames["time"] == [index / 29.97 for index in frames["index"]]
    assert frames["observed"] == [True, False, False, True]
    assert frames["missing"] == [None, "face_not_found", "face_not_found", None]
    assert frames["valence"] == pytest.approx([-0.2, -0.3, -0.5, -0.6])
    assert frames["face"]["left"] == [-64.0, None, None, -64.0]


def test_relative_boxes_are_clipped_to_the_picture() -> None:
    face = json.loads(format_text(JSON, make_result_of_several_tracks(FaceSelection.PRIMARY)))[
        "frames"
    ]["face"]
    relative = {name: face[name][1] for name in ("x", "y", "w", "h")}
    assert relative == {"x": 0.0, "y": 0.25, "w": 0.4, "h": 0.5}
    assert [face[name][0] for name in relative] == [None] * 4


def test_csv_of_all_faces_begins_with_the_csv_of_the_primary_one() -> None:
    primary, every = (
        format_text(CSV, make_result_of_several_tracks(faces)) for faces in FaceSelection
    )
    assert every.startswith(primary)
    rows = list(csv.DictReader(io.StringIO(every)))
    assert [row["track"] for row in rows] == ["2"] * 7 + ["5"] * 4
    assert [row["index"] for row in rows[7:]] == ["2", "3", "5", "6"]


def test_unclosed_analysis_raises_an_internal_error() -> None:
    builder = ResultBuilder(make_manifest(), {})
    builder.add(AnalysisOpened(media=MEDIA))

    with pytest.raises(InternalError):
        builder.build()


def test_formats_are_found_by_name_and_suffix() -> None:
    assert find_format(".CSV") is FORMATS["csv"]
    with pytest.raises(ResultFormatUnknown, match="json, csv"):
        find_format("xml")
