"""Metrics, thresholds and the report of an evaluation."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from e2e_eval.frame_matching import ExcludedFrames, MatchedFrames
from e2e_eval.report import build_report, list_failures, show_report
from e2e_eval.training_record import TrainingRecord
from service.domain.array_types import Float64Array
from training.data.errors import NoAnnotatedFrames

PROVENANCE = {"seed": 5, "weights": {"training": "trained"}}
ABLATIONS = {"no_la_se": 0.81, "no_tcn": 0.62, "no_transformer": None, "face_only": 0.7}
RECORD = TrainingRecord(
    ablations=ABLATIONS, full_ccc=0.9, source="weights/mini/evaluation/test/report.json"
)
NONE_EXCLUDED = ExcludedFrames(only_offline=0, only_served=0, in_neither=0)


def make_matched(
    rate: str,
    *,
    served_noise: float,
    offline_noise: float = 0.1,
    seed: int = 0,
    missing_rows: int = 0,
) -> MatchedFrames:
    """Make 200 frames with offline and served values of the truth plus noise."""
    random = np.random.default_rng(seed)
    truth = np.tanh(random.normal(0, 0.5, (200, 2)))
    offline, served = (
        truth + noise * random.normal(size=truth.shape) for noise in (offline_noise, served_noise)
    )
    return MatchedFrames(
        rate=rate,
        truth=truth,
        offline=offline,
        offline_spread=np.full_like(truth, 0.1),
        served=served,
        served_spread=np.full_like(truth, served_noise),
        excluded=ExcludedFrames(only_offline=1, only_served=2, in_neither=3),
        frames=206,
        missing_rows=missing_rows,
        unexpected_rows=0,
    )


GOOD_CLIPS = [make_matched("24", served_noise=0.1), make_matched("60", served_noise=0.11, seed=1)]


def recompute_ccc(estimate: Float64Array, truth: Float64Array) -> float:
    """Compute the CCC from numpy's covariance."""
    (xx, xy), (_, yy) = np.cov(estimate, truth, bias=True)
    return float(2 * xy / (xx + yy + (estimate.mean() - truth.mean()) ** 2))


def render_report(report: dict[str, Any]) -> str:
    text = io.StringIO()
    show_report(report, Console(file=text, width=100))
    return text.getvalue()


def test_metrics_are_those_of_the_concatenated_frames() -> None:
    report = build_report(GOOD_CLIPS, RECORD, PROVENANCE)
    truth = np.concatenate([each.truth for each in GOOD_CLIPS])
    for place, target in enumerate(("valence", "arousal")):
        for key, values in (
            ("held_out", np.concatenate([each.offline for each in GOOD_CLIPS])),
            ("end_to_end", np.concatenate([each.served for each in GOOD_CLIPS])),
        ):
            expected = recompute_ccc(values[:, place], truth[:, place])
            assert report[key][target] == pytest.approx(expected, abs=1e-12)
        slow = report["end_to_end"]["by_rate"]["24"]
        alone = recompute_ccc(GOOD_CLIPS[0].served[:, place], GOOD_CLIPS[0].truth[:, place])
        assert slow[target] == pytest.approx(alone, abs=1e-12)
        assert slow["difference"][target] == pytest.approx(slow[target] - slow["offline"][target])


def test_report_within_thresholds_has_no_failures_and_is_plain_json() -> None:
    report = build_report(GOOD_CLIPS, RECORD, PROVENANCE)
    assert list_failures(report) == []
    assert report["targets"]["hold"] is True
    assert list(report["end_to_end"]["by_rate"]) == ["24", "60"]
    assert report["held_out"].keys() == {"valence", "arousal", "mean"}
    assert report["provenance"] == PROVENANCE
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_coverage_is_the_share_of_truth_within_90_percent_of_a_normal_spread() -> None:
    report = build_report([make_matched("24", served_noise=0.5)], RECORD, PROVENANCE)
    assert report["coverage_90"] == pytest.approx(0.9, abs=0.04)
    assert report["end_to_end"]["coverage_90"] == pytest.approx(0.9, abs=0.04)


def test_excluded_frames_are_counted() -> None:
    frames = build_report(GOOD_CLIPS, RECORD, PROVENANCE)["frames"]
    assert (frames["all"], frames["counted"], frames["clips"]) == (412, 400, 2)
    assert frames["left_out"] == {"only_offline": 2, "only_served": 4, "in_neither": 6}


def test_low_scores_are_reported_with_rate_and_target() -> None:
    bad = make_matched("variable", served_noise=0.6, offline_noise=0.6)
    failed = list_failures(build_report([*GOOD_CLIPS, bad], RECORD, PROVENANCE))
    assert any(
        line.startswith("rate variable: served valence has CCC 0.") and "0.80 is required" in line
        for line in failed
    )
    assert not any(line.startswith("rate 24") for line in failed)


def test_served_scores_that_differ_from_offline_fail_even_when_high() -> None:
    report = build_report(
        [make_matched("24", served_noise=0.18, offline_noise=0.01)], RECORD, PROVENANCE
    )
    assert report["end_to_end"]["valence"] > 0.85
    failed = list_failures(report)
    assert any("rate 24: served valence is -0.0" in line for line in failed)
    assert all("from offline, at most 0.03" in line for line in failed)
    better = build_report(
        [make_matched("24", served_noise=0.01, offline_noise=0.18)], RECORD, PROVENANCE
    )
    assert any("served valence is +0.0" in line for line in list_failures(better))


def test_missing_rows_fail_regardless_of_the_scores() -> None:
    failed = list_failures(
        build_report([make_matched("24", served_noise=0.1, missing_rows=2)], RECORD, PROVENANCE)
    )
    assert failed == ["every frame has exactly one row, offline and served: 2 do not"]


def test_ablations_come_from_the_record_with_its_source() -> None:
    report = build_report(GOOD_CLIPS, RECORD, PROVENANCE)
    assert report["ablations"] == ABLATIONS
    assert report["ablations_from"]["report"] == RECORD.source
    assert "full 0.900, no_la_se 0.810" in render_report(report)
    assert "no_transformer not recorded" in render_report(report)


def test_unrecorded_ablations_are_null_with_a_reason() -> None:
    report = build_report(
        GOOD_CLIPS, TrainingRecord(missing_reason="weights/mini is not a run"), PROVENANCE
    )
    assert report["ablations"] is None
    assert "not recorded (weights/mini is not a run)" in render_report(report)


def test_untrained_weights_are_named() -> None:
    untrained = build_report(GOOD_CLIPS, RECORD, {"weights": {"training": "untrained"}})
    assert "The weights are untrained" in render_report(untrained)
    assert "The weights are untrained" not in render_report(
        build_report(GOOD_CLIPS, RECORD, PROVENANCE)
    )


def test_clip_without_scored_frames_raises() -> None:
    empty = np.zeros((0, 2))
    unscored = MatchedFrames(
        rate="24", truth=empty, offline=empty, offline_spread=empty, served=empty,
        served_spread=empty, excluded=NONE_EXCLUDED, frames=0, missing_rows=0, unexpected_rows=0,
    )  # fmt: skip
    with pytest.raises(NoAnnotatedFrames):
        build_report([unscored], RECORD, PROVENANCE)
