"""One line on a model for people, its caveats, and the names of its classes."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.estimator import EstimatorManifest, Modality, describe_model
from tests.fake_estimators import make_manifest, make_manifest_document

RATED = {"metric": "ccc", "valence": 0.5, "on": "recordings", "rated_video": True, "source": "-"}


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (
            {"domain": "drawn"},
            "Model mini@1, learnt from drawings, uses face and voice: on a real face the numbers "
            "mean nothing; never measured on rated recordings of people.",
        ),
        (
            {"domain": "photographs", "modalities": ("face",)},
            "Model mini@1, learnt from photographs, uses face: "
            "never measured on rated recordings of people.",
        ),
        (
            {"domain": "recordings", "figures": [RATED]},
            "Model mini@1, learnt from rated recordings, uses face and voice.",
        ),
        (
            {"domain": None},
            "Model mini@1, of unknown origin, uses face and voice: not known what the weights have "
            "learnt from; never measured on rated recordings of people.",
        ),
    ],
)
def test_line_says_what_the_model_has_learnt_from_and_its_caveats(
    facts: dict[str, Any], line: str
) -> None:
    assert describe_model(make_manifest(training="trained", **facts)) == line


@pytest.mark.parametrize(
    ("used", "words"),
    [
        ((Modality.FACE, Modality.VOICE), "used face and voice"),
        ((Modality.FACE,), "used the face only, for want of audio"),
        ((), "used nothing: no face was found"),
    ],
)
def test_line_of_a_result_says_what_was_used(used: tuple[Modality, ...], words: str) -> None:
    assert words in describe_model(make_manifest(), used)


def test_untrained_weights_are_called_so() -> None:
    assert "untrained: the numbers mean nothing" in describe_model(make_manifest())


@pytest.mark.parametrize("classes", [["a,b"], [""], ["a", "a"], ["a\nb"], ['"a"']])
def test_classes_that_are_no_names_of_columns_are_refused(classes: list[str]) -> None:
    with pytest.raises(ValueError, match="no names of columns"):
        EstimatorManifest.parse(make_manifest_document(classes=classes))
