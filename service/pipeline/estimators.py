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
)
from service.estimators.repository import EstimatorRepository, parse_choice
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
        self._verifier = FileVerifier(self._repository)

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
            raise ModelUnknown(f"no model {choice.name!r} is served; there are {', '.join(pinned)}")
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
            await self._check(self._repository.read_manifest(estimator))
        return estimator

    @property
    def served_names(self) -> tuple[str, ...]:
        """The models that are served, as in the settings."""
        return self._settings.served_models

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
            # Reads and hashes the face models.
            provenance=await asyncio.to_thread(build_provenance, manifest, self._settings),
        )

    async def is_ready(self) -> bool:
        """Return whether every served model's current version is loaded, warm and unchanged."""
        return not any((await self.check_served()).values())

    async def check_served(self) -> dict[str, CircumplexError | None]:
        """Check the current version of every served model.

        Returns: the error of each, None: it is ready; by its id, or its name if it has none.
        """
        found = await asyncio.gather(*map(self._check_current, self.served_names))
        return dict(found)

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

    async def _check_current(self, served: str) -> tuple[str, CircumplexError | None]:
        label = served
        try:
            estimator = self.choose(served)
            label = str(estimator)
            await self._check(self._repository.read_manifest(estimator))
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
            await self._check_loaded(manifest)  # first: files that nobody uses are not hashed
            await self._check_files(manifest)
        except CircumplexError as found:
            error = found
        return EstimatorStatus(
            id=estimator,
            manifest=manifest,
            is_current=is_current,
            is_default=is_default,
            error=error,
        )

    async def _check(self, manifest: EstimatorManifest) -> None:
        """Raise ModelChanged, ModelNotServed or InferenceUnavailable."""
        await self._check_files(manifest)
        await self._check_loaded(manifest)

    async def _check_files(self, manifest: EstimatorManifest) -> None:
        await asyncio.to_thread(self._verifier.verify, manifest)

    async def _check_loaded(self, manifest: EstimatorManifest) -> None:
        if unready := await self._server.find_unready(manifest):
            raise ModelNotServed(
                f"{manifest.id} is not loaded ({', '.join(unready)}); "
                f"`circumplex models load {manifest.id}` loads it"
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
