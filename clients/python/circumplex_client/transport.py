"""HTTP plumbing of the client: proxies, upload headers and chunks, retries, server-sent events."""

from __future__ import annotations

import mimetypes
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import httpx

from circumplex_client.errors import ExtraMissing, ProblemError, ServiceUnreachable
from circumplex_client.models import JobNotification

API_KEY_VARIABLE: Final = "CIRCUMPLEX_API_KEY"
CHUNK_BYTES: Final = 2**18
FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 10.0

_PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")

OnUpload = Callable[[int, int], None]
"""Called with the bytes sent so far and the size of the clip in bytes."""

T = TypeVar("T")


def read_api_key(api_key: str | None) -> str:
    """Return the API key, by default that of the environment; empty: none.

    Raises: ValueError: no key looks like this. Libraries would show it in their errors.
    """
    key = (api_key or os.environ.get(API_KEY_VARIABLE, "")).strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise ValueError("the API key is not one word of ASCII characters")
    return key


def build_transport(proxy: str | None) -> httpx.HTTPTransport:
    """Build a transport through `proxy`, or a direct one: the environment's proxies are not used.

    SSL_CERT_FILE and SSL_CERT_DIR are. Raises: ValueError: the proxy cannot be used.
    """
    try:
        urlsplit(proxy or "")  # brackets without an address pass httpx
        return httpx.HTTPTransport(proxy=proxy)
    except ImportError as error:
        raise ExtraMissing(f"the proxy {mask_password(proxy)} needs more: {error}") from error
    except (ValueError, httpx.InvalidURL) as error:
        cause = "" if "@" in str(proxy) else f": {error}"  # it may quote a part of the password
        raise ValueError(f"{mask_password(proxy)} is no proxy that can be used{cause}") from error


def describe_route(address: str, proxy: str | None) -> str:
    """Describe the way to the gateway for error messages, with the proxy used or left unused."""
    address = mask_password(address)
    if proxy is not None:
        return f"{address}, through the proxy {mask_password(proxy)},"
    unused = [name for name in os.environ if name.lower() in _PROXY_VARIABLES and os.environ[name]]
    if not unused:
        return address
    return f"{address}, directly ({', '.join(sorted(unused))} not used; name a proxy to use one),"


def mask_password(url: str | None) -> str:
    """Return a URL without user and password, whatever characters they have."""
    return re.sub(r"(?<=://)\S*@", "", url or "")


def build_headers(clip: Path, idempotency_key: str) -> dict[bytes, bytes]:
    """Headers of a submission: media type, size, file name and idempotency key."""
    media_type, _ = mimetypes.guess_type(clip.name)
    if media_type is None or not media_type.startswith(("video/", "audio/")):
        media_type = "application/octet-stream"
    name = "".join(c if c.isprintable() and c not in '"\\' else "_" for c in clip.name)
    return {
        b"Content-Type": media_type.encode(),
        b"Content-Length": str(clip.stat().st_size).encode(),
        b"Content-Disposition": f'attachment; filename="{name}"'.encode(errors="replace"),
        b"Idempotency-Key": idempotency_key.encode(),
    }


def build_hold_headers(seconds: float) -> dict[str, str]:
    """Headers that ask for an answer only once a job has ended, or after so many whole seconds."""
    return {"Prefer": f"wait={int(seconds)}"} if seconds >= 1 else {}


def iter_chunks(clip: Path, on_upload: OnUpload | None) -> Iterator[bytes]:
    """Yield the clip in chunks; calls `on_upload` after each chunk that was sent."""
    size, sent = clip.stat().st_size, 0
    with clip.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            sent += len(chunk)
            if on_upload is not None:
                on_upload(sent, size)


def call_with_retries(call: Callable[[], T], *, timeout_seconds: float) -> T:
    """Call until it succeeds; reraise the last error when `timeout_seconds` are over.

    Retries ServiceUnreachable and problems marked as retryable, nothing else. A Retry-After is
    followed exactly; other pauses double up to MAX_PAUSE_SECONDS, with jitter.
    """
    until = time.monotonic() + timeout_seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return call()
        except (ProblemError, ServiceUnreachable) as error:
            retry_after_seconds = (
                error.problem.retry_seconds if isinstance(error, ProblemError) else None
            )
            if isinstance(error, ProblemError) and not error.problem.retryable:
                raise
            wait = (
                pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
                if retry_after_seconds is None
                else retry_after_seconds
            )
            if time.monotonic() + wait > until:
                raise
        time.sleep(wait)
        pause = min(2 * pause, MAX_PAUSE_SECONDS)


def parse_events(lines: Iterable[str]) -> Iterator[JobNotification]:
    """Parse server-sent events; comments and events without data are skipped."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        else:
            if "data" in fields:
                yield JobNotification.from_fields(fields)
            fields = {}
