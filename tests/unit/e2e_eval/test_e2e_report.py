"""Metrics, thresholds and the report of an evaluation."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from e2e_eval.frame_matching import ExcludedFrames, MatchedFrames
from e2e_eval.report import build_report, list_failures, list_unjudged, show_report
from e2e_eval.thresholds import MIN_JUDGED_PEOPLE
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
    person: str = "actor0",
) -> MatchedFrames:
    """Make 200 frames with offline and served values of the truth plus noise."""
    random = np.random.default_rng(seed)
    truth = np.tanh(random.normal(0, 0.5, (200, 2)))
    offline, served = (
        truth + noise * random.normal(size=truth.shape) for noise in (offline_noise, served_noise)
    )
    return MatchedFrames(
        person=person,
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


def make_group(
    rate: str, *, served_noise: float, offline_noise: float = 0.1, people: int = MIN_JUDGED_PEOPLE
) -> list[MatchedFrames]:
    """Make one clip of each of several people."""
    return [
        make_matched(
            rate,
            served_noise=served_noise,
            offline_noise=offline_noise,
            seed=number,
            person=f"actor{number}",
        )
        for number in range(people)
    ]


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
    good = make_group("24", served_noise=0.1)
    bad = make_group("variable", served_noise=0.6, offline_noise=0.6)
    failed = list_failures(build_report([*good, *bad], RECORD, PROVENANCE))
    assert any(
        line.startswith("rate variable: served valence has CCC 0.") and "0.80 is required" in line
        for line in failed
    )
    assert not any(line.startswith("rate 24") for line in failed)


def test_served_scores_that_differ_from_offline_fail_even_when_high() -> None:
    report = build_report(
        make_group("24", served_noise=0.16, offline_noise=0.01), RECORD, PROVENANCE
    )
    assert report["end_to_end"]["valence"] > 0.85
    failed = list_failures(report)
    assert any("rate 24: served valence is -0.0" in line for line in failed)
    assert all("from offline, at most 0.03" in line for line in failed)
    better = build_report(
        make_group("24", served_noise=0.01, offline_noise=0.16), RECORD, PROVENANCE
    )
    assert any("served valence is +0.0" in line for line in list_failures(better))


def test_targets_are_not_judged_on_too_few_people() -> None:
    few = make_group("24", served_noise=0.6, people=MIN_JUDGED_PEOPLE - 1)
    report = build_report(few, RECORD, PROVENANCE)
    assert list_failures(report) == []
    assert report["targets"]["hold"] is True
    assert list_unjudged(report) == ["all clips (7)", "rate 24 (7)"]
    enough = build_report(make_group("24", served_noise=0.6), RECORD, PROVENANCE)
    assert list_unjudged(enough) == []
    assert enough["targets"]["hold"] is False


def test_rates_with_too_few_people_are_not_judged_but_all_clips_are() -> None:
    clips = [
        replace(clip, rate=("24", "30")[number % 2])
        for number, clip in enumerate(make_group("24", served_noise=0.1))
    ]
    report = build_report(clips, RECORD, PROVENANCE)
    judged = [each for each in report["targets"]["checked"] if each["holds"] is not None]
    assert [each["sentence"].split(":")[0] for each in judged[1:]] == ["all clips"] * 4
    assert list_unjudged(report) == ["rate 24 (4)", "rate 30 (4)"]
    assert {each["people"] for each in judged[1:]} == {MIN_JUDGED_PEOPLE}
    assert all(each["interval_99"][0] < each["figure"] < each["interval_99"][1]
               for each in judged[1:])  # fmt: skip


def test_a_figure_below_the_target_by_the_chance_of_its_people_holds() -> None:
    """A few people whose estimates are bad pull the figure down; others might not be drawn."""
    good = make_group("24", served_noise=0.05, people=10)
    bad = [
        replace(clip, person=f"other{number}", served=-clip.served, offline=-clip.offline)
        for number, clip in enumerate(make_group("24", served_noise=0.05, people=2))
    ]
    report = build_report([*good, *bad], RECORD, PROVENANCE)
    assert report["end_to_end"]["valence"] < 0.8
    assert report["end_to_end"]["interval_99"]["valence"][1] > 0.8
    assert not any("has CCC" in line for line in list_failures(report))


def test_figures_by_person_stand_beside_the_concatenated_ones() -> None:
    clips = [*make_group("24", served_noise=0.3), *make_group("60", served_noise=0.3)]
    report = build_report(clips, RECORD, PROVENANCE)
    own = [
        recompute_ccc(
            np.concatenate([clip.served[:, 0], clip.served[:, 0]]),
            np.concatenate([clip.truth[:, 0], clip.truth[:, 0]]),
        )
        for clip in clips[:MIN_JUDGED_PEOPLE]
    ]
    served = report["end_to_end"]["by_person"]
    assert served["people"] == MIN_JUDGED_PEOPLE
    assert served["mean"]["valence"] == pytest.approx(np.mean(own))
    assert served["deviation"]["valence"] == pytest.approx(np.std(own, ddof=1))
    low, high = served["interval_95"]["valence"]
    assert low < report["end_to_end"]["valence"] < high
    assert report["end_to_end"]["by_rate"]["60"]["by_person"]["people"] == MIN_JUDGED_PEOPLE
    assert "mean CCC of 8: valence 0." in render_report(report)


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
        person="actor0", rate="24", truth=empty, offline=empty, offline_spread=empty, served=empty,
        served_spread=empty, excluded=NONE_EXCLUDED, frames=0, missing_rows=0, unexpected_rows=0,
    )  # fmt: skip
    with pytest.raises(NoAnnotatedFrames):
        build_report([unscored], RECORD, PROVENANCE)
