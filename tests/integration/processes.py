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

from service.access.gate import Gate
from service.api.app import create_app
from service.jobs.annotator import Annotator
from service.jobs.desk import Desk
from service.jobs.ledger import Ledger
from service.jobs.worker import run_worker
from service.office.gateway import Gateway
from service.rpc.door import open_door
from service.server.server import GatewayServer
from service.settings import Settings
from service.store import open_store
from service.telemetry.metrics import Metrics
from tests.integration.pretence import always_ready, analysis_of
from tests.integration.pretended_streams import PretendedStreams

STOP_SECONDS: Final = 60.0


@contextmanager
def process_of(settings: Settings, *arguments: str) -> Generator[subprocess.Popen[bytes]]:
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
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


async def serve_gateway(settings: Settings, *, with_grpc: bool = False) -> None:
    async def ready() -> bool:
        return True

    async with Desk.open(settings) as desk, Gate.open(settings) as gate:
        gateway = Gateway(
            settings=settings,
            gate=gate,
            store=open_store(settings),
            desk=desk,
            streams=PretendedStreams(),
            inference_ready=ready,
            metrics=Metrics(CollectorRegistry()),
        )
        async with open_door(gateway) if with_grpc else nullcontext():
            await GatewayServer(create_app(gateway)).serve()


async def work(settings: Settings, frames: int, frame_seconds: float) -> None:
    metrics = Metrics(CollectorRegistry())
    async with Ledger.open(settings) as ledger:
        annotator = Annotator(
            ledger=ledger,
            store=open_store(settings),
            analyse=analysis_of(frames, frame_seconds),
            provenance=lambda: {"weights": "untrained"},
            settings=settings,
            metrics=metrics,
        )
        await run_worker(
            settings=settings,
            ledger=ledger,
            work=annotator,
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
            asyncio.run(work(Settings(), int(frames), float(frame_seconds)))  # pyright: ignore[reportCallIssue]
        case _:
            sys.exit(__doc__)
