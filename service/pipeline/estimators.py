"""Catalog of the estimators that a process serves: chosen by clients, and opened for each clip."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from service.domain.estimator import EstimatorChoice, EstimatorId, EstimatorManifest
from service.domain.media import Flag
from service.domain.ports import Inference
from service.errors import (
    CircumplexError,
    InferenceUnavailable,
    ModelChanged,
    ModelNotServed,
    ModelsMissing,
    ModelUnknown,
)
from service.estimators.repository import EstimatorRepository, parse_choice
from service.pipeline.estimation import EstimationParameters
from service.pipeline.provenance import build_provenance
from service.pipeline.verification import EstimatorVerifier, InferenceServer
from service.settings import Settings

LISTED_SECONDS: Final = 60.0
"""Age of a verification that a readiness probe or a listing relies on: they start none of their
own while the monitor makes some."""


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
    """An estimator in a listing.

    manifest: None: it cannot be read. error: why the estimator cannot be used now; None: it can.
    """

    id: EstimatorId
    manifest: EstimatorManifest | None
    is_current: bool
    is_default: bool
    error: CircumplexError | None


class EstimatorCatalog:
    """The estimators of the settings' `models`, read from the model repository for each use."""

    def __init__(self, settings: Settings, server: InferenceServer) -> None:
        self._settings = settings
        self._server = server
        self._repository = EstimatorRepository(settings.model_repository)
        self._verifier = EstimatorVerifier(self._repository, server)

    def choose(self, model: str | None) -> EstimatorId:
        """Resolve a client's choice, NAME or NAME@VERSION, to a version; None: the default.

        Raises: RequestInvalid: it is malformed. ModelUnknown: the name is not served, or the
            version not exported. ModelNotServed: the current version is not exported, or nothing of
            the name. ModelsMissing.
        """
        choice = parse_choice(self._settings.chosen_model if model is None else model)
        pinned: dict[str, EstimatorChoice] = {}
        for each in map(EstimatorChoice.parse, self.served_names):
            pinned.setdefault(each.name, each)
        if choice.name not in pinned:
            raise ModelUnknown(
                f"no model {choice.name!r} is served; there are {', '.join(pinned)} "
                "(the setting `models`)"
            )
        if choice.version is None:
            return _resolve(self._repository, pinned[choice.name])
        if model is None:
            return _resolve(self._repository, choice)
        try:
            return self._repository.resolve(choice)
        except ModelNotServed as error:
            raise ModelUnknown(error.detail) from error

    async def accept(self, model: str | None) -> EstimatorId:
        """Resolve a client's choice for work that is done later.

        Raises: as `choose`; ModelNotServed, ModelChanged. An unreachable Triton is no reason.
        """
        estimator = self.choose(model)
        with suppress(InferenceUnavailable):
            await self._verifier.verify(self._repository.read_manifest(estimator))
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
        await self._verifier.verify(manifest)
        return ServedEstimator(
            manifest=manifest,
            inference=self._server.select(manifest),
            parameters=EstimationParameters.from_manifest(manifest, self._settings),
            # Reads and hashes the face models.
            provenance=await asyncio.to_thread(build_provenance, manifest, self._settings),
        )

    async def confirm(self, estimator: ServedEstimator, *, max_age_seconds: float = 0.0) -> None:
        """Verify an estimator that is in use; by default what was computed up to now is by it.

        Raises: ModelChanged: also where another export has taken its place; ModelNotServed,
            InferenceUnavailable.
        """
        if self._repository.read_manifest(estimator.id) != estimator.manifest:
            raise ModelChanged(f"{estimator.id} has been exported anew while it was in use")
        await self._verifier.verify(estimator.manifest, max_age_seconds=max_age_seconds)

    async def is_ready(self) -> bool:
        """Return whether the default model can be used."""
        _, error = await self._check_current(self._settings.chosen_model, LISTED_SECONDS)
        return error is None

    async def can_work(self) -> bool:
        """Return whether jobs can be attempted: Triton is reachable. A faulty model fails its own.

        Waiting would help neither jobs of a faulty model nor those of the others.
        """
        errors = (await self.check_served()).values()
        return not any(isinstance(error, InferenceUnavailable | ModelsMissing) for error in errors)

    async def check_served(
        self, *, max_age_seconds: float = LISTED_SECONDS
    ) -> dict[str, CircumplexError | None]:
        """Check the current version of every served model.

        Returns: the error of each, None: it is ready; by its id, or its name if it has none.
        """
        found = await asyncio.gather(
            *(self._check_current(name, max_age_seconds) for name in self.served_names)
        )
        return dict(found)

    def list_current_manifests(self) -> list[EstimatorManifest]:
        """List the manifests of the served models' current versions; none of a damaged one."""
        manifests: list[EstimatorManifest] = []
        for name in self.served_names:
            with suppress(CircumplexError):
                manifests.append(self._repository.read_manifest(self.choose(name)))
        return manifests

    async def list_statuses(self) -> list[EstimatorStatus]:
        """List the exported versions of all served models, the current ones first.

        Raises: ModelsMissing.
        """
        names = dict.fromkeys(each.partition("@")[0] for each in self.served_names)
        default, *current = map(self._choose_exported, (None, *names))
        others = [each for each in self._repository.list_ids() if each.name in names]
        found = dict.fromkeys([*current, *others])
        return await asyncio.gather(
            *(
                self._describe(each, is_current=each in current, is_default=each == default)
                for each in found
                if each is not None
            )
        )

    def _choose_exported(self, model: str | None) -> EstimatorId | None:
        """Return the version that is meant; None: it is not exported. Raises: ModelsMissing."""
        try:
            return self.choose(model)
        except (ModelUnknown, ModelNotServed):
            return None

    async def _check_current(
        self, served: str, max_age_seconds: float
    ) -> tuple[str, CircumplexError | None]:
        label = served
        try:
            estimator = self.choose(served)
            label = str(estimator)
            manifest = self._repository.read_manifest(estimator)
            await self._verifier.verify(manifest, max_age_seconds=max_age_seconds)
        except CircumplexError as error:
            return label, error
        return label, None

    async def _describe(
        self, estimator: EstimatorId, *, is_current: bool, is_default: bool
    ) -> EstimatorStatus:
        manifest: EstimatorManifest | None = None
        error: CircumplexError | None = None
        try:
            manifest = self._repository.read_manifest(estimator)
            await self._verifier.verify(manifest, max_age_seconds=LISTED_SECONDS)
        except CircumplexError as found:
            error = found
        return EstimatorStatus(
            id=estimator,
            manifest=manifest,
            is_current=is_current,
            is_default=is_default,
            error=error,
        )


def read_default_manifest(settings: Settings) -> EstimatorManifest:
    """Read the manifest of the default estimator, whether it is loaded or not.

    Raises: RequestInvalid, ModelsMissing, ModelNotServed.
    """
    repository = EstimatorRepository(settings.model_repository)
    return repository.read_manifest(_resolve(repository, parse_choice(settings.chosen_model)))


def _resolve(repository: EstimatorRepository, choice: EstimatorChoice) -> EstimatorId:
    """Resolve a model of the settings: that it is not exported is no fault of a client."""
    try:
        return repository.resolve(choice)
    except ModelUnknown as error:
        raise ModelNotServed(error.detail) from error
