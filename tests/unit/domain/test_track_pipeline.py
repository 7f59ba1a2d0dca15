"""Points of one track: order, forward fill, frames without a face."""

import numpy as np
import pytest

from service.domain.clip import FaceBox, Frame, TimelinePoint, TrackedFace
from service.domain.track_pipeline import TrackPipeline
from service.domain.uncertainty import FACTORS, UNCALIBRATED, StdMeaning, UncertaintyModel
from service.domain.windows import FusionOutput, Window

FACE = TrackedFace(track=3, box=FaceBox(left=1, top=2, width=3, height=4, score=0.9))


def frame(index: int, *, face: bool) -> Frame:
    return Frame(index=index, time_seconds=index / 25, faces=(FACE,) if face else ())


def echo_fusion(window: Window) -> FusionOutput:
    """Return the first visual features, showing the face that fills a frame."""
    mean = window.features.visual[: window.frames, :2]
    return FusionOutput(mean=mean, spread=np.zeros_like(mean))


def points_of(
    present: list[bool], uncertainty: UncertaintyModel = UNCALIBRATED, class_count: int = 0
) -> list[TimelinePoint]:
    """Points of frames whose face features, where there is a face, are their index / 1000."""
    pipeline = TrackPipeline(
        track=3,
        window_frames=300,
        hop_frames=200,
        smoothing_seconds=0,
        uncertainty=uncertainty,
        class_count=class_count,
    )
    points: list[TimelinePoint] = []
    for first in range(0, len(present), 32):
        part = present[first : first + 32]
        frames = [frame(first + k, face=face) for k, face in enumerate(part)]
        values = [f.index / 1000 for f in frames if f.faces]
        faces = np.repeat(np.array(values, np.float32)[:, None], 512, axis=1)
        for window in pipeline.add(
            frames, faces.reshape(-1, 512), np.zeros((len(part), 128), "f4")
        ):
            points += pipeline.add_fusion_output(echo_fusion(window))
    for window in pipeline.close():
        points += pipeline.add_fusion_output(echo_fusion(window))
    return points + list(pipeline.finish())


def test_frames_carried_on_are_less_certain_the_longer_the_face_is_absent() -> None:
    model = UncertaintyModel(
        meaning=StdMeaning.CALIBRATED,
        weights=dict.fromkeys(FACTORS, (0.0, 0.0)) | {"constant": (-2, -2), "absence": (0.2, 0.1)},
    )
    points = points_of([True] * 9 + [False] * 40 + [True] * 9, model)
    deviations = [p.estimate.valence_std for p in points if p.estimate]
    assert deviations[:9] == deviations[-9:] == [pytest.approx(np.exp(-2))] * 9
    assert deviations[8:49] == sorted(set(deviations[8:49]))
    # 40 frames at 25 a second; log(1 + 1.6 / 0.2) * 0.2
    assert deviations[48] == pytest.approx(np.exp(-2) * 9**0.2)


def test_every_frame_has_one_point_in_order() -> None:
    points = points_of([True] * 777)
    assert [point.frame.index for point in points] == list(range(777))


def test_missing_face_is_filled_from_the_last_face_and_stays_marked() -> None:
    points = points_of([True, True, False, False, True])
    values = [round(p.estimate.valence, 6) for p in points if p.estimate]
    assert values == [0.0, 0.001, 0.001, 0.001, 0.004]
    assert [p.face is None for p in points] == [False, False, True, True, False]


def test_class_probabilities_are_of_the_frame_and_never_filled_forward() -> None:
    points = points_of([False, True, False, *[True] * 40], class_count=2)
    rows = [point.class_probabilities for point in points]
    assert rows[:3] == [(), (pytest.approx(0.001),) * 2, ()]
    assert rows[3:] == [(pytest.approx(index / 1000),) * 2 for index in range(3, 43)]


def test_estimators_without_classes_have_no_probabilities() -> None:
    assert {point.class_probabilities for point in points_of([True] * 5)} == {()}


def test_last_face_is_filled_forward_across_chunks_and_windows() -> None:
    points = points_of([True] + [False] * 699)
    assert {p.estimate.valence if p.estimate else None for p in points} == {0.0}


def test_frames_before_the_first_face_have_no_estimate() -> None:
    points = points_of([False] * 40 + [True] * 10)
    assert [p.estimate is None for p in points] == [True] * 40 + [False] * 10


def test_clip_without_faces_has_points_without_estimates() -> None:
    points = points_of([False] * 450)
    assert len(points) == 450
    assert all(point.estimate is None for point in points)
