"""Composition of the processes: gateway, worker and clip analyzer, as context managers."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import REGISTRY

from service.auth.audit_log import AuditLog
from service.auth.authenticator import Authenticator
from service.background_task import run_in_background
from service.blobstore import open_store
from service.decoding.extractor import open_clip_extractor, open_stream_extractor
from service.domain.clip import AnalysisEvent
from service.domain.options import AnalysisOptions
from service.gateway.context import GatewayContext
from service.gateway.http_server.server import GatewayServer
from service.gateway.lifecycle import stop_on_signals
from service.gateway.rest.app import create_app
from service.gateway.rpc.server import serve_grpc
from service.jobs.cleanup.janitor import Janitor
from service.jobs.queue.database import QueueMaintenance
from service.jobs.queue.job_queue import JobQueue
from service.jobs.queue.leases import LeaseManager
from service.jobs.worker.consumer import run_consumer
from service.jobs.worker.job_runner import Analyse, JobRunner
from service.pipeline.clip_analysis import analyse
from service.pipeline.estimators import EstimatorCatalog, ServedEstimator
from service.pipeline.model_monitor import ModelMonitor
from service.settings import Settings
from service.streaming.resume.checkpoint_store import CheckpointStore
from service.streaming.stream_manager import StreamManager
from service.telemetry.metrics import Metrics
from service.triton.client import connect_triton

CLOSE_TIMEOUT_SECONDS: Final = 8.0
"""Time for closing the connections to Triton and Redis at the end of a process."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipAnalyzer:
    """The analysis of one clip, and the estimators to choose from."""

    analyse: Analyse
    estimators: EstimatorCatalog


@asynccontextmanager
async def open_clip_analyzer(settings: Settings, metrics: Metrics) -> AsyncGenerator[ClipAnalyzer]:
    """Connect the analysis of clips to the sandboxed extractor and to Triton."""
    async with (
        connect_triton(settings, metrics) as triton,
        open_clip_extractor(settings) as extractor,
    ):

        def analyse_clip(
            clip: Path, options: AnalysisOptions, estimator: ServedEstimator
        ) -> AsyncGenerator[AnalysisEvent]:
            return analyse(clip, options, extractor=extractor, estimator=estimator, metrics=metrics)

        yield ClipAnalyzer(analyse=analyse_clip, estimators=EstimatorCatalog(settings, triton))


@asynccontextmanager
async def open_gateway(settings: Settings, metrics: Metrics) -> AsyncGenerator[GatewayContext]:
    """Open the gateway's collaborators; Redis and Triton may be unreachable meanwhile."""
    store = open_store(settings)
    async with (
        open_stream_extractor(settings) as extractor,
        JobQueue.open(settings) as job_queue,
        Authenticator.open(settings) as authenticator,
        AuditLog.open(settings) as audit_log,
        QueueMaintenance.open(settings) as maintenance,
        CheckpointStore.open(settings) as checkpoint_store,
        connect_triton(settings, metrics) as triton,
        run_in_background(Janitor(maintenance, store, settings).run(), name="janitor"),
    ):
        estimators = EstimatorCatalog(settings, triton)
        streams = StreamManager(
            settings=settings,
            extractor=extractor,
            estimators=estimators,
            checkpoint_store=checkpoint_store,
            metrics=metrics,
        )
        async with ModelMonitor(estimators, metrics, streams.check_models).running():
            yield GatewayContext(
                settings=settings,
                authenticator=authenticator,
                store=store,
                job_queue=job_queue,
                streams=streams,
                estimators=estimators,
                metrics=metrics,
                audit_log=audit_log,
            )


async def start_gateway(settings: Settings) -> None:
    """Serve REST and gRPC until SIGTERM or SIGINT, then finish what is under way."""
    async with _bounded_exit_stack() as stack:
        gateway = await stack.enter_async_context(open_gateway(settings, Metrics(REGISTRY)))
        with stop_on_signals(gateway.shutdown):
            async with gateway.drive_shutdown(), serve_grpc(gateway):
                server = GatewayServer(create_app(gateway))
                exempt_from_collection()
                await server.serve()


def exempt_from_collection() -> None:
    """Exempt what exists now from garbage collection: modules, classes, schemas.

    A full collection of them takes 70 ms, in which no result of a stream leaves.
    """
    gc.collect()
    gc.freeze()


async def start_worker(settings: Settings) -> None:
    """Work on queued jobs until SIGTERM or SIGINT, then finish or hand back."""
    metrics = Metrics(REGISTRY)
    async with _bounded_exit_stack() as stack:
        lease_manager = await stack.enter_async_context(LeaseManager.open(settings))
        analyzer = await stack.enter_async_context(open_clip_analyzer(settings, metrics))
        await stack.enter_async_context(ModelMonitor(analyzer.estimators, metrics).running())
        store = open_store(settings)
        job_runner = JobRunner(
            lease_manager=lease_manager,
            store=store,
            analyse=analyzer.analyse,
            estimators=analyzer.estimators,
            settings=settings,
            metrics=metrics,
        )

        async def is_ready() -> bool:
            return await analyzer.estimators.can_work() and await store.is_ready()

        await run_consumer(
            settings=settings,
            lease_manager=lease_manager,
            handle_claim=job_runner,
            is_ready=is_ready,
            metrics=metrics,
        )


@asynccontextmanager
async def _bounded_exit_stack() -> AsyncGenerator[AsyncExitStack]:
    """Exit stack that has CLOSE_TIMEOUT_SECONDS to close; then connections are dropped."""
    deadline = asyncio.timeout(None)
    has_finished = False
    try:
        async with deadline, AsyncExitStack() as stack:
            try:
                yield stack
                has_finished = True
            finally:
                deadline.reschedule(asyncio.get_running_loop().time() + CLOSE_TIMEOUT_SECONDS)
    except TimeoutError:
        if not (has_finished and deadline.expired()):
            raise
        log.warning("closing took more than %.0f s: connections are dropped", CLOSE_TIMEOUT_SECONDS)
