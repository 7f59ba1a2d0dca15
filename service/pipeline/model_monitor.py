"""Monitor of the served estimators: verifies them at intervals, for metrics, readiness and streams.

A client of one estimator never waits for the verification of another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

from service.background_task import run_in_background
from service.errors import CircumplexError, ModelChanged
from service.pipeline.estimators import EstimatorCatalog
from service.pipeline.verification import VERIFIED_SECONDS
from service.telemetry.metrics import Metrics

MONITOR_SECONDS: Final = VERIFIED_SECONDS / 2
"""Interval of the verification."""

CheckInUse = Callable[[], Awaitable[None]]
"""Verifies what is in use here beside the current versions, and acts on it."""

log = logging.getLogger(__name__)


class ModelMonitor:
    """Verifies the current versions of the served models; its metrics name those alone."""

    def __init__(
        self,
        estimators: EstimatorCatalog,
        metrics: Metrics,
        check_in_use: CheckInUse | None = None,
        *,
        interval_seconds: float = MONITOR_SECONDS,
    ) -> None:
        self._estimators = estimators
        self._metrics = metrics
        self._check_in_use = check_in_use
        self._interval_seconds = interval_seconds
        self._changed: set[str] = set()

    def running(self) -> AbstractAsyncContextManager[object]:
        """Run while the context lasts."""
        return run_in_background(self._run(), name="model monitor")

    async def _run(self) -> None:
        while True:
            try:
                await self.check_once()
            except CircumplexError as error:
                log.debug("the models cannot be verified: %s", error.detail)
            await asyncio.sleep(self._interval_seconds)

    async def check_once(self) -> None:
        """Verify once, and publish what was found."""
        if self._check_in_use is not None:
            await self._check_in_use()
        errors = await self._estimators.check_served(max_age_seconds=self._interval_seconds)
        default = str(self._estimators.choose(None))
        self._metrics.set_models(
            ready={model: error is None for model, error in errors.items()},
            info={
                (
                    str(manifest.id),
                    str(manifest.domain or "unknown"),
                    str(str(manifest.id) == default).lower(),
                )
                for manifest in self._estimators.list_current_manifests()
            },
        )
        self._count_changed(errors)

    def _count_changed(self, errors: Mapping[str, CircumplexError | None]) -> None:
        changed = {model for model, error in errors.items() if isinstance(error, ModelChanged)}
        for model in changed - self._changed:
            log.error("%s: %s", ModelChanged.code, errors[model])
            self._metrics.model_changed_total.labels(model).inc()
        self._changed = changed
