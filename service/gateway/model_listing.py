"""Listing and finding the models that are served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.estimator import EstimatorChoice
from service.errors import ModelUnknown
from service.pipeline.estimators import EstimatorCatalog, EstimatorStatus

MAX_AGE_SECONDS: Final = 3
"""Age up to which a listing is reused: a new one asks Triton for every model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A model. versions: all that are exported of its name, in order."""

    status: EstimatorStatus
    versions: Sequence[EstimatorStatus]


class ModelListing:
    """The models that are served; requests share one reading of their states."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._statuses: Sequence[EstimatorStatus] = ()
        self._expires_at = 0.0

    async def read(self, estimators: EstimatorCatalog) -> Sequence[EstimatorStatus]:
        """List every version of every served model. Raises: ModelsMissing."""
        async with self._lock:
            if time.monotonic() >= self._expires_at:
                self._statuses = await estimators.list_statuses()
                self._expires_at = time.monotonic() + MAX_AGE_SECONDS
            return self._statuses

    async def find(self, estimators: EstimatorCatalog, model: str) -> FoundModel:
        """Find a model by NAME, for its current version, or by NAME@VERSION.

        Raises: ModelUnknown, ModelsMissing.
        """
        try:
            choice = EstimatorChoice.parse(model)
        except ValueError as error:
            raise ModelUnknown(str(error)) from error
        statuses = await self.read(estimators)
        versions = [each for each in statuses if each.id.name == choice.name]
        for each in versions:
            if each.is_current if choice.version is None else each.id.version == choice.version:
                return FoundModel(
                    status=each, versions=sorted(versions, key=lambda status: status.id)
                )
        offered = ", ".join(str(each.id) for each in statuses)
        raise ModelUnknown(f"no model {model} is served; there are {offered or 'none'}")
