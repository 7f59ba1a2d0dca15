"""Export of a fitted head: the estimator's own backbone, a linear fusion, and a manifest."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from service.domain.estimator import (
    Domain,
    EstimatorId,
    EstimatorManifest,
    Figure,
    Licences,
    Modality,
)
from service.domain.model_signatures import (
    FUSION,
    LIVE_FUSION,
    LIVE_VISUAL_BACKBONE,
    VISUAL_BACKBONE,
)
from service.estimators.repository import EstimatorRepository
from training.export import ExportedModel, ExportTarget, write_estimator
from training.head_fitting.fit_run import FittedHead
from training.head_fitting.linear_head import LinearFusion

_COMMAND = "python -m training fit-head"


def export_head(
    fitted: FittedHead, repository: EstimatorRepository, *, name: str, data_licence: str
) -> EstimatorManifest:
    """Write a head as the next version of a name; a version that is current stays current.

    Args: data_licence: of the recordings that it was fitted to, in words.
    """
    base = fitted.manifest
    copied = {
        slot: ExportedModel(
            path=repository.model_file(base.id, slot), description=base.models[slot]
        )
        for slot in (VISUAL_BACKBONE.name, LIVE_VISUAL_BACKBONE.name)
    }
    fusion = LinearFusion(fitted.head.coefficients).eval()
    fit_origin = {"training": "fitted", "from": str(base.id), "data": fitted.report["data"]}
    return write_estimator(
        {**copied, FUSION.name: fusion, LIVE_FUSION.name: fusion},
        ExportTarget(
            repository=repository.folder,
            estimator=EstimatorId(name, repository.next_version(name)),
        ),
        origins={slot: each.description.origin for slot, each in copied.items()}
        | dict.fromkeys((FUSION.name, LIVE_FUSION.name), fit_origin),
        facts=_build_facts(fitted, data_licence),
    )


def _build_facts(fitted: FittedHead, data_licence: str) -> dict[str, Any]:
    base, report = fitted.manifest, fitted.report
    is_drawn = report["world"] is not None
    pictures = "drawings" if is_drawn else "recordings that people have rated"
    return {
        "title": f"A linear head on the features of {base.id}, fitted to {pictures}.",
        "domain": Domain.DRAWN if is_drawn else Domain.RECORDINGS,
        "modalities": [Modality.FACE],
        "preprocessing": base.preprocessing,
        "smoothing_seconds": fitted.head.smoothing_seconds,
        "calibration": asdict(fitted.uncertainty)
        | {"data_fingerprint": report["data"]["fingerprint"], **report["std"]},
        "classes": list(base.classes),
        "head_features": base.head_features,
        "licences": asdict(_join_licences(base.licences, data_licence)),
        "figures": [asdict(figure) for figure in _list_figures(report, is_drawn=is_drawn)],
        "training": "fitted",
        "head": {"of": str(base.id), **report["head"], "options": report["options"]},
        "data": report["data"],
        "world": report["world"],
    }


def _join_licences(licences: Licences, data_licence: str) -> Licences:
    return Licences(
        code=licences.code,
        weights=f"{licences.weights}; of the head: that of its data",
        data=f"{licences.data}; of the head: {data_licence}",
    )


def _list_figures(report: dict[str, Any], *, is_drawn: bool) -> list[Figure]:
    """List CCC and root mean square error of all people, and of the official split alone."""
    people = report["held_out"]["fitted"]["people"]["people"]
    sort = "drawn people" if is_drawn else "people"
    titles = {
        "held_out": f"{people} {sort}, each estimated by a head of the others",
        "official_split": "the official validation set, by a head of the official training set",
    }
    return [
        Figure(
            metric=metric,
            valence=report[part]["fitted"][metric]["valence"],
            arousal=report[part]["fitted"][metric]["arousal"],
            on=title,
            rated_video=not is_drawn,
            source=_COMMAND,
            measured_by="user",
        )
        for part, title in titles.items()
        if report[part] is not None
        for metric in ("ccc", "rmse")
    ]
