"""Secrets in log lines: API keys, bearer tokens, passwords of URLs, and metadata of gRPC."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import grpc
import pytest

from service.auth.audit_log import AuditEntry, AuditLog
from service.settings import Settings
from service.telemetry.logs import configure_logs
from service.telemetry.redaction import redact

TOKEN = f"cpx_{'k3Y' * 4}_{'s3Cr' * 12}h"
SECRET = TOKEN.rpartition("_")[2]


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"Authorization: Bearer {TOKEN}",
        f"b'Bearer {SECRET}'",
        f"Bearer%20{SECRET}",
        f'{{"authorization": "bearer {SECRET}"}}',
        f"Basic {SECRET}==",
        f"redis://:{SECRET}@cache:6379/0 does not answer",
        f"rediss://user:{SECRET}@cache:6379/0",
        f"redis://cache:6379/0?username=a&password={SECRET}&db=1",
        f"redis+sentinel://a:26379/0?sentinel_password={SECRET}",
        f"rediss://user:a/b#c?{SECRET}@cache:6379/0",
        f"redis+sentinel://:/{SECRET}@a:1,b:2/0?master_name=m",
        f"GET /v1/jobs?api_key={SECRET}",
        f"http://user:{SECRET}@proxy:3128 and http://a:{SECRET}@b",
    ],
)
def test_secrets_are_removed_from_text(text: str) -> None:
    assert SECRET not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "text",
    ["redis://cache:6379/0", "http://[::1]:8080/a?b=c@d", "the bearer of it", "a: b@c", "cpx_"],
)
def test_other_text_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_record_holds_a_key_whoever_logged_it(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    configure_logs("debug", "json" if log_format == "json" else "text")
    log = logging.getLogger("some.library")
    log.warning("headers: %r", {"authorization": f"Bearer {TOKEN}"}, extra={"key": TOKEN})
    try:
        raise ValueError(f"redis://:{SECRET}@cache")
    except ValueError:
        log.exception("failed")
    printed = capsys.readouterr().err
    assert "some.library" in printed
    assert SECRET not in printed


@pytest.mark.parametrize("stray", [b"\xff", b"\xc3("])
async def test_metadata_with_a_stray_byte_are_not_logged(
    capsys: pytest.CaptureFixture[str], stray: bytes
) -> None:
    configure_logs("info", "text")
    value = b"Bearer " + SECRET.encode() + stray + b"Y" * 9
    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
        _answer_nothing
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"C": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_encode_call({b"authorization": value}))
    async with asyncio.timeout(30):
        while b"grpc-status" not in await reader.read(2**16):
            continue
    writer.close()
    await server.stop(None)
    printed = capsys.readouterr().err
    assert "metadata that are not UTF-8" in printed
    assert SECRET not in printed
    assert "YYY" not in printed


async def test_the_audit_file_holds_no_key_whatever_a_client_calls_itself(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    async with AuditLog.open(Settings(audit_file=file)) as audit:
        audit.write(AuditEntry(action="submit_job", client=TOKEN, detail=f"not as {TOKEN!r}"))
    (line,) = file.read_text().splitlines()
    assert json.loads(line)["action"] == "submit_job"
    assert SECRET not in line


async def _answer_nothing(_request: bytes, _context: object) -> bytes:
    return b""


def _encode_call(metadata: dict[bytes, bytes]) -> bytes:
    """Encode a connection with one empty unary call (RFC 9113, RFC 7541 without compression)."""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/a.B/C",
        b":authority": b"localhost",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
        **metadata,
    }
    block = b"".join(
        bytes([0, len(name)]) + name + bytes([len(value)]) + value for name, value in fields.items()
    )
    frames = ((4, 0, 0, b""), (1, 4, 1, block), (0, 1, 1, bytes(5)))
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(
        len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content
        for kind, flags, stream, content in frames
    )
