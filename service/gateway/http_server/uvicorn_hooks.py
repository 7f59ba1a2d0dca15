"""Table of the methods and attributes that the HTTP server overrides or reads in its libraries.

uvicorn and websockets document few of these names. The canary tests in
tests/unit/gateway/http_server/test_uvicorn_hooks.py compare the table with the code, and observe
on real sockets that the installed versions call each override. The reasons, and the steps of an
upgrade, are in docs/decisions/0015-uvicorn-with-a-tight-pin.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.server import ServerProtocol

from service.gateway.http_server.connection import BoundedConnection
from service.gateway.http_server.server import GatewayServer
from service.gateway.http_server.websocket import BoundedServerProtocol, BoundedWebSocket


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryHooks:
    """One subclass of a library's class. reads: attributes, dotted where they are nested."""

    subclass: type[object]
    base: type[object]
    overrides: frozenset[str]
    reads: frozenset[str]


SERVER_HOOKS: Final = LibraryHooks(
    subclass=GatewayServer,
    base=uvicorn.Server,
    overrides=frozenset({"__init__", "on_tick", "shutdown", "capture_signals"}),
    reads=frozenset({"force_exit"}),
)
CONNECTION_HOOKS: Final = LibraryHooks(
    subclass=BoundedConnection,
    base=HttpToolsProtocol,
    overrides=frozenset(
        {
            # asyncio.Protocol
            *("__init__", "connection_made", "connection_lost", "data_received", "resume_writing"),
            # httptools' callbacks
            *("on_message_begin", "on_header", "on_headers_complete", "on_body"),
            "on_message_complete",
            # uvicorn
            *("on_response_complete", "send_400_response", "handle_websocket_upgrade", "shutdown"),
        }
    ),
    reads=frozenset(
        {
            *("client", "transport", "loop", "url", "headers"),
            *("parser", "parser.get_http_version", "flow", "flow.read_paused"),
            *("flow.write_paused", "_unset_keepalive_if_required"),
            *("cycle", "cycle.keep_alive", "cycle.response_started", "cycle.response_complete"),
        }
    ),
)
WEBSOCKET_HOOKS: Final = LibraryHooks(
    subclass=BoundedWebSocket,
    base=WebSocketsSansIOProtocol,
    overrides=frozenset(
        {
            # asyncio.Protocol
            *("__init__", "connection_made", "connection_lost", "data_received", "resume_writing"),
            # uvicorn
            *("send_receive_event_to_app", "handle_ping", "shutdown"),
        }
    ),
    reads=frozenset(
        {
            *("client", "transport", "loop", "logger", "frames", "curr_msg_data_type"),
            *("handshake_initiated", "handshake_complete", "close_sent", "disconnected"),
            *("read_paused", "handle_parser_exception"),
            *("conn", "conn.handshake_exc", "conn.send_close"),
        }
    ),
)
MESSAGE_HOOKS: Final = LibraryHooks(
    subclass=BoundedServerProtocol,
    base=ServerProtocol,
    overrides=frozenset({"__init__", "recv_frame", "reject"}),
    reads=frozenset({"max_message_size"}),
)
LIBRARY_HOOKS: Final = (SERVER_HOOKS, CONNECTION_HOOKS, WEBSOCKET_HOOKS, MESSAGE_HOOKS)
