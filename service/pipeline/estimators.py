"""Catalog of the estimators that a process serves: chosen by clients, and opened for each clip."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from service.domain.estimator import EstimatorChoice, EstimatorId, EstimatorManifest
from service.domain.media import Flag
from service.domain.ports import Inference
from service.errors import (
    CircumplexError,
    InferenceUnavailable,
    ModelNotServed,
    ModelUnknown,
    RequestInvalid,
)
from service.estimators.repository import EstimatorRepository
from service.estimators.verification import FileVerifier
from service.pipeline.estimation import EstimationParameters
from service.pipeline.provenance import build_provenance
from service.settings import Settings


class InferenceServer(Protocol):
    """Triton, as the catalog needs it."""

    def select(self, manifest: EstimatorManifest) -> Inference:
        """Return the models of one estimator as functions of arrays."""
        ...

    async def find_unready(self, manifest: EstimatorManifest) -> list[str]:
        """Return names of its models that are not loaded and warm; raises InferenceUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedEstimator:
    """An estimator that is loaded and verified, with all that a result is made of."""

    manifest: EstimatorManifest
    inference: Inference
    parameters: EstimationParameters
    provenance: Mapping[str, Any]

    @property
    def id(self) -> EstimatorId:
        """Name and version."""
        return self.manifest.id

    @property
    def flags(self) -> frozenset[Flag]:
        """Caveats of every result."""
        return self.manifest.flags


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorStatus:
    """An estimator in a listing. error: why it cannot be used now; None: it can."""

    manifest: EstimatorManifest
    is_current: bool
    is_default: bool
    error: CircumplexError | None


class EstimatorCatalog:
    """The estimators of the settings' `models`, read from the model repository for each use."""

    def __init__(self, settings: Settings, server: InferenceServer) -> None:
        self._settings = settings
        self._server = server
        self._repository = EstimatorRepository(settings.model_repository)
        self._verifier = FileVerifier(self._repository)

    def choose(self, model: str | None) -> EstimatorId:
        """Resolve a client's choice, NAME or NAME@VERSION, to a version; None: the default.

        Raises: RequestInvalid: it is malformed. ModelUnknown: the name is not served.
            ModelNotServed: the version is not. ModelsMissing.
        """
        if model is None:
            model = self._settings.chosen_model
        try:
            choice = EstimatorChoice.parse(model)
        except ValueError as error:
            raise RequestInvalid(str(error), field="model") from error
        pinned = {each.name: each for each in map(EstimatorChoice.parse, self.served_names)}
        if choice.name not in pinned:
            raise ModelUnknown(f"no model {choice.name!r} is served; there are {', '.join(pinned)}")
        return self._repository.resolve(pinned[choice.name] if choice.version is None else choice)

    async def accept(self, model: str | None) -> EstimatorId:
        """Resolve a client's choice for work that is done later.

        Raises: as `choose`; ModelNotServed, ModelChanged. An unreachable Triton is no reason.
        """
        estimator = self.choose(model)
        with suppress(InferenceUnavailable):
            await self._check(self._repository.read_manifest(estimator))
        return estimator

    @property
    def served_names(self) -> tuple[str, ...]:
        """The models that are served, as in the settings."""
        return self._settings.served_models

    def read_served(self) -> dict[str, EstimatorManifest | CircumplexError]:
        """Read the manifest of every served model's current version, loaded or not.

        Returns: by the name in the settings; the error where there is none to read.
        """
        found: dict[str, EstimatorManifest | CircumplexError] = {}
        for name in self.served_names:
            try:
                found[name] = self._repository.read_manifest(self.choose(name))
            except CircumplexError as error:
                found[name] = error
        return found

    async def open(self, estimator: EstimatorId) -> ServedEstimator:
        """Verify an estimator and return it.

        Raises: ModelNotServed, ModelChanged, InferenceUnavailable.
        """
        manifest = self._repository.read_manifest(estimator)
        await self._check(manifest)
        return ServedEstimator(
            manifest=manifest,
            inference=self._server.select(manifest),
            parameters=EstimationParameters.from_manifest(manifest, self._settings),
            provenance=build_provenance(manifest, self._settings),
        )

    async def is_ready(self) -> bool:
        """Return whether every served model's current version is loaded, warm and unchanged."""
        try:
            for name in self.served_names:
                await self._check(self._repository.read_manifest(self.choose(name)))
        except CircumplexError:
            return False
        return True

    async def list_statuses(self) -> list[EstimatorStatus]:
        """List the exported versions of all served models, the current ones first."""
        default = self.choose(None)
        names = [each.partition("@")[0] for each in self.served_names]
        current = [self.choose(name) for name in self.served_names]
        others = [each for each in self._repository.list_ids() if each.name in names]
        return [
            await self._describe(
                estimator, is_current=estimator in current, is_default=estimator == default
            )
            for estimator in dict.fromkeys([*current, *others])
        ]

    async def _describe(
        self, estimator: EstimatorId, *, is_current: bool, is_default: bool
    ) -> EstimatorStatus:
        manifest = self._repository.read_manifest(estimator)
        error: CircumplexError | None = None
        try:
            await self._check(manifest)
        except CircumplexError as found:
            error = found
        return EstimatorStatus(
            manifest=manifest, is_current=is_current, is_default=is_default, error=error
        )

    async def _check(self, manifest: EstimatorManifest) -> None:
        """Raise ModelChanged, ModelNotServed or InferenceUnavailable."""
        await asyncio.to_thread(self._verifier.verify, manifest)
        if unready := await self._server.find_unready(manifest):
            raise ModelNotServed(
                f"{manifest.id} is not loaded ({', '.join(unready)}); "
                f"`circumplex models load {manifest.id}` loads it"
            )


def read_default_manifest(settings: Settings) -> EstimatorManifest:
    """Read the manifest of the default estimator, whether it is loaded or not.

    Raises: ModelsMissing, ModelUnknown, ModelNotServed.
    """
    repository = EstimatorRepository(settings.model_repository)
    return repository.read_manifest(
        repository.resolve(EstimatorChoice.parse(settings.chosen_model))
    )
