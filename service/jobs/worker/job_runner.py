"""One attempt at a job: analyse the clip, publish the result, or say why not."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.domain.options import AnalysisOptions
from service.domain.ports import BlobStore
from service.domain.timeline import AnalysisEvent, AnalysisProgress
from service.errors import (
    CircumplexError,
    ClipError,
    DecoderKilled,
    InternalError,
    QueueUnavailable,
    ServiceError,
)
from service.jobs.queue.leases import AttemptSuperseded, Claim, JobWithdrawn, LeaseManager
from service.jobs.record import result_key
from service.jobs.worker.heartbeat import Heartbeat
from service.results.builder import ResultBuilder
from service.results.columns import AnalysisResult
from service.results.formats import FORMATS
from service.settings import Settings
from service.telemetry.logs import TRACE_ID
from service.telemetry.metrics import Metrics

RELEASE_SECONDS: Final = 2.0
FIRST_RETRY_SECONDS: Final = 2.0
LONGEST_RETRY_SECONDS: Final = 64.0

log = logging.getLogger(__name__)

Analyse = Callable[[Path, AnalysisOptions], AsyncGenerator[AnalysisEvent]]
"""`service.pipeline.clip_analysis.analyse`, bound to everything but the clip and its choices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRunner:
    """Does the work of a claim; provenance is asked once for each result."""

    lease_manager: LeaseManager
    store: BlobStore
    analyse: Analyse
    provenance: Callable[[], Mapping[str, Any]]
    settings: Settings
    metrics: Metrics

    async def __call__(self, claim: Claim) -> bool:
        """Attempt the job once and settle it; a job that is cut short is handed back.

        Returns: whether the parts of the service that it takes were there.
        """
        TRACE_ID.set(claim.record.trace_id)
        log.info("job %s: attempt %d starts", claim.job_id, claim.attempt)
        started = time.monotonic()
        if claim.attempt == 1:
            waited = time.time() - claim.record.created_at
            self.metrics.job_queue_wait_seconds.observe(max(waited, 0.0))
        outcome = "released"
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
            self.metrics.job_duration_seconds.labels(outcome).observe(seconds)
            log.info("job %s: attempt %d %s", claim.job_id, claim.attempt, outcome)
        return outcome != "retried"

    async def _run_attempt(self, claim: Claim) -> str:
        """Work with a pulse beside it; a pulse that finds the job lost ends the work."""
        pulse = Heartbeat(self.lease_manager, claim)
        work = asyncio.create_task(self._settle(claim, pulse))
        beating = asyncio.create_task(pulse.run())
        try:
            await asyncio.wait((work, beating), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await beating
            return await work
        finally:
            for task in (work, beating):
                task.cancel()
            await asyncio.gather(work, beating, return_exceptions=True)

    async def _settle(self, claim: Claim, heartbeat: Heartbeat) -> str:
        """Bring the attempt to its end; returns its outcome."""
        try:
            started = time.monotonic()
            result = await self._analyze(claim, heartbeat)
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
            log.exception("job %s: a defect", claim.job_id)
            return await self._fail(claim, heartbeat, InternalError())
        return "succeeded"

    async def _analyze(self, claim: Claim, heartbeat: Heartbeat) -> AnalysisResult:
        choices = claim.record.analysis_options
        builder = ResultBuilder(self.provenance(), choices.faces)
        async with (
            self.store.open_file(claim.record.clip_key) as clip,
            aclosing(self.analyse(clip, choices)) as events,
        ):
            async for event in events:
                builder.add(event)
                if isinstance(event, AnalysisProgress):
                    heartbeat.frames_done, heartbeat.frames_expected = event.done, event.expected
        return await asyncio.to_thread(builder.build)

    async def _publish(self, claim: Claim, heartbeat: Heartbeat, result: AnalysisResult) -> None:
        """Results in the store first, the state after; nothing stays of what was not published.

        An attempt that is cut short while the queue is told may have been published all the
        same: its results stay, and are swept if it was not.
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
        ended = {"frames": len(result.frames), "result_bytes": size_bytes}
        try:
            await heartbeat.settle(lambda: self.lease_manager.succeed(claim, **ended))
        except AttemptSuperseded:
            await self._delete(keys.values())
            raise
        seconds = time.monotonic() - started
        self.metrics.stage_duration_seconds.labels(stage="publish").observe(seconds)

    async def _delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            await self.store.delete(key)

    async def _defer_or_fail(self, claim: Claim, heartbeat: Heartbeat, error: ServiceError) -> str:
        """Try again when the part that was away may be back: 2, 4, 8 ... 64 s, with jitter.

        A decoder that was killed counts as a lost worker does: its clip may be why.
        """
        deferrals = claim.record.deferrals + 1
        lost = claim.record.lost + isinstance(error, DecoderKilled)
        is_hopeless = lost >= self.settings.max_attempts or deferrals >= self.settings.max_deferrals
        if not error.retryable or is_hopeless:
            return await self._fail(claim, heartbeat, error)
        longest = min(FIRST_RETRY_SECONDS * 2.0 ** min(deferrals - 1, 10), LONGEST_RETRY_SECONDS)
        seconds = longest * random.uniform(0.5, 1.0)  # noqa: S311
        log.warning("job %s: again in %.0f s: %s", claim.job_id, seconds, error.detail)
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
            log.warning("job %s could not be handed back: %r", claim.job_id, error)

    def _observe_speed(self, result: AnalysisResult, seconds: float) -> None:
        if len(result.frames) > 1 and seconds > 0:
            clip_seconds = float(result.frames.time[-1] - result.frames.time[0])
            self.metrics.realtime_factor.observe(clip_seconds / seconds)


async def _iterate_in_thread(chunks: Iterator[bytes]) -> AsyncGenerator[bytes]:
    """The same chunks, made in a thread, so that the event loop keeps renewing leases."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
