"""Servers on free ports: Redis, and the gateway in this process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import psutil
import redis
from fastapi import FastAPI

from service.embedded.process import find_free_ports
from service.embedded.redis import find_bundled_redis, run_redis
from service.gateway.context import GatewayContext
from service.gateway.http_server.server import GatewayServer
from service.gateway.lifecycle import ShutdownPhase
from service.gateway.rpc.server import serve_grpc
from service.gateway.rpc.transport import PingLimits


def free_port() -> int:
    return find_free_ports(1)[0]


REDIS_7_BINARY = Path(__file__).parents[2] / ".runtime" / "redis-7" / "redis-server"
REDIS_VERSIONS = ("6.2", "7.4")


def find_redis_binary(version: str) -> str:
    """Return the path of `redis-server` of one of REDIS_VERSIONS."""
    binary = find_bundled_redis() if version == "6.2" else str(REDIS_7_BINARY)
    assert binary
    assert Path(binary).is_file(), "Redis 7 is not unpacked: run `make test`"
    return binary


class RedisServer:
    """Redis process that can be stopped, killed and restarted on the same port."""

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
        """Send SIGKILL and wait for the end of the process."""
        self._process().kill()
        self._running.close()

    @contextmanager
    def frozen(self) -> Generator[None]:
        """Suspend the process: connections stay open without responses, as in a network outage."""
        process = self._process()
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    def set_password(self, password: str) -> None:
        """Require a password of clients, and use it with a master."""
        self.run_command("CONFIG", "SET", "masterauth", password)
        self.run_command("CONFIG", "SET", "requirepass", password)
        self._password = password

    def run_command(self, *words: str | int) -> Any:
        with self.client() as client:
            return cast("Any", client.execute_command(*words))  # pyright: ignore[reportUnknownMemberType]  # untyped

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=self._password)

    def _process(self) -> psutil.Process:
        return psutil.Process(self.run_command("INFO", "server")["process_id"])


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
    """Serve an app on a socket, on a free port by default; yields its URL."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    server = GatewayServer(app)
    gateway: GatewayContext = app.state.gateway
    async with gateway.drive_shutdown():
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            gateway.shutdown.request(ShutdownPhase.ANNOUNCED)
            await running


@asynccontextmanager
async def serving_grpc(
    gateway: GatewayContext, port: int = 0, ping_limits: PingLimits | None = None
) -> AsyncGenerator[int]:
    """The gateway's gRPC server alone, on any free port where none is named; yields its port."""
    limits = ping_limits or PingLimits()
    async with gateway.drive_shutdown(), serve_grpc(gateway, port, ping_limits=limits) as bound:
        yield bound
