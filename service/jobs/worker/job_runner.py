"""Attempt at a job: analyse its clip and publish the result, defer the job, or fail it.

claim ──▶ analyse ──▶ write results to the store ──▶ succeed
             │ ClipError, defect: fail    │ ServiceError: defer, or fail after too many
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.domain.clip import AnalysisEvent, AnalysisProgress
from service.domain.estimator import EstimatorId
from service.domain.options import AnalysisOptions
from service.domain.ports import BlobStore
from service.errors import (
    CircumplexError,
    ClipError,
    DecoderKilled,
    DecoderStalled,
    InternalError,
    QueueUnavailable,
    ServiceError,
)
from service.jobs.queue.leases import (
    AttemptSuperseded,
    Claim,
    Heartbeat,
    JobWithdrawn,
    LeaseManager,
)
from service.jobs.record import result_key
from service.pipeline.estimators import EstimatorCatalog, ServedEstimator
from service.results.builder import AnalysisResult, ResultBuilder
from service.results.formats import FORMATS
from service.settings import Settings
from service.telemetry.logs import TRACE_ID
from service.telemetry.metrics import Metrics

RELEASE_SECONDS: Final = 2.0
"""Time-out of returning the job of a cancelled attempt to the queue."""
FIRST_DEFERRAL_SECONDS: Final = 2.0
MAX_DEFERRAL_SECONDS: Final = 64.0
"""Delays of the first deferral and of the longest ones; they double in between."""
UNKNOWN_MODEL: Final = "unknown"
"""Label of jobs that were accepted by a service with one model."""

log = logging.getLogger(__name__)

Analyse = Callable[[Path, AnalysisOptions, ServedEstimator], AsyncGenerator[AnalysisEvent]]
"""`service.pipeline.clip_analysis.analyse`, with the other arguments bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRunner:
    """Claim handler of the worker."""

    lease_manager: LeaseManager
    store: BlobStore
    analyse: Analyse
    estimators: EstimatorCatalog
    settings: Settings
    metrics: Metrics

    async def __call__(self, claim: Claim) -> bool:
        """Attempt the job once and settle it; releases the job when cancelled.

        Returns: whether all dependencies were available.
        """
        TRACE_ID.set(claim.record.trace_id)
        log.info("job %s: attempt %d starts", claim.job_id, claim.attempt)
        started = time.monotonic()
        if claim.attempt == 1:
            waited = time.time() - claim.record.created_at
            self.metrics.job_queue_wait_seconds.observe(max(waited, 0.0))
        outcome = "released"
        model = claim.record.model or UNKNOWN_MODEL
        self.metrics.use_model(model)
        try:
            outcome = await self._run_attempt(claim)
        except JobWithdrawn:
            outcome = "cancelled"
        except AttemptSuperseded:
            outcome = "superseded"
        except asyncio.CancelledError:
            await self._release(claim)
            raise
        finally:
            seconds = time.monotonic() - started
            self.metrics.job_duration_seconds.labels(outcome, model).observe(seconds)
            log.info("job %s: attempt %d %s", claim.job_id, claim.attempt, outcome)
        return outcome != "retried"

    async def _run_attempt(self, claim: Claim) -> str:
        """Settle the claim while its lease is renewed; a lost lease cancels the work."""
        heartbeat = Heartbeat(self.lease_manager, claim)
        work = asyncio.create_task(self._settle(claim, heartbeat))
        renewal = asyncio.create_task(heartbeat.run())
        try:
            await asyncio.wait((work, renewal), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await renewal
            return await work
        finally:
            for task in (work, renewal):
                task.cancel()
            await asyncio.gather(work, renewal, return_exceptions=True)

    async def _settle(self, claim: Claim, heartbeat: Heartbeat) -> str:
        """Analyse and publish, defer or fail; returns the outcome for the metrics."""
        try:
            started = time.monotonic()
            result = await self._run_analysis(claim, heartbeat)
            self._observe_speed(result, time.monotonic() - started)
            await self._publish(claim, heartbeat, result)
        except AttemptSuperseded:
            raise
        except ClipError as error:
            self.metrics.decode_rejected_total.labels(error.code).inc()
            return await self._fail(claim, heartbeat, error)
        except ServiceError as error:
            return await self._defer_or_fail(claim, heartbeat, error)
        except Exception:
            log.exception("job %s: internal error", claim.job_id)
            return await self._fail(claim, heartbeat, InternalError())
        return "succeeded"

    async def _run_analysis(self, claim: Claim, heartbeat: Heartbeat) -> AnalysisResult:
        options = claim.record.analysis_options
        estimator = await self.estimators.open(self._find_estimator(claim))
        builder = ResultBuilder(estimator.manifest, estimator.provenance, options.faces)
        async with (
            self.store.open_file(claim.record.clip_key) as clip,
            aclosing(self.analyse(clip, options, estimator)) as events,
        ):
            async for event in events:
                builder.add(event)
                if isinstance(event, AnalysisProgress):
                    heartbeat.frames_done, heartbeat.frames_expected = event.done, event.expected
        await self.estimators.confirm(estimator)  # it is what the result names
        return await asyncio.to_thread(builder.build)

    def _find_estimator(self, claim: Claim) -> EstimatorId:
        """Return the version with which the job was accepted."""
        model = claim.record.model
        return self.estimators.choose(None) if model is None else EstimatorId.parse(model)

    async def _publish(self, claim: Claim, heartbeat: Heartbeat, result: AnalysisResult) -> None:
        """Write the results to the store, then end the job; deletes results on failure.

        If cancelled while the job is being ended, the results stay, since they may have been
        published; otherwise the orphan sweep deletes them.
        """
        keys = {name: result_key(claim.job_id, claim.attempt, name) for name in FORMATS}
        started = time.monotonic()
        size_bytes = 0
        try:
            for name, key in keys.items():
                size_bytes += await self.store.put(
                    key, _iterate_in_thread(FORMATS[name].write(result))
                )
        except BaseException:
            await self._delete(keys.values())
            raise
        outcome = {"frames": len(result.frames), "result_bytes": size_bytes}
        try:
            await heartbeat.settle(lambda: self.lease_manager.succeed(claim, **outcome))
        except AttemptSuperseded:
            await self._delete(keys.values())
            raise
        seconds = time.monotonic() - started
        self.metrics.stage_duration_seconds.labels(stage="publish").observe(seconds)

    async def _delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            await self.store.delete(key)

    async def _defer_or_fail(self, claim: Claim, heartbeat: Heartbeat, error: ServiceError) -> str:
        """Defer the job by 2, 4, 8 ... 64 s with jitter, or fail it after too many deferrals.

        A decode process that was killed, or made no progress, counts as a lost worker: the clip may
        be the cause.
        """
        deferrals = claim.record.deferrals + 1
        lost = claim.record.lost + isinstance(error, DecoderKilled | DecoderStalled)
        is_exhausted = (
            lost >= self.settings.max_attempts or deferrals >= self.settings.max_deferrals
        )
        if not error.retryable or is_exhausted:
            return await self._fail(claim, heartbeat, error)
        longest = min(FIRST_DEFERRAL_SECONDS * 2.0 ** min(deferrals - 1, 10), MAX_DEFERRAL_SECONDS)
        seconds = longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        log.warning("job %s is deferred by %.0f s: %s", claim.job_id, seconds, error.detail)
        counts = {"deferrals": deferrals, "lost": lost}
        await heartbeat.settle(lambda: self.lease_manager.defer(claim, seconds=seconds, **counts))
        return "retried"

    async def _fail(self, claim: Claim, heartbeat: Heartbeat, error: CircumplexError) -> str:
        log.warning("job %s failed: %s: %s", claim.job_id, error.code, error.detail)
        await heartbeat.settle(lambda: self.lease_manager.fail(claim, error))
        return "failed"

    async def _release(self, claim: Claim) -> None:
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self.lease_manager.release(claim)
        except (AttemptSuperseded, QueueUnavailable, TimeoutError) as error:
            log.warning("job %s could not be released: %r", claim.job_id, error)

    def _observe_speed(self, result: AnalysisResult, seconds: float) -> None:
        if len(result.frames) > 1 and seconds > 0:
            clip_seconds = float(result.frames.time[-1] - result.frames.time[0])
            model = str(result.manifest.id)
            self.metrics.realtime_factor.labels(model).observe(clip_seconds / seconds)


async def _iterate_in_thread(chunks: Iterator[bytes]) -> AsyncGenerator[bytes]:
    """Iterate in a thread, so that the event loop can renew leases."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
