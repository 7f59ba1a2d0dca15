"""Gateway and worker as separate processes, to be measured and killed.

python -m tests.integration.processes gateway
python -m tests.integration.processes gateway grpc
python -m tests.integration.processes worker FRAMES FRAME_SECONDS
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Final

from prometheus_client import CollectorRegistry

from service.auth.authenticator import Authenticator
from service.blobstore import open_store
from service.gateway.context import GatewayContext
from service.gateway.http_server.server import GatewayServer
from service.gateway.lifecycle import stop_on_signals
from service.gateway.rest.app import create_app
from service.gateway.rpc.server import serve_grpc
from service.jobs.queue.job_queue import JobQueue
from service.jobs.queue.leases import LeaseManager
from service.jobs.worker.consumer import run_consumer
from service.jobs.worker.job_runner import JobRunner
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.fake_estimators import make_fake_catalog
from tests.integration.fake_streams import FakeStreams
from tests.integration.fakes import always_ready, make_fake_analysis

STOP_TIMEOUT_SECONDS: Final = 60.0


@contextmanager
def running_service(settings: Settings, *arguments: str) -> Generator[subprocess.Popen[bytes]]:
    """Run this module in a process with these settings and arguments."""
    values = settings.model_dump(include=settings.model_fields_set, mode="json")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.processes", *arguments],
        env=os.environ | {f"CIRCUMPLEX_{name}".upper(): str(values[name]) for name in values},
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


async def serve_gateway(settings: Settings, *, with_grpc: bool = False) -> None:
    async with JobQueue.open(settings) as queue, Authenticator.open(settings) as authenticator:
        gateway = GatewayContext(
            settings=settings,
            authenticator=authenticator,
            store=open_store(settings),
            job_queue=queue,
            streams=FakeStreams(),
            estimators=make_fake_catalog(settings),
            metrics=Metrics(CollectorRegistry()),
        )
        with stop_on_signals(gateway.shutdown):
            async with (
                gateway.drive_shutdown(),
                serve_grpc(gateway) if with_grpc else nullcontext(),
            ):
                await GatewayServer(create_app(gateway)).serve()


async def run_fake_worker(settings: Settings, frames: int, frame_seconds: float) -> None:
    metrics = Metrics(CollectorRegistry())
    async with LeaseManager.open(settings) as lease_manager:
        job_runner = JobRunner(
            lease_manager=lease_manager,
            store=open_store(settings),
            analyse=make_fake_analysis(frames, frame_seconds),
            estimators=make_fake_catalog(settings),
            settings=settings,
            metrics=metrics,
        )
        await run_consumer(
            settings=settings,
            lease_manager=lease_manager,
            handle_claim=job_runner,
            is_ready=always_ready,
            metrics=metrics,
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["gateway"]:
            asyncio.run(serve_gateway(Settings()))
        case ["gateway", "grpc"]:
            asyncio.run(serve_gateway(Settings(), with_grpc=True))
        case ["worker", frames, frame_seconds]:
            asyncio.run(run_fake_worker(Settings(), int(frames), float(frame_seconds)))
        case _:
            sys.exit(__doc__)
