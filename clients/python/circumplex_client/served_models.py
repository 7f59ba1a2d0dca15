"""Models that a job or a stream can choose, as the service describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A version of a model.

    id: NAME@VERSION, the `model` of a job or stream that always means this version.
    is_current: the name alone means it. is_default: jobs and streams that choose none get it.
    state: "ready" or "unavailable", for the reason in `error` (code, detail, retryable).
    summary: one line for people: the model and its caveats.
    domain: "drawn", "photographs" or "recordings", what it has learnt from; None: unknown.
    licences: of code, weights and data. figures: measured accuracies, with their sources.
    flags: caveats of every result. versions: ids of all versions of the name, where it was asked
    for by name.
    """

    id: str
    name: str
    version: int
    is_current: bool
    is_default: bool
    state: str
    error: Mapping[str, Any] | None = None
    title: str = ""
    summary: str = ""
    domain: str | None = None
    modalities: list[str] = field(default_factory=list[str])
    preprocessing: str = ""
    smoothing_seconds: float | None = None
    std_meaning: str | None = None
    classes: list[str] = field(default_factory=list[str])
    licences: Mapping[str, str] | None = None
    figures: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    weights_sha256: Mapping[str, str] = field(default_factory=dict[str, str])
    flags: list[str] = field(default_factory=list[str])
    versions: list[str] = field(default_factory=list[str])

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Parse the JSON object; unknown fields of newer servers are ignored."""
        names = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in names})
