"""Real servers on free ports: Redis, and the gateway under uvicorn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import psutil
import redis
from fastapi import FastAPI

from service.embedded.process import find_free_ports
from service.embedded.redis import find_bundled_redis, run_redis
from service.gateway.http_server.server import GatewayServer


def free_port() -> int:
    return find_free_ports(1)[0]


REDIS_7_BINARY = Path(__file__).parents[2] / ".runtime" / "redis-7" / "redis-server"
REDIS_VERSIONS = ("6.2", "7.4")


def find_redis_binary(version: str) -> str:
    """The `redis-server` of one of REDIS_VERSIONS."""
    binary = find_bundled_redis() if version == "6.2" else str(REDIS_7_BINARY)
    assert binary
    assert Path(binary).is_file(), "Redis 7 is not unpacked: run `make test`"
    return binary


class RedisServer:
    """A Redis of our own that can be stopped, killed and started again on the same port."""

    def __init__(self, folder: Path, version: str = "6.2", options: Sequence[str] = ()) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._options = options
        self._binary = find_redis_binary(version)
        self._password: str | None = None
        self._running = ExitStack()

    def start(self, *more_options: str) -> None:
        self._running.enter_context(
            run_redis(
                data_dir=self._folder,
                logs_dir=self._folder,
                port=self.port,
                binary=self._binary,
                options=(*self._options, *more_options),
            )
        )

    def stop(self) -> None:
        self._running.close()

    def kill(self) -> None:
        """SIGKILL, and the end of it."""
        self._process().kill()
        self._running.close()

    @contextmanager
    def frozen(self) -> Generator[None]:
        """It keeps its connections and says nothing: what a lost network looks like."""
        process = self._process()
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    def set_password(self, password: str) -> None:
        """Let nobody in without it, and follow a master that asks for it."""
        with self.client() as client:
            client.config_set("masterauth", password)
            client.config_set("requirepass", password)
        self._password = password

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=self._password)

    def _process(self) -> psutil.Process:
        with self.client() as client:
            return psutil.Process(client.info("server")["process_id"])  # pyright: ignore[reportIndexIssue]


@contextmanager
def running_redis(
    folder: Path, version: str = "6.2", options: Sequence[str] = ()
) -> Generator[RedisServer]:
    server = RedisServer(folder, version, options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def serving(app: FastAPI, port: int = 0) -> AsyncGenerator[str]:
    """The app on a real socket, on any free port where none is named; yields its address."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    server = GatewayServer(app)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
