"""Ids and manifests of estimators."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.estimator import (
    Domain,
    EstimatorChoice,
    EstimatorId,
    EstimatorManifest,
    Figure,
    describe_model,
    find_weight_flags,
)
from service.domain.media import Flag
from service.domain.model_signatures import EXPORTED_MODELS, SERVED_MODELS
from service.domain.uncertainty import StdMeaning
from tests.fake_estimators import make_manifest, make_manifest_document

VOICE_SLOTS = {"log_mel", "audio_backbone"}
RATED = Figure(metric="ccc", valence=0.6, on="held-out recordings", rated_video=True, source="own")
UNRATED = Figure(metric="rmse", valence=0.4, on="photographs", source="publication")


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("expression", EstimatorChoice("expression")),
        ("mini@12", EstimatorChoice("mini", 12)),
        ("a_b-c0@999999", EstimatorChoice("a_b-c0", 999_999)),
    ],
)
def test_a_choice_is_a_name_with_or_without_a_version(text: str, choice: EstimatorChoice) -> None:
    assert EstimatorChoice.parse(text) == choice


@pytest.mark.parametrize(
    "text",
    [
        *("", "@1", "mini@", "mini@0", "mini@01", "mini@-1", "mini@1000000", "mini@1@2"),
        *("Mini", "1mini", "mini\n", " mini", "mini@\u0661", "../mini", "mini@1.fusion", "a" * 65),
    ],
)
def test_other_text_is_no_choice(text: str) -> None:
    with pytest.raises(ValueError, match="NAME or NAME@VERSION"):
        EstimatorChoice.parse(text)


def test_an_id_is_its_text_and_names_its_models() -> None:
    estimator = EstimatorId.parse("mini@3")
    assert estimator == EstimatorId("mini", 3)
    assert str(estimator) == "mini@3"
    assert estimator.part_name("fusion") == "mini@3.fusion"
    with pytest.raises(ValueError, match="has no version"):
        EstimatorId.parse("mini")


def test_ids_are_in_order_of_name_and_number() -> None:
    ids = [EstimatorId("mini", 10), EstimatorId("mini", 9), EstimatorId("expression", 11)]
    assert [*map(str, sorted(ids))] == ["expression@11", "mini@9", "mini@10"]


def test_a_manifest_has_all_slots_or_those_without_the_voice() -> None:
    both, face = make_manifest(), make_manifest(modalities=("face",))
    assert both.served_slots == SERVED_MODELS
    assert both.exported_slots == EXPORTED_MODELS
    assert (both.has_voice, face.has_voice) == (True, False)
    assert {each.name for each in face.served_slots} == {
        each.name for each in SERVED_MODELS
    } - VOICE_SLOTS
    assert both.weights_sha256["fusion"] == both.models["fusion"].weights_sha256


def test_a_manifest_keeps_what_it_does_not_know() -> None:
    document = make_manifest_document(preset="mini", something={"new": 1})
    assert EstimatorManifest.parse(document).document == document


def test_a_manifest_without_a_calibration_means_disagreement() -> None:
    assert make_manifest().uncertainty.meaning is StdMeaning.DISAGREEMENT
    published = make_manifest(calibration={"meaning": "published_error", "floor": [0.37, 0.32]})
    assert published.uncertainty.meaning is StdMeaning.PUBLISHED_ERROR
    assert published.uncertainty.floor == (0.37, 0.32)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Mini"},
        {"name": "mini@1"},
        {"version": 0},
        {"version": 1_000_000},
        {"version": "one"},
        {"domain": "dreams"},
        {"modalities": ["face", "smell"]},
        {"modalities": []},
        {"modalities": ["face"]},
        {"models": {}},
        {"licences": None},
        {"licences": {"code": "MIT"}},
        {"figures": [{"metric": "ccc"}]},
        {"smoothing_seconds": -0.1},
        {"smoothing_seconds": float("nan")},
        {"head_features": -1},
        {"head_features": 513},
        {"classes": ["a class"] * 513},
        {"calibration": {"meaning": "hope"}},
        {"calibration": {"meaning": "calibrated"}},
        {"calibration": {"meaning": "calibrated", "weights": 3}},
    ],
    ids=str,
)
def test_a_malformed_manifest_is_a_value_error(change: dict[str, Any]) -> None:
    document = make_manifest_document()
    EstimatorManifest.parse(document)
    with pytest.raises(ValueError, match=r"\S"):
        EstimatorManifest.parse(document | change)


@pytest.mark.parametrize("document", [[], "mini", None, 3])
def test_a_document_that_is_no_object_is_a_value_error(document: Any) -> None:
    with pytest.raises(ValueError, match="object"):
        EstimatorManifest.parse(document)


@pytest.mark.parametrize(
    ("domain", "figures", "flags"),
    [
        (Domain.DRAWN, (), {Flag.WEIGHTS_SYNTHETIC, Flag.WEIGHTS_UNMEASURED}),
        (Domain.PHOTOGRAPHS, (UNRATED,), {Flag.WEIGHTS_UNMEASURED}),
        (Domain.RECORDINGS, (UNRATED, RATED), set[Flag]()),
        (None, (), {Flag.WEIGHTS_UNMEASURED}),
    ],
    ids=["drawn", "photographs", "recordings", "unknown"],
)
def test_caveats_are_of_drawings_and_of_weights_without_a_figure_on_rated_video(
    domain: Domain | None, figures: tuple[Figure, ...], flags: set[Flag]
) -> None:
    assert find_weight_flags(domain, figures) == flags


def test_a_description_says_what_was_learnt_from_and_every_caveat() -> None:
    assert describe_model(make_manifest(domain="drawn", training="trained")) == (
        "Model mini@1, learnt from drawings, uses face and voice: on a real face the numbers mean "
        "nothing; never measured on rated recordings of people."
    )
    measured = make_manifest(
        "own",
        2,
        domain="recordings",
        training="trained",
        figures=[{"metric": "ccc", "on": "test", "source": "own", "rated_video": True}],
    )
    assert describe_model(measured) == (
        "Model own@2, learnt from rated recordings, uses face and voice."
    )
    assert "untrained: the numbers mean nothing" in describe_model(make_manifest())
