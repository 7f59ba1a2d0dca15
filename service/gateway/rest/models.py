"""Routes that list and show the models that a job or a stream can choose."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Response

from service.domain.estimator import (
    Domain,
    EstimatorId,
    EstimatorManifest,
    Figure,
    Licences,
    Modality,
    ModelFile,
)
from service.errors import InternalError, ModelsMissing, ModelUnknown, QueueUnavailable
from service.gateway.model_listing import MAX_AGE_SECONDS, FoundModel
from service.gateway.rest.dependencies import AUTH_ERRORS, GatewayDep, ReadCaller
from service.gateway.rest.model_schemas import (
    MODEL_PATH,
    MODELS_PATH,
    ModelDetails,
    ModelList,
    ModelName,
    found_to_schema,
    model_to_schema,
)
from service.gateway.rest.openapi import header_doc, problem_docs, response_doc
from service.pipeline.estimators import EstimatorStatus
from service.settings import Settings

CACHE_CONTROL: Final = f"private, max-age={MAX_AGE_SECONDS}"
_CACHE_HEADER_DOC: Final = {"Cache-Control": header_doc(f"`{CACHE_CONTROL}`")}
_ERRORS: Final = (*AUTH_ERRORS, ModelsMissing, QueueUnavailable, InternalError)
_EXAMPLE_STATUS: Final = EstimatorStatus(
    id=EstimatorId("mini", 1),
    manifest=EstimatorManifest(
        name="mini",
        version=1,
        title="The yardstick: its numbers can be checked.",
        domain=Domain.DRAWN,
        modalities=(Modality.FACE, Modality.VOICE),
        preprocessing="112 x 112 RGB, aligned to the ArcFace template",
        licences=Licences(code="Apache-2.0", weights="Apache-2.0", data="Apache-2.0"),
        figures=(
            Figure(
                metric="ccc",
                valence=0.858,
                arousal=0.902,
                on="drawn actors who were held out",
                source="python -m training evaluate",
                measured_by="project",
            ),
        ),
        models={
            "visual_backbone": ModelFile(
                weights_sha256="9f1c" * 16, file_sha256="08aa" * 16, parameters=1_000_000
            )
        },
    ),
    is_current=True,
    is_default=True,
    error=None,
)
_EXAMPLE: Final = model_to_schema(_EXAMPLE_STATUS, Settings.model_construct())

router = APIRouter(tags=["models"])


@router.get(
    MODELS_PATH,
    summary="List models",
    response_model_exclude_unset=True,
    responses={
        200: response_doc(
            "The models that are served.",
            ModelList(models=[_EXAMPLE], default=_EXAMPLE.id),
            _CACHE_HEADER_DOC,
        ),
        **problem_docs(MODELS_PATH, *_ERRORS),
    },
)
async def list_models(response: Response, gateway: GatewayDep, _caller: ReadCaller) -> ModelList:
    """Lists every version of every served model, the current ones first, with its state.

    `model=` of a job takes a `name`, for its current version, or an `id`.
    """
    statuses = await gateway.model_listing.read(gateway.estimators)
    response.headers["Cache-Control"] = CACHE_CONTROL
    return ModelList(
        models=[model_to_schema(each, gateway.settings) for each in statuses],
        default=next((str(each.id) for each in statuses if each.is_default), None),
    )


@router.get(
    MODEL_PATH,
    summary="Show a model",
    response_model_exclude_unset=True,
    responses={
        200: response_doc(
            "The model, with the ids of its versions.",
            found_to_schema(
                FoundModel(status=_EXAMPLE_STATUS, versions=[_EXAMPLE_STATUS]),
                Settings.model_construct(),
            ),
            _CACHE_HEADER_DOC,
        ),
        **problem_docs(MODEL_PATH, ModelUnknown, *_ERRORS),
    },
)
async def get_model(
    model: ModelName, response: Response, gateway: GatewayDep, _caller: ReadCaller
) -> ModelDetails:
    """Returns a model by NAME, which means its current version, or by NAME@VERSION."""
    found = await gateway.model_listing.find(gateway.estimators, model)
    response.headers["Cache-Control"] = CACHE_CONTROL
    return found_to_schema(found, gateway.settings)
