"""One attempt at a job: claim it, analyse the clip, publish the result, or say why not."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.domain.choices import Choices
from service.domain.ports import Store
from service.domain.timeline import AnalysisEvent, FramesSeen
from service.errors import (
    AttemptsExhausted,
    CircumplexError,
    ClipError,
    InternalError,
    QueueUnavailable,
    ServiceError,
)
from service.jobs.consumer import Delivery
from service.jobs.ledger import AttemptSuperseded, Claim, Ledger
from service.jobs.record import JobRecord, result_key
from service.results.builder import ResultBuilder
from service.results.columns import Result
from service.results.formats import FORMATS
from service.telemetry.logs import TRACE_ID
from service.telemetry.metrics import Metrics

PROGRESS_SECONDS: Final = 0.5
HAND_BACK_SECONDS: Final = 2.0

log = logging.getLogger(__name__)

Analyse = Callable[[Path, Choices], AsyncGenerator[AnalysisEvent]]
"""`service.analysis.analyse`, bound to everything but the clip and its choices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotator:
    """Does the work of a delivery; provenance is asked once for each result."""

    ledger: Ledger
    store: Store
    analyse: Analyse
    provenance: Callable[[], Mapping[str, Any]]
    metrics: Metrics

    async def __call__(self, delivery: Delivery) -> None:
        """Attempt the job once; raises a retryable ServiceError to be called again later."""
        try:
            claim = await self.ledger.claim(delivery.job_id)
        except AttemptsExhausted as error:
            self.metrics.decode_rejected_total.labels(error.code).inc()
            log.error("job %s is given up: %s", delivery.job_id, error.detail)
            return
        if claim is None:
            log.info("job %s has nothing left to do", delivery.job_id)
            return
        record = await self.ledger.find(claim.job_id)
        TRACE_ID.set(record.trace_id)
        if claim.attempt == 1:
            self.metrics.job_queue_wait_seconds.observe(max(time.time() - record.created_at, 0.0))
        await self._attempt(claim, record, delivery)

    async def _attempt(self, claim: Claim, record: JobRecord, delivery: Delivery) -> None:
        started = time.monotonic()
        outcome = "retried"
        log.info("job %s: attempt %d starts", claim.job_id, claim.attempt)
        try:
            outcome = await self._settle(claim, record, delivery)
        except AttemptSuperseded:
            outcome = "superseded"
            log.warning("job %s: attempt %d was superseded", claim.job_id, claim.attempt)
        except asyncio.CancelledError:
            outcome = "handed_back"
            await self._hand_back(claim)
            raise
        finally:
            seconds = time.monotonic() - started
            self.metrics.job_duration_seconds.labels(outcome).observe(seconds)
            log.info("job %s: attempt %d %s", claim.job_id, claim.attempt, outcome)

    async def _settle(self, claim: Claim, record: JobRecord, delivery: Delivery) -> str:
        """Bring the attempt to its end; returns its outcome."""
        try:
            started = time.monotonic()
            result = await self._follow(claim, record)
            self._observe_speed(result, time.monotonic() - started)
            await self._publish(claim, result)
        except (AttemptSuperseded, asyncio.CancelledError, QueueUnavailable):
            raise
        except ClipError as error:
            self.metrics.decode_rejected_total.labels(error.code).inc()
            return await self._fail(claim, error)
        except ServiceError as error:
            if error.retryable and not delivery.is_last_try:
                await self.ledger.hand_back(claim)
                raise
            return await self._fail(claim, error)
        except Exception:
            log.exception("job %s: a defect", claim.job_id)
            return await self._fail(claim, InternalError())
        return "succeeded"

    async def _follow(self, claim: Claim, record: JobRecord) -> Result:
        builder = ResultBuilder(self.provenance(), record.choices.faces)
        due = time.monotonic()
        async with (
            self.store.open_file(record.clip_key) as clip,
            aclosing(self.analyse(clip, record.choices)) as events,
        ):
            async for event in events:
                builder.add(event)
                if isinstance(event, FramesSeen) and time.monotonic() >= due:
                    await self._report(claim, event)
                    due = time.monotonic() + PROGRESS_SECONDS
        return await asyncio.to_thread(builder.build)

    async def _report(self, claim: Claim, seen: FramesSeen) -> None:
        try:
            await self.ledger.report_progress(claim, seen.done, seen.expected)
        except QueueUnavailable as error:
            log.warning("job %s: progress is not recorded: %s", claim.job_id, error)

    async def _publish(self, claim: Claim, result: Result) -> None:
        """Results in the store first, the state after; nothing stays of what was not published."""
        keys = {name: result_key(claim.job_id, claim.attempt, name) for name in FORMATS}
        started = time.monotonic()
        try:
            for name, key in keys.items():
                await self.store.put(key, _in_thread(FORMATS[name].write(result)))
        except BaseException:
            await self._delete(keys.values())
            raise
        try:
            await self.ledger.succeed(claim, len(result.frames))
        except AttemptSuperseded:  # any other failure may have published it
            await self._delete(keys.values())
            raise
        seconds = time.monotonic() - started
        self.metrics.stage_duration_seconds.labels(stage="publish").observe(seconds)

    async def _delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            await self.store.delete(key)

    async def _fail(self, claim: Claim, error: CircumplexError) -> str:
        log.warning("job %s failed: %s: %s", claim.job_id, error.code, error.detail)
        await self.ledger.fail(claim, error)
        return "failed"

    async def _hand_back(self, claim: Claim) -> None:
        try:
            async with asyncio.timeout(HAND_BACK_SECONDS):
                await self.ledger.hand_back(claim)
        except (AttemptSuperseded, QueueUnavailable, TimeoutError) as error:
            log.warning("job %s could not be handed back: %r", claim.job_id, error)

    def _observe_speed(self, result: Result, seconds: float) -> None:
        if len(result.frames) > 1 and seconds > 0:
            clip_seconds = float(result.frames.time[-1] - result.frames.time[0])
            self.metrics.realtime_factor.observe(clip_seconds / seconds)


async def _in_thread(chunks: Iterator[bytes]) -> AsyncGenerator[bytes]:
    """The same chunks, made in a thread, so that the event loop keeps renewing leases."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
