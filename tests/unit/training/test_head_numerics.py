"""Numerics of `fit-head`, against the service's own code and naive solutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_dataset import write_dataset
from toy_estimator import BANDS, export_toy_estimator

from service.domain.array_types import Float64Array
from service.domain.estimator import EstimatorChoice
from service.domain.smoothing import Sample, Smoother
from service.estimators.repository import EstimatorRepository
from training.data.crops import read_crop
from training.data.layout import Recording, read_dataset
from training.data.video import read_frame_times, read_packet_times
from training.head_fitting.cross_fitting import assign_cells, cross_fit
from training.head_fitting.estimator_networks import load_networks
from training.head_fitting.face_features import FaceFeatureStore, LookOptions
from training.head_fitting.ridge import FrameMoments, RidgeRegression
from training.head_fitting.selection import LinearHead, Objective, fit_head
from training.head_fitting.time_smoothing import smooth_columns


@pytest.mark.parametrize("sigma", [0.0, 0.2, 1.0, 3.0])
def test_columns_are_smoothed_as_the_service_does(sigma: float) -> None:
    random = np.random.default_rng(3)
    steps = random.choice([0.0, 0.01, 0.04, 0.4, 5.0], 200, p=[0.1, 0.3, 0.4, 0.15, 0.05])
    times, values = np.cumsum(steps), random.normal(size=(200, 2))
    known = random.random(200) < 0.8
    smoother = Smoother(sigma_seconds=sigma)
    samples: list[Sample] = []
    for seconds, (first, second), seen in zip(
        times.tolist(), values.tolist(), known.tolist(), strict=True
    ):
        pair = (first, second) if seen else None
        samples += smoother.add(Sample(time_seconds=seconds, values=pair))
    samples += smoother.close()
    expected = np.array([sample.values or (0.0, 0.0) for sample in samples])
    np.testing.assert_allclose(smooth_columns(times, values, known, sigma), expected, atol=1e-12)


def draw_cells(count: int, seed: int = 0) -> list[tuple[Float64Array, Float64Array]]:
    """Draw the features (N, 5), the last constant, and the targets (N, 2) of some cells."""
    random = np.random.default_rng(seed)
    slopes = random.normal(size=(5, 2))
    cells: list[tuple[Float64Array, Float64Array]] = []
    for _ in range(count):
        features = random.normal(2.0, (0.1, 1.0, 3.0, 1.0, 0.0), size=(80, 5))
        noise = random.normal(size=(80, 2))
        cells.append((features, np.tanh(0.1 * (features - 2.0) @ slopes + 0.2 * noise)))
    return cells


def test_ridge_from_sums_equals_ridge_on_the_frames() -> None:
    cells, ridge = draw_cells(3), 0.3
    moments = FrameMoments.total(FrameMoments.measure(*cell) for cell in cells)
    coefficients = RidgeRegression(moments).solve(ridge)
    features, targets = (np.concatenate(part) for part in zip(*cells, strict=True))
    varying = features[:, :4]
    scaled = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    system = scaled.T @ scaled / len(scaled) + ridge * np.eye(4)
    common = scaled.T @ (targets - targets.mean(axis=0)) / len(scaled)
    slopes = np.asarray(np.linalg.inv(system) @ common, np.float64)
    np.testing.assert_allclose(coefficients[1:5], slopes / varying.std(axis=0)[:, None], atol=1e-9)
    assert not coefficients[5].any()
    estimate = features @ coefficients[1:] + coefficients[0]
    np.testing.assert_allclose(estimate.mean(axis=0), targets.mean(axis=0), atol=1e-9)
    x, y = estimate, targets
    sums = [np.ones_like(x), x, y, x * x, y * y, x * y]
    expected = np.stack([part.sum(axis=0) for part in sums], axis=-1)
    np.testing.assert_allclose(moments.compare(coefficients), expected, rtol=1e-9)


def test_a_cell_has_no_part_in_the_head_that_estimates_it() -> None:
    cells = draw_cells(4)
    heads: list[dict[int, LinearHead]] = []
    for change in (0.0, 0.5):
        features, targets = cells[2]
        changed = [*cells[:2], (features, targets + change * features[:, :2]), *cells[3:]]
        parts = {cell: FrameMoments.measure(*each) for cell, each in enumerate(changed)}
        heads.append(cross_fit({0.0: parts, 1.0: parts}, Objective.CCC))
    same = [np.array_equal(heads[0][c].coefficients, heads[1][c].coefficients) for c in range(4)]
    assert same == [False, False, True, False]


def test_a_head_for_ccc_varies_as_the_truth_and_one_for_rmse_errs_least() -> None:
    cells = draw_cells(4, seed=1)
    parts = {0.0: {cell: FrameMoments.measure(*each) for cell, each in enumerate(cells)}}
    features, targets = (np.concatenate(part) for part in zip(*draw_cells(9, seed=1), strict=True))
    estimates = {each: fit_head(parts, each).estimate(features) for each in Objective}
    error = {each: float(np.mean((estimates[each] - targets) ** 2)) for each in Objective}
    assert error[Objective.RMSE] < error[Objective.CCC]
    ratio = {each: estimates[each].std(axis=0) / targets.std(axis=0) for each in Objective}
    assert (np.abs(np.log(ratio[Objective.CCC])) < np.abs(np.log(ratio[Objective.RMSE]))).all()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recording]:
    root = write_dataset(tmp_path_factory.mktemp("data"))
    return {recording.name: recording for recording in read_dataset(root)}


def test_a_frame_without_a_face_has_the_last_face_though_it_was_not_looked_at(
    recordings: dict[str, Recording], tmp_path: Path
) -> None:
    export_toy_estimator(tmp_path / "models")
    networks = load_networks(EstimatorRepository(tmp_path / "models"), EstimatorChoice("toy"))
    store = FaceFeatureStore(tmp_path, networks, LookOptions(stride=5))
    recording = recordings["duo_left"]  # no face in rows 0, 1 and 20
    assert list(store.prepare([recording])) == [recording]
    features = store.read(recording)
    assert features.rows.tolist() == list(range(0, 50, 5))
    assert features.known.tolist() == [False] + [True] * 9
    crop = read_crop(recording.crop_file(19)).mean(axis=(1, 2)).reshape(BANDS, -1).mean(axis=1)
    np.testing.assert_allclose(features.features[4], crop / 255, atol=1e-6)
    np.testing.assert_allclose(features.absent_seconds[3:6], (0, 0.04, 0), atol=1e-9)


def test_packets_have_the_times_of_their_frames(recordings: dict[str, Recording]) -> None:
    video = recordings["train0"].video
    assert video is not None
    np.testing.assert_array_equal(read_packet_times(video), read_frame_times(video))


def test_every_person_is_in_one_cell_and_nobody_of_the_test_set(
    recordings: dict[str, Recording],
) -> None:
    cells = assign_cells([*recordings.values()], seed=0)
    assert set(cells) == {name for name in recordings if not name.startswith("test")}
    assert cells["duo_left"] == cells["duo_right"]
    assert {cells["check0"], cells["check1"]} == {0}
    assert set(cells.values()) == set(range(6))
