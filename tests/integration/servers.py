"""Real servers on free ports: Redis, and the gateway under uvicorn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from service.embedded.process import free_ports
from service.embedded.redis import run_redis


def free_port() -> int:
    return free_ports(1)[0]


class RedisServer:
    """A Redis of our own that can be stopped and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._running = ExitStack()
        self.url = ""

    def start(self) -> None:
        self.url = self._running.enter_context(
            run_redis(data_dir=self._folder, logs_dir=self._folder, port=self._port)
        )

    def stop(self) -> None:
        self._running.close()


@contextmanager
def running_redis(folder: Path) -> Generator[RedisServer]:
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncGenerator[str]:
    """The app on a real socket; yields its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
