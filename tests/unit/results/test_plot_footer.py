"""Footer of a plot: the model, what it has learnt from, and its caveats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.results.plot import plot_result
from service.results.plot_footer import describe_plot
from tests.unit.results.test_plot import make_result

CAVEATS = [
    "on a real face the numbers mean nothing",
    "never measured on rated recordings of people",
]
MODEL: dict[str, Any] = {
    "id": "mini@3",
    "domain": "drawn",
    "modalities": ["face", "voice"],
    "modalities_used": ["face", "voice"],
    "caveats": CAVEATS,
}


def plot_text(result: dict[str, Any], folder: Path) -> str:
    """Plot a result; returns the texts of the picture, which SVG has as comments."""
    plot_result(result, folder / "result.svg")
    return (folder / "result.svg").read_text()


def test_plot_names_the_model_its_domain_and_every_caveat(tmp_path: Path) -> None:
    text = plot_text(make_result(20) | {"model": MODEL, "std_meaning": "calibrated"}, tmp_path)
    assert "Model: mini@3 · learnt from drawings · used face and voice" in text
    assert "one standard deviation of the error" in text
    assert "learnt from drawings: on a real face the numbers mean nothing" in text
    for caveat in CAVEATS:
        assert caveat in text


@pytest.mark.parametrize(
    ("meaning", "words"),
    [
        ("disagreement", "disagreement of the networks, less than their error"),
        ("published_error", "the error that the publisher reports"),
        (None, "of which the result does not say more"),
    ],
)
def test_meaning_of_the_band_is_said(meaning: str | None, words: str) -> None:
    lines = [line for line, _ in describe_plot(make_result(2) | {"std_meaning": meaning})]
    assert words in lines[1]


@pytest.mark.parametrize(
    ("used", "words"),
    [
        (["face"], "used the face only, for want of audio"),
        ([], "used nothing: no face was found"),
    ],
)
def test_modalities_that_the_clip_lacks_are_said(used: list[str], words: str) -> None:
    result = make_result(2) | {"model": MODEL | {"modalities_used": used}}
    assert words in next(describe_plot(result))[0]


def test_face_only_model_does_not_want_for_audio() -> None:
    model = MODEL | {"modalities": ["face"], "modalities_used": ["face"]}
    assert next(describe_plot(make_result(2) | {"model": model}))[0].endswith("used face")


def test_results_of_before_the_field_are_described_by_their_provenance(tmp_path: Path) -> None:
    old = make_result(20)
    old["provenance"] = {"training": "trained", "preset": "mini", "domain": "drawn"}
    text = plot_text(old, tmp_path)
    assert "Model: preset mini · learnt from drawings" in text
    assert "learnt from drawings: on a real face the numbers mean nothing" in text
    del old["provenance"]
    assert "Model: not named in this result" in plot_text(old, tmp_path)


def test_caveats_come_before_flags_and_fit_into_two_lines() -> None:
    flags = [f"flag_number_{number}" for number in range(60)]
    result = make_result(2) | {"model": MODEL, "flags": flags}
    caveats = [line for line, is_caveat in describe_plot(result) if is_caveat]
    assert len(caveats) == 2
    assert caveats[0].startswith(" · ".join(CAVEATS))
    assert caveats[1].endswith("…")
    assert max(map(len, caveats)) <= 165
