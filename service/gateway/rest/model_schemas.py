"""The REST contract of models: pydantic models of the responses, and their construction."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from service.domain.estimator import Domain, EstimatorManifest, Modality, describe_model
from service.domain.media import Flag
from service.domain.uncertainty import StdMeaning
from service.errors import CircumplexError
from service.gateway.model_listing import FoundModel
from service.pipeline.estimators import EstimatorStatus
from service.pipeline.provenance import find_smoothing_seconds
from service.settings import Settings

MODELS_PATH: Final = "/v1/models"
MODEL_PATH: Final = f"{MODELS_PATH}/{{model}}"

ModelName = Annotated[str, Path(description="NAME, for its current version, or NAME@VERSION.")]
"""Not validated: a text that is no name is answered with 404, like an unknown one."""


class ModelError(BaseModel):
    """Cause why a model cannot be used now."""

    code: str
    detail: str
    retryable: bool = Field(description="Whether the same request may succeed later.")


class ModelLicences(BaseModel):
    """Licences of a model; each an identifier of SPDX, or a sentence."""

    model_config = ConfigDict(from_attributes=True)

    code: str
    weights: str
    data: str


class ModelFigure(BaseModel):
    """A measured accuracy."""

    model_config = ConfigDict(from_attributes=True)

    metric: str = Field(description="Such as `ccc` or `rmse`.")
    valence: float | None
    arousal: float | None
    on: str = Field(description="The data.")
    rated_video: bool = Field(
        description="Whether the data are recordings that people have rated frame by frame."
    )
    source: str = Field(description="Publication or command.")
    measured_by: Literal["publisher", "project", "user"]


class ModelResource(BaseModel):
    """A version of a model; what is behind `error` is absent where its manifest is damaged."""

    id: str = Field(description="NAME@VERSION: the value of `model` that always means this.")
    name: str
    version: int
    is_current: bool = Field(description="Whether the name alone means this version.")
    is_default: bool = Field(description="Whether jobs and streams that choose none get it.")
    state: Literal["ready", "unavailable"] = Field(
        description="`ready`: loaded, warm, and what its manifest names."
    )
    error: ModelError | None = Field(description="Why it is unavailable.")
    title: str = ""
    summary: str = Field(default="", description="One line for people: the model and its caveats.")
    domain: Domain | None = Field(
        default=None, description="What it has learnt from; null: nothing, or it is not known."
    )
    modalities: list[Modality] = Field(default=[], description="What of a clip it uses.")
    preprocessing: str = Field(default="", description="Of the face crops.")
    smoothing_seconds: float = Field(
        default=0.0, description="Standard deviation of the Gaussian over its estimates."
    )
    std_meaning: StdMeaning = Field(
        default=StdMeaning.DISAGREEMENT, description="What its standard deviations are."
    )
    classes: list[str] = Field(default=[], description="Names of its class probabilities.")
    licences: ModelLicences | None = None
    figures: list[ModelFigure] = Field(
        default=[], description="Measured accuracies, with their sources."
    )
    weights_sha256: dict[str, str] = Field(
        default={}, description="SHA-256 of the weights, by slot."
    )
    flags: list[Flag] = Field(default=[], description="Caveats of every result.")


class ModelDetails(ModelResource):
    """A version of a model, and its other versions."""

    versions: list[str] = Field(description="Ids of all exported versions of the name, in order.")


class ModelList(BaseModel):
    """Every exported version of every served model, the current ones first."""

    models: list[ModelResource]
    default: str | None = Field(
        description="Id of the model of jobs and streams that choose none; null: not exported."
    )


def model_to_schema(status: EstimatorStatus, settings: Settings) -> ModelResource:
    """The model; fields left unset are not serialized."""
    resource = ModelResource(
        id=str(status.id),
        name=status.id.name,
        version=status.id.version,
        is_current=status.is_current,
        is_default=status.is_default,
        state="unavailable" if status.error else "ready",
        error=_error_to_schema(status.error),
    )
    if status.manifest is not None:
        _describe(resource, status.manifest, settings)
    return resource


def found_to_schema(found: FoundModel, settings: Settings) -> ModelDetails:
    """The model with the ids of its versions; fields left unset are not serialized."""
    resource = model_to_schema(found.status, settings)
    fields = {name: getattr(resource, name) for name in resource.model_fields_set}
    return ModelDetails(**fields, versions=[str(each.id) for each in found.versions])


def _describe(resource: ModelResource, manifest: EstimatorManifest, settings: Settings) -> None:
    resource.title = manifest.title
    resource.summary = describe_model(manifest)
    resource.domain = manifest.domain
    resource.modalities = list(manifest.modalities)
    resource.preprocessing = manifest.preprocessing
    resource.smoothing_seconds = find_smoothing_seconds(manifest, settings)
    resource.std_meaning = manifest.uncertainty.meaning
    resource.classes = list(manifest.classes)
    resource.licences = ModelLicences.model_validate(manifest.licences)
    resource.figures = [ModelFigure.model_validate(each) for each in manifest.figures]
    resource.weights_sha256 = manifest.weights_sha256
    resource.flags = sorted(manifest.flags)


def _error_to_schema(error: CircumplexError | None) -> ModelError | None:
    if error is None:
        return None
    return ModelError(code=error.code, detail=error.detail, retryable=error.retryable)
