"""Client helpers for tests of jobs over REST: submit, follow events, spy on analyses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from service.domain.clip import AnalysisEvent
from service.domain.options import AnalysisOptions
from service.pipeline.estimators import ServedEstimator
from service.redis_client.client import connect_redis
from service.settings import Settings
from tests.integration.fakes import make_fake_analysis
from tests.integration.redis_access import list_keys, run_command

CLIP = b"not really a clip"


@dataclass(frozen=True, kw_only=True)
class ServerSentEvent:
    """A server-sent event."""

    name: str
    id: str | None
    data: dict[str, Any]


@asynccontextmanager
async def open_client(address: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=address, timeout=60.0) as client:
        yield client


async def post_clip(
    client: httpx.AsyncClient,
    clip: bytes = CLIP,
    query: str = "",
    *,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    all_headers = {"Content-Type": "video/mp4", **(headers or {})}
    return await client.post(f"/v1/jobs{query}", content=clip, headers=all_headers)


async def submit_job(client: httpx.AsyncClient, clip: bytes = CLIP, query: str = "") -> str:
    """Submit a clip and return the id of its job."""
    response = await post_clip(client, clip, query)
    assert response.status_code == 202, response.text
    return response.json()["id"]


@asynccontextmanager
async def open_event_stream(
    client: httpx.AsyncClient, job_id: str, last_id: str | None = None
) -> AsyncGenerator[AsyncIterator[ServerSentEvent]]:
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    async with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _parse_events(response.aiter_lines())


async def _parse_events(lines: AsyncIterator[str]) -> AsyncIterator[ServerSentEvent]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "event" in fields:
            yield ServerSentEvent(
                name=fields["event"], id=fields.get("id"), data=json.loads(fields["data"])
            )
        fields = {}


class AnalysisSpy:
    """Fake analysis that records its clips and signals its start and its end."""

    def __init__(self, frames: int = 3, frame_seconds: float = 0.0) -> None:
        self._fake_analyse = make_fake_analysis(frames, frame_seconds)
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.clip_names: list[str] = []

    async def analyse(
        self, clip: Path, options: AnalysisOptions, estimator: ServedEstimator
    ) -> AsyncGenerator[AnalysisEvent]:
        self.clip_names.append(clip.name)
        self.started.set()
        try:
            async for event in self._fake_analyse(clip, options, estimator):
                yield event
        finally:
            self.ended.set()


async def find_redis_keys(settings: Settings, job_id: str) -> set[str]:
    """Redis keys that mention a job, without the prefix; claims are left out, as they expire."""
    found: set[str] = set()
    prefix = f"{settings.queue_name}:"
    async with connect_redis(settings.redis_url) as redis:
        readers: dict[str, Callable[[str], Awaitable[object]]] = {
            "zset": lambda name: run_command(redis, "ZRANGE", name, 0, -1),
            "hash": redis.hgetall,
            "string": redis.get,
            "stream": redis.xrange,
        }
        for name in await list_keys(redis, prefix):
            content = await readers[str(await redis.type(name))](name)
            if job_id in name or job_id in str(content):
                found.add(name.removeprefix(prefix).replace(job_id, "<id>"))
    return {name for name in found if not name.startswith("claim:")}
