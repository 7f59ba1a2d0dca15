"""Connects the rooms: each process of the service as one composition of context managers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from prometheus_client import REGISTRY

from service.access.audit import Audit
from service.access.gate import Gate
from service.analysis import analyse
from service.api.app import create_app
from service.domain.ports import Inference
from service.estimation import Method
from service.extraction.door import open_extraction
from service.extraction.live_door import open_live_extraction
from service.jobs.annotator import Analyse, Annotator
from service.jobs.caretaker import Caretaker
from service.jobs.desk import Desk
from service.jobs.ledger import Ledger
from service.jobs.upkeep import Upkeep
from service.jobs.worker import run_worker as work_until_stopped
from service.live.archive import Archive
from service.live.streams import Streams
from service.office.gateway import Gateway
from service.provenance import read_provenance, read_weights
from service.rpc.door import open_door
from service.server.server import GatewayServer
from service.settings import Settings
from service.store import open_store
from service.telemetry.metrics import Metrics
from service.triton.client import connect

CLOSE_SECONDS: Final = 8.0
"""What a process that has done its work gives to the leave it takes of Triton and Redis."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Analyst:
    """`analyse` bound to its models, and the models themselves."""

    analyse: Analyse
    inference: Inference


@asynccontextmanager
async def open_analyst(settings: Settings, metrics: Metrics) -> AsyncGenerator[Analyst]:
    """The story of analysis.py, told with the real extraction and the real Triton."""
    async with connect(settings, metrics) as inference, open_extraction(settings) as extractor:
        bound = partial(
            analyse,
            extractor=extractor,
            inference=inference,
            method=Method.of(settings),
            metrics=metrics,
        )
        yield Analyst(analyse=bound, inference=inference)


@asynccontextmanager
async def open_gateway(settings: Settings, metrics: Metrics) -> AsyncGenerator[Gateway]:
    """What the doors work with, connected; it starts while Redis and Triton are away."""
    store = open_store(settings)
    async with (
        open_live_extraction(settings) as extractor,
        Desk.open(settings) as desk,
        Gate.open(settings) as gate,
        Audit.open(settings) as audit,
        Upkeep.open(settings) as upkeep,
        Archive.open(settings) as archive,
        connect(settings, metrics) as inference,
        _at_work(Caretaker(upkeep, store, settings)),
    ):
        streams = Streams(
            settings=settings,
            extractor=extractor,
            inference=inference,
            weights=partial(read_weights, settings),
            archive=archive,
            metrics=metrics,
        )
        yield Gateway(
            settings=settings,
            gate=gate,
            store=store,
            desk=desk,
            streams=streams,
            inference_ready=inference.is_ready,
            metrics=metrics,
            audit=audit,
        )


async def run_gateway(settings: Settings) -> None:
    """Serve REST and gRPC until SIGTERM or SIGINT, then finish what is under way."""
    async with _closed_in_time() as connections:
        gateway = await connections.enter_async_context(open_gateway(settings, Metrics(REGISTRY)))
        async with open_door(gateway):
            await GatewayServer(create_app(gateway)).serve()


async def run_worker(settings: Settings) -> None:
    """Work on queued jobs until SIGTERM or SIGINT, then finish or hand back."""
    metrics = Metrics(REGISTRY)
    async with _closed_in_time() as connections:
        ledger = await connections.enter_async_context(Ledger.open(settings))
        analyst = await connections.enter_async_context(open_analyst(settings, metrics))
        store = open_store(settings)
        annotator = Annotator(
            ledger=ledger,
            store=store,
            analyse=analyst.analyse,
            provenance=partial(read_provenance, settings),
            settings=settings,
            metrics=metrics,
        )

        async def is_ready() -> bool:
            return await analyst.inference.is_ready() and await store.is_ready()

        await work_until_stopped(
            settings=settings, ledger=ledger, work=annotator, is_ready=is_ready, metrics=metrics
        )


@asynccontextmanager
async def _at_work(caretaker: Caretaker) -> AsyncGenerator[None]:
    working = asyncio.create_task(caretaker.run(), name="caretaker")
    try:
        yield
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


@asynccontextmanager
async def _closed_in_time() -> AsyncGenerator[AsyncExitStack]:
    """Connections that keep no process from its end: they are closed in time, or dropped."""
    patience = asyncio.timeout(None)
    has_worked = False
    try:
        async with patience, AsyncExitStack() as connections:
            try:
                yield connections
                has_worked = True
            finally:
                patience.reschedule(asyncio.get_running_loop().time() + CLOSE_SECONDS)
    except TimeoutError:
        if not (has_worked and patience.expired()):
            raise
        log.warning("closing took more than %.0f s: connections are dropped", CLOSE_SECONDS)
