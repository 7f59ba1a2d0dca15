"""Internals of uvicorn that the server overrides: each exists and is called as expected."""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import socket
import textwrap
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket
from prometheus_client import CollectorRegistry
from uvicorn.server import ServerState
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from service.gateway.http_server.connection import MAX_HEADERS
from service.gateway.http_server.server import GatewayServer
from service.gateway.http_server.uvicorn_hooks import (
    CONNECTION_HOOKS,
    LIBRARY_HOOKS,
    MESSAGE_HOOKS,
    SERVER_HOOKS,
    WEBSOCKET_HOOKS,
    LibraryHooks,
)
from service.gateway.lifecycle import ShutdownPhase, ShutdownState
from service.settings import Settings
from service.telemetry.metrics import Metrics

DOCUMENTED_ATTRIBUTES = {"transport", "loop"}
"""Attributes of asyncio's own classes, whose methods are public and need no test."""
LARGE_BYTES = 2**25
"""More than the buffers of a socket hold."""
TIMEOUT_SECONDS = 20.0

each_hook = pytest.mark.parametrize(
    "hooks", LIBRARY_HOOKS, ids=lambda hooks: hooks.subclass.__name__
)


def own_classes(hooks: LibraryHooks) -> list[type[object]]:
    """The subclass and those of its bases that are defined in `service`."""
    return [each for each in hooks.subclass.__mro__ if each.__module__.startswith("service.")]


@each_hook
def test_the_table_lists_every_override(hooks: LibraryHooks) -> None:
    names = {name for each in own_classes(hooks) for name in vars(each)} & {*dir(hooks.base)}
    assert {n for n in names if n == "__init__" or not n.startswith("__")} == hooks.overrides


@each_hook
async def test_the_table_lists_every_attribute_read(hooks: LibraryHooks) -> None:
    set_by_library = {chain.partition(".")[0] for chain in attribute_chains(hooks.base)}
    available = {*dir(make_library_object(hooks))} | set_by_library
    chains = {chain for each in own_classes(hooks) for chain in attribute_chains(each)}
    read = {chain for chain in chains if chain.partition(".")[0] in available - hooks.overrides}
    assert read == hooks.reads


def attribute_chains(owner: type[object]) -> set[str]:
    """Return `a.b` for each `self.a.b` in the source of a class."""
    chains: set[str] = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(owner)))):
        names: list[str] = []
        part: ast.AST = node
        while isinstance(part, ast.Attribute):
            names.insert(0, part.attr)
            part = part.value
        if names and isinstance(part, ast.Name) and part.id == "self":
            depth = 1 if names[0] in DOCUMENTED_ATTRIBUTES else 2
            chains.add(".".join(names[:depth]))
    return chains


def make_library_object(hooks: LibraryHooks) -> object:
    base = cast(Callable[..., object], hooks.base)
    config = uvicorn.Config(FastAPI(), log_config=None)
    if hooks is MESSAGE_HOOKS:
        return base()
    if hooks is SERVER_HOOKS:
        return base(config)
    return base(config, ServerState(), {}, asyncio.get_running_loop())


@each_hook
def test_overrides_take_the_parameters_of_the_installed_version(hooks: LibraryHooks) -> None:
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD

    def parameters(owner: type[object], name: str) -> list[str]:
        found = inspect.signature(getattr(owner, name)).parameters.values()
        return [each.name for each in found if each.kind is positional]

    for name in hooks.overrides - {"__init__"}:
        assert parameters(hooks.subclass, name) == parameters(hooks.base, name), name
    for hooked in (CONNECTION_HOOKS, WEBSOCKET_HOOKS):
        assert parameters(hooked.subclass, "__init__") == parameters(hooked.base, "__init__")


@dataclass(kw_only=True)
class HookRecorder:
    """Records calls of overrides, and the objects on which they are called."""

    calls: dict[LibraryHooks, set[str]] = field(
        default_factory=lambda: defaultdict[LibraryHooks, set[str]](set)
    )
    objects: dict[LibraryHooks, list[Any]] = field(
        default_factory=lambda: defaultdict[LibraryHooks, list[Any]](list)
    )

    def subclass(self, hooks: LibraryHooks) -> Callable[..., Any]:
        """A subclass that records each call of an override before it is made."""

        def recorder(name: str) -> Callable[..., Any]:
            def record(this: Any, *arguments: Any, **named: Any) -> Any:
                self.calls[hooks].add(name)
                if name == "__init__":
                    self.objects[hooks].append(this)
                method: Any = getattr(hooks.subclass, name)
                return method(this, *arguments, **named)

            return record

        methods = {name: recorder(name) for name in hooks.overrides}
        recording: Any = type("Recording", (hooks.subclass,), methods)
        return recording


