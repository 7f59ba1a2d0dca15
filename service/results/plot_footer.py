"""Footer of a plot: the model of a JSON result, what it has learnt from, and its caveats.

Results of before the field `model` are described by their provenance, as far as that goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any, Final

from service.domain.estimator import DOMAIN_TEXTS

WARNING_COLOUR: Final = "#b3261e"
_TEXT_COLOUR: Final = "#1f2430"
_MUTED_COLOUR: Final = "#5c6372"
_BAND: Final[Mapping[str | None, str]] = {
    "calibrated": "one standard deviation of the error, measured on unseen people",
    "disagreement": "disagreement of the networks, less than their error",
    "floored": "disagreement of the networks, and at least an error published elsewhere",
    "published_error": "the error that the publisher reports, on other data",
    None: "standard deviation, of which the result does not say more",
}
_UNTRAINED: Final = "untrained weights: the numbers mean nothing yet"
_DRAWN: Final = "learnt from drawings: on a real face the numbers mean nothing"
_LINE_LETTERS: Final = 165
_LINE_INCHES: Final = 0.17
_FIRST_LINE_INCHES: Final = 0.14
_LEFT, _RIGHT = 0.06, 0.975
_CAVEAT_LINES: Final = 2
"""Lines that have room for caveats and, after them, flags."""


def write_footer(figure: Any, result: Mapping[str, Any]) -> None:
    """Write the footer's lines at the lower edge, and a warning at the upper one."""
    height_inches = figure.get_figheight()
    lines = [*describe_plot(result)]
    for number, (text, is_caveat) in enumerate(reversed(lines)):
        y = (_FIRST_LINE_INCHES + number * _LINE_INCHES) / height_inches
        colour = WARNING_COLOUR if is_caveat else _MUTED_COLOUR
        is_model = number == len(lines) - 1
        figure.text(
            _LEFT, y, text, fontsize=9, color=_TEXT_COLOUR if is_model else colour,
            fontweight="bold" if is_model or is_caveat else "normal",
        )  # fmt: skip
    if (warning := _find_warning(result)) is not None:
        figure.text(_RIGHT, 1 - 0.35 / height_inches, warning, ha="right", fontsize=11,
                    fontweight="bold", color=WARNING_COLOUR)  # fmt: skip


def describe_plot(result: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the footer, and whether each is a caveat."""
    yield _describe_model(result), False
    meaning = _BAND.get(_find_meaning(result), _BAND[None])
    yield f"line: smoothed · thin: raw · band: {meaning} · grey: face not found", False
    model: Mapping[str, Any] = result.get("model") or {}
    remarks: list[str] = [*model.get("caveats", ())]
    if flags := result.get("flags"):
        remarks.append(f"flags: {', '.join(flags)}")
    text = " · ".join(remarks)
    for line in wrap(text, _LINE_LETTERS, max_lines=_CAVEAT_LINES, placeholder=" …"):
        yield line, True


def _find_meaning(result: Mapping[str, Any]) -> str | None:
    """Return the meaning of the band; a disagreement may have a floor."""
    meaning = result.get("std_meaning")
    provenance: Mapping[str, Any] = result.get("provenance") or {}
    calibration: Mapping[str, Any] = provenance.get("calibration") or {}
    floor: Sequence[float] = calibration.get("floor") or ()
    return "floored" if meaning == "disagreement" and any(floor) else meaning


def _describe_model(result: Mapping[str, Any]) -> str:
    provenance: Mapping[str, Any] = result.get("provenance") or {}
    model = result.get("model")
    if model is None:
        preset = provenance.get("preset")
        name = f"preset {preset}" if preset else "not named in this result"
        return f"Model: {name} · {_describe_domain(provenance.get('domain'))}"
    used = " and ".join(model["modalities_used"]) or "nothing: no face was found"
    if model["modalities_used"] == ["face"] and "voice" in model["modalities"]:
        used = "the face only, for want of audio"
    return f"Model: {model['id']} · {_describe_domain(model['domain'])} · used {used}"


def _describe_domain(domain: str | None) -> str:
    return DOMAIN_TEXTS.get(domain, f"learnt from {domain}")


def _find_warning(result: Mapping[str, Any]) -> str | None:
    """Return the warning of results that mean nothing, or nothing on real faces."""
    provenance: Mapping[str, Any] = result.get("provenance") or {}
    model: Mapping[str, Any] = result.get("model") or provenance
    if model.get("domain") == "drawn":
        return _DRAWN
    return _UNTRAINED if provenance.get("training") == "untrained" else None
