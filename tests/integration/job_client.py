"""Clients of a gateway on a socket, for tests of what becomes of jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from service.domain.options import AnalysisOptions
from service.domain.timeline import AnalysisEvent
from service.redis_client.client import connect_redis
from service.settings import Settings
from tests.integration.fakes import make_fake_analysis

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
    client: httpx.AsyncClient, clip: bytes = CLIP, query: str = "", **headers: str
) -> httpx.Response:
    told = {"Content-Type": "video/mp4"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(f"/v1/jobs{query}", content=clip, headers=told)


async def submit_job(client: httpx.AsyncClient, clip: bytes = CLIP, query: str = "") -> str:
    """The id of a job that has just been submitted."""
    answer = await post_clip(client, clip, query)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


@asynccontextmanager
async def open_event_stream(
    client: httpx.AsyncClient, job_id: str, last_id: str | None = None
) -> AsyncGenerator[AsyncIterator[ServerSentEvent]]:
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    async with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _parse_events(answer.aiter_lines())


async def _parse_events(lines: AsyncIterator[str]) -> AsyncIterator[ServerSentEvent]:
    told: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            told[name] = value
            continue
        if "event" in told:
            yield ServerSentEvent(
                name=told["event"], id=told.get("id"), data=json.loads(told["data"])
            )
        told = {}


class AnalysisSpy:
    """An analysis that counts what it does and can be watched while it does it."""

    def __init__(self, frames: int = 3, frame_seconds: float = 0.0) -> None:
        self._fake_analyse = make_fake_analysis(frames, frame_seconds)
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.clip_names: list[str] = []

    async def analyse(self, clip: Path, choices: AnalysisOptions) -> AsyncGenerator[AnalysisEvent]:
        self.clip_names.append(clip.name)
        self.started.set()
        try:
            async for event in self._fake_analyse(clip, choices):
                yield event
        finally:
            self.ended.set()


async def find_redis_keys(settings: Settings, job_id: str) -> set[str]:
    """Every key in Redis that still names a job, but for claims, which end by themselves."""
    found: set[str] = set()
    prefix = f"{settings.queue_name}:"
    async with connect_redis(settings.redis_url) as redis:
        async for name in redis.scan_iter(f"{prefix}*"):
            reading: Any = {
                "zset": lambda name: redis.zrange(name, 0, -1),
                "hash": redis.hgetall,
                "string": redis.get,
                "stream": redis.xrange,
            }
            content = await reading[await redis.type(name)](name)
            if job_id in name or job_id in str(content):
                found.add(name.removeprefix(prefix).replace(job_id, "<id>"))
    return {name for name in found if not name.startswith("claim:")}
