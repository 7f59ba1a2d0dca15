"""ModelService: the models that a job or a stream can choose, as REST lists them."""

from __future__ import annotations

from circumplex.v1 import models_pb2 as wire

from service.domain.caller import Caller
from service.domain.estimator import EstimatorManifest, Figure, describe_model
from service.errors import CircumplexError
from service.gateway.context import GatewayContext
from service.gateway.stream_messages import STD_MEANINGS
from service.pipeline.estimators import EstimatorStatus
from service.pipeline.provenance import find_smoothing_seconds
from service.settings import Settings


class ModelServicer:
    """Methods of ModelService."""

    def __init__(self, gateway: GatewayContext) -> None:
        self._gateway = gateway

    async def list_models(
        self, _request: wire.ListModelsRequest, _caller: Caller
    ) -> wire.ListModelsResponse:
        """Return every version of every served model, the current ones first."""
        statuses = await self._gateway.model_listing.read(self._gateway.estimators)
        return wire.ListModelsResponse(
            models=[_model_to_proto(each, self._gateway.settings) for each in statuses],
            default_model=next((str(each.id) for each in statuses if each.is_default), None),
        )

    async def get_model(
        self, request: wire.GetModelRequest, _caller: Caller
    ) -> wire.GetModelResponse:
        """Return a model, with the ids of its versions."""
        found = await self._gateway.model_listing.find(self._gateway.estimators, request.model)
        return wire.GetModelResponse(
            model=_model_to_proto(found.status, self._gateway.settings),
            versions=[str(each.id) for each in found.versions],
        )


def _model_to_proto(status: EstimatorStatus, settings: Settings) -> wire.Model:
    model = wire.Model(
        id=str(status.id),
        name=status.id.name,
        version=status.id.version,
        is_current=status.is_current,
        is_default=status.is_default,
        state="unavailable" if status.error else "ready",
        error=_error_to_proto(status.error),
    )
    if status.manifest is not None:
        model.MergeFrom(_describe(status.manifest, settings))
    return model


def _describe(manifest: EstimatorManifest, settings: Settings) -> wire.Model:
    licences = manifest.licences
    return wire.Model(
        title=manifest.title,
        summary=describe_model(manifest),
        domain=manifest.domain,
        modalities=manifest.modalities,
        preprocessing=manifest.preprocessing,
        smoothing_seconds=find_smoothing_seconds(manifest, settings),
        std_meaning=STD_MEANINGS[manifest.uncertainty.meaning],
        classes=manifest.classes,
        licences=wire.ModelLicences(
            code=licences.code, weights=licences.weights, data=licences.data
        ),
        figures=map(_figure_to_proto, manifest.figures),
        weights_sha256=manifest.weights_sha256,
        flags=sorted(manifest.flags),
    )


def _figure_to_proto(figure: Figure) -> wire.ModelFigure:
    return wire.ModelFigure(
        metric=figure.metric,
        valence=figure.valence,
        arousal=figure.arousal,
        on=figure.on,
        rated_video=figure.rated_video,
        source=figure.source,
        measured_by=figure.measured_by,
    )


def _error_to_proto(error: CircumplexError | None) -> wire.ModelError | None:
    if error is None:
        return None
    return wire.ModelError(code=error.code, detail=error.detail, retryable=error.retryable)