@dataclass(kw_only=True)
class RecordedServer:
    port: int
    recorder: HookRecorder
    shutdown: ShutdownState
    serving: asyncio.Task[None]


def make_app() -> FastAPI:
    app = FastAPI()

    @app.post("/")
    async def post(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]  # a route
        return Response(bytes(int(await request.body() or b"0")))

    @app.websocket("/")
    async def echo(websocket: WebSocket) -> None:  # pyright: ignore[reportUnusedFunction]  # a route
        await websocket.accept()
        while (await websocket.receive())["type"] == "websocket.receive":
            await websocket.send_bytes(bytes(LARGE_BYTES))

    return app


@pytest.fixture
async def recorded() -> AsyncGenerator[RecordedServer]:
    """The HTTP server with recording subclasses, on a free port."""
    shutdown = ShutdownState()
    settings = Settings(drain_seconds=0.0)
    app = make_app()
    app.state.gateway = SimpleNamespace(
        settings=settings, shutdown=shutdown, metrics=Metrics(CollectorRegistry())
    )
    recorder = HookRecorder()
    server: GatewayServer = recorder.subclass(SERVER_HOOKS)(app)
    for name, hooks in (("http", CONNECTION_HOOKS), ("ws", WEBSOCKET_HOOKS)):
        made: Any = getattr(server.config, name)
        setattr(server.config, name, partial(recorder.subclass(hooks), **made.keywords))
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        port = listener.getsockname()[1]
        yield RecordedServer(port=port, recorder=recorder, shutdown=shutdown, serving=serving)
        shutdown.advance(ShutdownPhase.CLOSING)
        await serving


def make_post(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@asynccontextmanager
async def open_connection(
    port: int, sent: bytes
) -> AsyncGenerator[tuple[asyncio.StreamReader, bytes]]:
    """A connection that sends a request; yields its reader and the response's head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        yield reader, await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - a transport has no event for it
        await asyncio.sleep(0.01)


def has_unread_bytes(connection: Any) -> bool:
    """True while a response waits for its client to read."""
    return connection.transport.get_write_buffer_size() > 0


async def test_requests_and_shutdown_call_every_hook(recorded: RecordedServer) -> None:
    recorder = recorded.recorder
    many_headers = b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MAX_HEADERS + 1) + b"\r\n"
    async with open_connection(recorded.port, many_headers) as (_, head):
        assert head.startswith(b"HTTP/1.1 431")
    async with open_connection(recorded.port, make_post(b"%d" % LARGE_BYTES)) as (reader, head):
        assert head.startswith(b"HTTP/1.1 200")
        await until(lambda: has_unread_bytes(recorder.objects[CONNECTION_HOOKS][-1]))
        await reader.readexactly(LARGE_BYTES)
    async with (
        connect(f"ws://127.0.0.1:{recorded.port}/", max_size=None, compression=None) as websocket,
        open_connection(recorded.port, make_post(b"0")) as (idle, _),
    ):
        await websocket.send("text")
        await until(lambda: has_unread_bytes(recorder.objects[WEBSOCKET_HOOKS][0]))
        assert len(await websocket.recv()) == LARGE_BYTES
        await (await websocket.ping())
        assert_attributes_exist(recorder)
        recorded.shutdown.advance(ShutdownPhase.CLOSING)
        assert await idle.read() == b""
        with pytest.raises(ConnectionClosed):
            await websocket.recv()
        await recorded.serving

    for hooks in (SERVER_HOOKS, CONNECTION_HOOKS, WEBSOCKET_HOOKS):
        assert recorder.calls[hooks] == hooks.overrides, hooks.subclass.__name__


def assert_attributes_exist(recorder: HookRecorder) -> None:
    """Resolve each attribute of the table on the objects of requests that have been served."""
    connections = recorder.objects[CONNECTION_HOOKS]
    [websocket] = recorder.objects[WEBSOCKET_HOOKS]
    for name in CONNECTION_HOOKS.reads:
        attrgetter(name)(connections[-1])
    for name in WEBSOCKET_HOOKS.reads:
        attrgetter(name)(websocket)
    [upgraded] = [each for each in connections if each.transport is websocket.transport]
    assert upgraded.cycle is None  # a handshake starts no cycle, a request does
    assert connections[-1].cycle.response_complete
    assert websocket.conn.max_message_size > 2**20  # raised by `recv_frame` at the first message
    assert isinstance(websocket.logger, logging.Logger)
