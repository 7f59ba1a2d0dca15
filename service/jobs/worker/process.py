"""The worker process: jobs in, results out, /metrics beside it, a drain at the end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from prometheus_client import start_http_server

from service.jobs.queue.leases import LeaseManager
from service.jobs.worker.consumer import ClaimHandler, Consumer, ReadinessCheck
from service.settings import Settings
from service.telemetry.metrics import Metrics

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


async def run_worker(
    *,
    settings: Settings,
    lease_manager: LeaseManager,
    handle_claim: ClaimHandler,
    is_ready: ReadinessCheck,
    metrics: Metrics,
) -> None:
    """Work until SIGTERM or SIGINT, then drain."""
    with _metrics_served(settings, metrics), _stop_on_signals() as stop:
        log.info(
            "worker takes %d jobs at once from %s, metrics on port %d",
            settings.worker_concurrency,
            settings.queue_name,
            settings.worker_metrics_port,
        )
        await Consumer(lease_manager, settings, handle_claim, is_ready, metrics).run(stop)
    log.info("worker stopped")


@contextmanager
def _metrics_served(settings: Settings, metrics: Metrics) -> Generator[None]:
    server, thread = start_http_server(
        settings.worker_metrics_port, settings.host, registry=metrics.registry
    )
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _stop_on_signals() -> Generator[asyncio.Event]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
