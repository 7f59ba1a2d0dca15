from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable

import numpy as np
import pytest

from service.domain.clip import FaceBox, Frame, Missing
from service.domain.media import Anomalies, Flag, MediaFacts
from service.domain.timeline import (
    AnalysisClosed,
    AnalysisOpened,
    Estimate,
    FramesSeen,
    TimelinePoint,
)
from service.errors import InternalError, ResultFormatUnknown
from service.results.columns import ESTIMATE_COLUMNS, FACE_COLUMNS, Result, ResultBuilder
from service.results.formats import CSV, FORMATS, JSON, Format, format_named

MEDIA = MediaFacts(
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


def points(values: Iterable[float]) -> list[TimelinePoint]:
    """Frames at odd times with these values in every column; the first has seen no face."""
    blind = Frame(index=0, time_seconds=0.0, missing=Missing.FACE_NOT_FOUND)
    found = [TimelinePoint(frame=blind, estimate=None)]
    for index, value in enumerate(values, start=1):
        face = FaceBox(left=value, top=value, width=value, height=value, score=value)
        frame = Frame(index=index, time_seconds=index / 29.97, face=face)
        estimate = Estimate(**dict.fromkeys(ESTIMATE_COLUMNS, value))
        found.append(TimelinePoint(frame=frame, estimate=estimate))
    return found


def result_of(made: list[TimelinePoint]) -> Result:
    builder = ResultBuilder({"weights": "untrained"})
    builder.add(AnalysisOpened(media=MEDIA))
    for point in made:
        builder.add(point)
        builder.add(FramesSeen(done=point.frame.index + 1, expected=None))
    builder.add(
        AnalysisClosed(
            frames=len(made), flags=(Flag.NO_AUDIO,), anomalies=Anomalies(times_repeated=3)
        )
    )
    return builder.build()


def text_of(written: Format, result: Result) -> str:
    return b"".join(written.write(result)).decode()


@pytest.fixture(scope="module")
def made() -> list[TimelinePoint]:
    """More than two slices, of every magnitude a float32 has."""
    noise = np.random.default_rng(7)
    magnitudes = 10.0 ** noise.uniform(-40, 5, size=9_000)
    values = noise.choice([-1, 1], size=9_000) * magnitudes
    return points(values.astype(np.float32).tolist())


def test_json_floats_read_back_as_the_same_float32(made: list[TimelinePoint]) -> None:
    result = result_of(made)

    frames = json.loads(text_of(JSON, result))["frames"]

    for name in ESTIMATE_COLUMNS:
        read = np.array([np.nan if v is None else v for v in frames[name]], dtype=np.float32)
        np.testing.assert_array_equal(read, result.frames.estimates[name])
    assert frames["time"] == [point.frame.time_seconds for point in made]
    assert frames["index"] == list(range(len(made)))


def test_csv_and_json_hold_the_same_cells(made: list[TimelinePoint]) -> None:
    result = result_of(made)
    frames = json.loads(text_of(JSON, result), parse_float=str, parse_int=str)["frames"]
    columns = frames | {f"face_{name}": frames["face"][name] for name in FACE_COLUMNS}

    rows = list(csv.DictReader(io.StringIO(text_of(CSV, result))))

    assert len(rows) == len(made)
    for name in rows[0]:
        expected = [_cell(value) for value in columns[name]]
        assert [row[name] for row in rows] == expected, name


def _cell(value: str | bool | None) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def test_every_column_has_one_value_for_each_frame(made: list[TimelinePoint]) -> None:
    frames = json.loads(text_of(JSON, result_of(made)))["frames"]
    columns = {**frames, **frames.pop("face")}

    assert {len(column) for name, column in columns.items() if name != "face"} == {len(made)}


def test_what_is_unknown_is_null_and_never_a_number() -> None:
    result = result_of(points([float("nan"), 0.25]))

    text = text_of(JSON, result)

    frames = json.loads(text, parse_constant=lambda constant: pytest.fail(constant))["frames"]
    assert frames["valence"] == [None, None, 0.25]
    assert frames["face"]["left"] == [None, None, 0.25]
    assert frames["observed"] == [False, True, True]
    assert frames["missing"] == ["face_not_found", None, None]
    assert text_of(CSV, result).splitlines()[1] == "0,0.0,,,,,,,false,face_not_found,,,,,"


def test_a_result_says_what_it_is_and_where_it_comes_from() -> None:
    whole = json.loads(text_of(JSON, result_of(points([0.5]))))

    assert whole["schema"] == "circumplex.result.v1"
    assert whole["provenance"] == {"weights": "untrained"}
    assert whole["flags"] == ["no_audio"]
    assert whole["media"]["rotation_degrees"] == 90
    assert whole["media"]["duration_seconds"] is None
    assert whole["media"]["anomalies"]["times_repeated"] == 3


def test_a_result_without_frames_is_still_a_result() -> None:
    result = result_of([])

    assert json.loads(text_of(JSON, result))["frames"]["valence"] == []
    assert len(text_of(CSV, result).splitlines()) == 1


def test_a_lost_frame_is_a_defect_and_no_result() -> None:
    builder = ResultBuilder({})
    builder.add(AnalysisOpened(media=MEDIA))
    builder.add(points([])[0])
    builder.add(AnalysisClosed(frames=2, flags=()))

    with pytest.raises(InternalError, match="2 frames were decoded and 1"):
        builder.build()


def test_an_analysis_without_its_end_is_a_defect() -> None:
    builder = ResultBuilder({})
    builder.add(AnalysisOpened(media=MEDIA))

    with pytest.raises(InternalError):
        builder.build()


def test_formats_are_found_by_name_and_suffix() -> None:
    assert format_named(".CSV") is FORMATS["csv"]
    with pytest.raises(ResultFormatUnknown, match="json, csv"):
        format_named("xml")
