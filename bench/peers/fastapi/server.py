"""FastAPI with a pool of processes, one for each core: `uvicorn bench.peers.fastapi.server:app`."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
from collections.abc import AsyncGenerator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import FastAPI, File, UploadFile
from fastapi.responses import JSONResponse

if TYPE_CHECKING:
    from bench.peers.pipeline import PeerPipeline

WORKERS: Final = int(os.environ.get("PEER_WORKERS", "0")) or len(os.sched_getaffinity(0))

_pipelines: list[PeerPipeline] = []
"""The pipeline of a process of the pool."""


@asynccontextmanager
async def run_pool(app: FastAPI) -> AsyncGenerator[None]:
    """Start the processes, each with the models loaded, before the first request."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context, initializer=load_models) as pool:
        app.state.pool = pool
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(pool, os.getpid) for _ in range(WORKERS)))
        yield


app = FastAPI(lifespan=run_pool)


def load_models() -> None:
    """Load the pipeline of this process; the server's own process does without torch."""
    from bench.peers.pipeline import PeerPipeline

    _pipelines.append(PeerPipeline.from_environment())


def annotate_file(path: str) -> dict[str, list[float] | list[float | None]]:
    """Annotate a clip in a process of the pool."""
    return _pipelines[0].annotate(path).to_dict()


@app.get("/health")
async def health() -> str:
    """Answer once the processes run."""
    return "ok"


@app.post("/annotate")
async def annotate(clip: Annotated[UploadFile, File()]) -> JSONResponse:
    """Annotate an uploaded clip."""
    with NamedTemporaryFile(suffix=".mp4") as file:
        await asyncio.to_thread(shutil.copyfileobj, clip.file, file)
        file.flush()
        loop = asyncio.get_running_loop()
        return JSONResponse(await loop.run_in_executor(app.state.pool, annotate_file, file.name))
