"""Connects the rooms: each process of the service as one composition of context managers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import uvicorn
from fastapi import FastAPI
from prometheus_client import REGISTRY

from service.analysis import Method, analyse
from service.api.app import create_app
from service.api.gateway import Gateway
from service.domain.ports import Inference
from service.extraction.door import extract
from service.jobs.annotator import Analyse, Annotator
from service.jobs.ledger import Ledger
from service.jobs.queue import JobQueue
from service.jobs.worker import run_worker as work_until_stopped
from service.provenance import read_provenance
from service.settings import Settings
from service.store import FolderStore
from service.telemetry.metrics import Metrics
from service.triton.client import connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Analyst:
    """`analyse` bound to its models, and the models themselves."""

    analyse: Analyse
    inference: Inference


@asynccontextmanager
async def open_analyst(settings: Settings, metrics: Metrics) -> AsyncGenerator[Analyst]:
    """The story of analysis.py, told with the real extraction and the real Triton."""
    async with connect(settings, metrics) as inference:
        method = Method(
            window_frames=settings.window_frames,
            hop_frames=settings.hop_frames,
            smoothing_seconds=settings.smoothing_seconds,
            chunks_in_flight=settings.chunks_in_flight,
        )
        bound = partial(
            analyse,
            extractor=partial(extract, settings=settings),
            inference=inference,
            method=method,
            metrics=metrics,
        )
        yield Analyst(analyse=bound, inference=inference)


@asynccontextmanager
async def open_gateway(settings: Settings, metrics: Metrics) -> AsyncGenerator[FastAPI]:
    """The REST application with its connections open; it starts while Redis and Triton are away."""
    store = FolderStore(settings.store_dir)
    async with (
        store.kept_tidy(),
        Ledger.open(settings) as ledger,
        JobQueue.open(settings) as queue,
        connect(settings, metrics) as inference,
    ):
        yield create_app(
            Gateway(
                settings=settings,
                store=store,
                ledger=ledger,
                queue=queue,
                inference_ready=inference.is_ready,
                metrics=metrics,
            )
        )


async def run_gateway(settings: Settings) -> None:
    """Serve REST until SIGTERM or SIGINT, then finish the requests under way."""
    async with open_gateway(settings, Metrics(REGISTRY)) as app:
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.http_port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=int(settings.drain_seconds),
        )
        await uvicorn.Server(config).serve()


async def run_worker(settings: Settings) -> None:
    """Work on queued jobs until SIGTERM or SIGINT, then finish or hand back."""
    metrics = Metrics(REGISTRY)
    async with (
        Ledger.open(settings) as ledger,
        JobQueue.open(settings) as queue,
        open_analyst(settings, metrics) as analyst,
    ):
        annotator = Annotator(
            ledger=ledger,
            store=FolderStore(settings.store_dir),
            analyse=analyst.analyse,
            provenance=partial(read_provenance, settings),
            metrics=metrics,
        )
        await work_until_stopped(settings=settings, queue=queue, work=annotator, metrics=metrics)
