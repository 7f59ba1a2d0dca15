"""Verification of estimators: files, and what Triton has loaded, against the manifest."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final, Protocol

from service.domain.estimator import EstimatorId, EstimatorManifest
from service.domain.ports import Inference
from service.errors import InferenceUnavailable, ModelNotServed, ServiceError
from service.estimators.repository import EstimatorRepository
from service.estimators.verification import FileVerifier

VERIFIED_SECONDS: Final = 10.0
"""Time for which a check of what is loaded counts: something else that is loaded is noticed within
it, or within `MAX_VERIFIED_SECONDS` where checks take long."""
MAX_VERIFIED_SECONDS: Final = 30.0
COST_FACTOR: Final = 20.0
"""A check counts for at least so many times its duration."""


class InferenceServer(Protocol):
    """Triton, as the catalog needs it."""

    def select(self, manifest: EstimatorManifest) -> Inference:
        """Return the models of one estimator as functions of arrays."""
        ...

    async def find_unready(self, manifest: EstimatorManifest) -> list[str]:
        """Return names of its models that are not loaded and warm; raises InferenceUnavailable."""
        ...

    async def verify(self, manifest: EstimatorManifest) -> None:
        """Hold what is loaded to the manifest; raises ModelChanged, InferenceUnavailable."""
        ...


@dataclass(slots=True, kw_only=True)
class _ServerCheck:
    """A check of the server that has begun; clients share it."""

    manifest: EstimatorManifest
    started_at: float
    task: asyncio.Task[None]
    duration_seconds: float = 0.0

    def is_recent(self, now: float, max_age_seconds: float) -> bool:
        """Return whether it counts; with a maximum age of 0 none does."""
        min_age = min(COST_FACTOR * self.duration_seconds, MAX_VERIFIED_SECONDS)
        return now - self.started_at < (max_age_seconds and max(max_age_seconds, min_age))

    def finish(self, _task: asyncio.Task[None]) -> None:
        """Note the duration."""
        self.duration_seconds = time.monotonic() - self.started_at


class EstimatorVerifier:
    """Verifies estimators: files and readiness each time, what is loaded when it is due."""

    def __init__(self, repository: EstimatorRepository, server: InferenceServer) -> None:
        self._files = FileVerifier(repository)
        self._server = server
        self._checks: dict[EstimatorId, _ServerCheck] = {}

    async def verify(
        self, manifest: EstimatorManifest, *, max_age_seconds: float = VERIFIED_SECONDS
    ) -> None:
        """Verify an estimator.

        Args: max_age_seconds: of an earlier check of what is loaded; 0: it is checked again.
        Raises: ModelChanged, ModelNotServed, InferenceUnavailable, InferenceFailed.
        """
        try:
            await self._check_loaded(manifest)  # first: files that nobody uses are not hashed
        except InferenceUnavailable:
            await asyncio.to_thread(self._files.verify, manifest)
            raise
        await asyncio.to_thread(self._files.verify, manifest)
        await asyncio.shield(self._find_check(manifest, max_age_seconds).task)

    async def _check_loaded(self, manifest: EstimatorManifest) -> None:
        """Raise ModelNotServed or InferenceUnavailable; what was checked before is forgotten."""
        try:
            unready = await self._server.find_unready(manifest)
            if unready:
                raise ModelNotServed(
                    f"{manifest.id} is not loaded ({', '.join(unready)}); "
                    f"`circumplex models load {manifest.id}` loads it"
                )
        except ServiceError:
            self._checks.pop(manifest.id, None)
            raise

    def _find_check(self, manifest: EstimatorManifest, max_age_seconds: float) -> _ServerCheck:
        """Return the last check of this manifest, or begin one where it is too old."""
        now = time.monotonic()
        check = self._checks.get(manifest.id)
        if check is None or check.manifest != manifest or not check.is_recent(now, max_age_seconds):
            task = asyncio.create_task(self._ask_server(manifest), name=f"verify {manifest.id}")
            check = _ServerCheck(manifest=manifest, started_at=now, task=task)
            task.add_done_callback(check.finish)
            task.add_done_callback(_retrieve)
            self._checks[manifest.id] = check
        return check

    async def _ask_server(self, manifest: EstimatorManifest) -> None:
        """Verify what is loaded; after an error it is asked again the next time."""
        try:
            await self._server.verify(manifest)
        except BaseException:
            self._checks.pop(manifest.id, None)
            raise


def _retrieve(task: asyncio.Task[None]) -> None:
    """Retrieve the exception of a check that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
