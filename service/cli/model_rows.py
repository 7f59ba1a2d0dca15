"""Rows of `circumplex models list`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Protocol

from service.errors import ModelNotServed
from service.estimators.repository import EstimatorRepository
from service.model_catalogue.entries import Catalogue
from service.model_catalogue.pulled_files import PulledFiles

Row = tuple[str, str, str, str, str, str]


class AccuracyFigure(Protocol):
    """Figure of a manifest or of the catalogue."""

    @property
    def metric(self) -> str:
        """Name of the metric."""
        ...

    @property
    def valence(self) -> float | None:
        """Figure of valence."""
        ...

    @property
    def arousal(self) -> float | None:
        """Figure of arousal."""
        ...

    @property
    def on(self) -> str:
        """Data on which it was measured."""
        ...


def list_exported_rows(repository: EstimatorRepository) -> list[Row]:
    """Rows of the exported models, with the current version of each name marked."""
    versions = repository.read_versions()
    rows: list[Row] = []
    for each in repository.list_ids():
        try:
            manifest = repository.read_manifest(each)
        except ModelNotServed:
            rows.append((str(each), "damaged manifest", "", "", "", ""))
            continue
        state = "exported, current" if versions.get(each.name) == each.version else "exported"
        size = sum(
            file.stat().st_size
            for slot in manifest.models
            if (file := repository.model_file(each, slot)).is_file()
        )
        licences = ", ".join(
            f"{role}:{_find_licence_name(text)}" for role, text in asdict(manifest.licences).items()
        )
        figures = _format_figures(manifest.figures)
        domain = str(manifest.domain or "nothing")
        rows.append((str(each), state, domain, figures, _format_size(size), licences))
    return rows


def list_catalogue_rows(
    catalogue: Catalogue, files: PulledFiles, exported: Collection[str]
) -> list[Row]:
    """Rows of the entries of the catalogue that are not exported."""
    return [
        (
            entry.name,
            "pulled" if files.has(entry) else "in the catalogue",
            entry.domain,
            _format_figures(entry.figures),
            _format_size(entry.approximate_bytes),
            ", ".join(entry.licences.by_name()),
        )
        for entry in catalogue.entries
        if entry.name not in exported
    ]


def _format_figures(figures: Collection[AccuracyFigure]) -> str:
    """Format the first correlation, of valence and arousal."""
    for figure in figures:
        if figure.metric == "ccc" and figure.valence is not None and figure.arousal is not None:
            return f"{figure.valence:.3f}/{figure.arousal:.3f} ({figure.on})"
    return "none"


def _find_licence_name(text: str) -> str:
    """Return NAME of `NAME: statement`; all of another text, lest half a bracket is shown."""
    name, _, _ = text.partition(": ")
    return text if "(" in name else name


def _format_size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
