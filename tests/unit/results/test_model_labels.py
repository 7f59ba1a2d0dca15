"""Model, domain, caveats and class columns in the formats of a result."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from circumplex_client import ClipResult

from service.domain.clip import (
    AnalysisClosed,
    AnalysisOpened,
    Estimate,
    FaceBox,
    Frame,
    FramesDecoded,
    TimelinePoint,
    TrackedFace,
)
from service.domain.media import Anomalies, Flag
from service.domain.options import FaceSelection
from service.results.builder import ESTIMATE_COLUMNS, AnalysisResult, ResultBuilder
from service.results.formats import CSV, CSV_HEADER, JSON
from tests.fake_estimators import make_manifest
from tests.sample_media import MEDIA_INFO

CLASSES = ("angry", "happy", "neutral")
BOX = FaceBox(left=10, top=10, width=50, height=60, score=0.9)
WITH_AUDIO = Anomalies(audio_first_seconds=0.0, audio_last_seconds=1.0)
FIGURE = {"metric": "rmse", "valence": 0.4, "on": "pictures", "source": "a paper"}


def make_point(track: int, index: int, *, face: bool) -> TimelinePoint:
    """A point whose probabilities follow from its track and frame, float32 of any length."""
    first = float(np.float32((index + 1) / (7 * track)))
    return TimelinePoint(
        track=track,
        frame=Frame(
            index=index,
            time_seconds=index / 25,
            faces=(TrackedFace(track=track, box=BOX),) if face else (),
        ),
        estimate=Estimate(**dict.fromkeys(ESTIMATE_COLUMNS, 0.25)),
        class_probabilities=(first, 1e-9, 1.0) if face else (),
    )


def make_result(
    *,
    tracks: tuple[int, ...] = (1, 2),
    flags: tuple[Flag, ...] = (),
    anomalies: Anomalies = WITH_AUDIO,
    **facts: Any,
) -> AnalysisResult:
    """Four frames with the faces of these tracks; frame 2 shows none. facts: of the manifest."""
    builder = ResultBuilder(make_manifest(**facts), {}, FaceSelection.ALL)
    builder.add(AnalysisOpened(media=MEDIA_INFO))
    builder.add(FramesDecoded(times_seconds=tuple(index / 25 for index in range(4))))
    for track in tracks:
        for index in range(4):
            builder.add(make_point(track, index, face=index != 2))
    builder.add(
        AnalysisClosed(
            frames=4, flags=flags, anomalies=anomalies, primary=tracks[0] if tracks else None
        )
    )
    return builder.build()


def read_json(result: AnalysisResult) -> dict[str, Any]:
    return json.loads(b"".join(JSON.write(result)))


def read_rows(result: AnalysisResult) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(CSV.write(result)).decode())))


def test_json_and_csv_hold_the_same_class_columns_null_where_the_face_is_absent() -> None:
    result = make_result(classes=CLASSES)
    document, rows = read_json(result), read_rows(result)
    primary, other = (track["frames"]["classes"] for track in document["tracks"])
    assert list(document["frames"]["classes"]) == list(CLASSES)
    assert document["frames"]["classes"] == primary
    assert primary["angry"][2] is None
    for name in CLASSES:
        cells = ["" if value is None else str(value) for value in primary[name] + other[name]]
        assert [row[f"class_{name}"] for row in rows] == cells
    read = np.array(other["angry"][:2], np.float32).tolist()
    assert read == [float(np.float32(1 / 14)), float(np.float32(2 / 14))]


def test_columns_of_classes_are_there_without_any_face() -> None:
    result = make_result(tracks=(), flags=(Flag.NO_FACE,), classes=CLASSES)
    assert read_json(result)["frames"]["classes"] == dict.fromkeys(CLASSES, [None] * 4)
    assert [row["class_happy"] for row in read_rows(result)] == [""] * 4


def test_model_without_classes_has_no_such_columns() -> None:
    document, rows = read_json(make_result()), read_rows(make_result())
    assert "classes" not in document["frames"]
    assert list(rows[0]) == list(CSV_HEADER)


def test_every_csv_row_names_the_model_and_its_domain() -> None:
    rows = read_rows(make_result(name="glimpse", version=12, domain="photographs"))
    assert {(row["model"], row["domain"]) for row in rows} == {("glimpse@12", "photographs")}
    assert {row["domain"] for row in read_rows(make_result(domain=None))} == {""}


def test_json_describes_the_model() -> None:
    model = read_json(
        make_result(
            name="glimpse",
            version=12,
            title="Two nets.",
            domain="photographs",
            modalities=("face",),
            classes=CLASSES,
            calibration={"meaning": "published_error"},
            figures=[FIGURE],
            training="trained",
        )
    )["model"]
    assert model == {
        "id": "glimpse@12",
        "name": "glimpse",
        "version": 12,
        "title": "Two nets.",
        "domain": "photographs",
        "modalities": ["face"],
        "modalities_used": ["face"],
        "std_meaning": "published_error",
        "classes": list(CLASSES),
        "licences": {"code": "Apache-2.0", "weights": "none: random", "data": "none"},
        "figures": [
            FIGURE | {"arousal": None, "rated_video": False, "measured_by": "publisher"},
        ],
        "caveats": ["never measured on rated recordings of people"],
    }


@pytest.mark.parametrize(
    ("modalities", "flags", "anomalies", "used"),
    [
        (("face", "voice"), (), WITH_AUDIO, ["face", "voice"]),
        (("face", "voice"), (Flag.NO_AUDIO,), Anomalies(), ["face"]),
        (("face", "voice"), (Flag.AUDIO_UNREADABLE,), Anomalies(), ["face"]),
        (("face", "voice"), (Flag.AUDIO_UNREADABLE,), WITH_AUDIO, ["face", "voice"]),
        (("face", "voice"), (Flag.NO_FACE,), WITH_AUDIO, []),
        (("face",), (), WITH_AUDIO, ["face"]),
    ],
)
def test_modalities_used_are_those_that_the_clip_has(
    modalities: tuple[str, ...], flags: tuple[Flag, ...], anomalies: Anomalies, used: list[str]
) -> None:
    result = make_result(modalities=modalities, flags=flags, anomalies=anomalies)
    assert read_json(result)["model"]["modalities_used"] == used


def test_result_is_flagged_with_the_caveats_of_its_weights() -> None:
    rated = [FIGURE | {"rated_video": True}]
    drawn, photographs, rated_video = (
        read_json(make_result(domain=domain, figures=figures, training="trained"))
        for domain, figures in (
            ("drawn", []),
            ("photographs", [FIGURE]),
            ("recordings", rated),
        )
    )
    assert drawn["flags"] == ["weights_synthetic", "weights_unmeasured"]
    assert len(drawn["model"]["caveats"]) == 2
    assert photographs["flags"] == ["weights_unmeasured"]
    assert (rated_video["flags"], rated_video["model"]["caveats"]) == ([], [])


def test_client_reads_model_and_class_columns() -> None:
    document = read_json(make_result(classes=CLASSES, domain="drawn"))
    result = ClipResult.from_json(document)
    assert result.model_details is not None
    assert (result.model, result.model_details.domain) == ("mini@1", "drawn")
    assert result.model_details.modalities_used == ["face", "voice"]
    assert dict(result.classes) == document["frames"]["classes"]
    assert result.tracks[1].frames is not None
    assert result.tracks[1].frames.classes == document["tracks"][1]["frames"]["classes"]


def test_client_reads_results_of_servers_without_these_fields() -> None:
    document = read_json(make_result())
    del document["model"]
    result = ClipResult.from_json(document)
    assert (result.model, result.model_details, dict(result.classes)) == (None, None, {})
    assert len(result) == 4


def measure_bytes_per_row(classes: tuple[str, ...], rows: int = 4000) -> float:
    """Measure the bytes of a row in a builder."""
    point = make_point(1, 0, face=True)
    tracemalloc.start()
    try:
        builder = ResultBuilder(make_manifest(classes=classes), {})
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(rows):
            builder.add(FramesDecoded(times_seconds=(0.0,)))
            builder.add(point)
        return (tracemalloc.get_traced_memory()[0] - before) / rows
    finally:
        tracemalloc.stop()


def test_row_takes_eight_and_forty_nine_bytes_and_four_for_each_class() -> None:
    none, three = measure_bytes_per_row(()), measure_bytes_per_row(CLASSES)
    growth = 1.15  # arrays grow by an eighth in advance
    assert 8 + 49 <= none <= growth * (8 + 49)
    assert 8 + 49 + 4 * 3 <= three <= growth * (8 + 49 + 4 * 3)
