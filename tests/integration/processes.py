"""Gateway and worker as processes of their own, to be measured and killed.

python -m tests.integration.processes gateway
python -m tests.integration.processes doors
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
from service.gateway.rest.app import create_app
from service.gateway.rpc.server import serve_grpc
from service.jobs.queue.job_queue import JobQueue
from service.jobs.queue.leases import LeaseManager
from service.jobs.worker.job_runner import JobRunner
from service.jobs.worker.process import run_worker
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.integration.fake_streams import FakeStreams
from tests.integration.fakes import always_ready, make_fake_analysis

STOP_TIMEOUT_SECONDS: Final = 60.0


@contextmanager
def running_service(settings: Settings, *arguments: str) -> Generator[subprocess.Popen[bytes]]:
    """This module with these arguments, in its own process with these settings."""
    told = settings.model_dump(include=settings.model_fields_set, mode="json")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.processes", *arguments],
        env=os.environ | {f"CIRCUMPLEX_{name}".upper(): str(told[name]) for name in told},
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
    async def ready() -> bool:
        return True

    async with JobQueue.open(settings) as desk, Authenticator.open(settings) as gate:
        gateway = GatewayContext(
            settings=settings,
            authenticator=gate,
            store=open_store(settings),
            job_queue=desk,
            streams=FakeStreams(),
            is_inference_ready=ready,
            metrics=Metrics(CollectorRegistry()),
        )
        async with serve_grpc(gateway) if with_grpc else nullcontext():
            await GatewayServer(create_app(gateway)).serve()


async def run_fake_worker(settings: Settings, frames: int, frame_seconds: float) -> None:
    metrics = Metrics(CollectorRegistry())
    async with LeaseManager.open(settings) as ledger:
        annotator = JobRunner(
            lease_manager=ledger,
            store=open_store(settings),
            analyse=make_fake_analysis(frames, frame_seconds),
            provenance=lambda: {"weights": "untrained"},
            settings=settings,
            metrics=metrics,
        )
        await run_worker(
            settings=settings,
            lease_manager=ledger,
            handle_claim=annotator,
            is_ready=always_ready,
            metrics=metrics,
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["gateway"]:
            asyncio.run(serve_gateway(Settings()))  # pyright: ignore[reportCallIssue]
        case ["doors"]:
            asyncio.run(serve_gateway(Settings(), with_grpc=True))  # pyright: ignore[reportCallIssue]
        case ["worker", frames, frame_seconds]:
            asyncio.run(run_fake_worker(Settings(), int(frames), float(frame_seconds)))  # pyright: ignore[reportCallIssue]
        case _:
            sys.exit(__doc__)
