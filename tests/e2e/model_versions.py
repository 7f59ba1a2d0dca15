"""Load on a stack while the version of its model changes: jobs and streams, and what they got."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from circumplex.v1 import annotation_pb2 as pb
from circumplex.v1 import annotation_pb2_grpc as services

from service.embedded.stack import settings_to_environment
from service.settings import Settings
from tests.e2e.wire_client import make_frame, make_frames_config

FRAME_SECONDS = 0.1
COMMAND_SECONDS = 120.0
Values = list[tuple[float | None, float | None]]


def run_models_command(
    settings: Settings, *arguments: str, python: Sequence[str] = (sys.executable,)
) -> subprocess.CompletedProcess[str]:
    """Run `circumplex models ...` against a stack."""
    return subprocess.run(
        [*python, "-m", "service", "models", *arguments],
        env={**os.environ, **settings_to_environment(settings)},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """Answer to a client. model: NAME@VERSION as its acknowledgement had it."""

    model: str
    values: Values
    named_by_result: str


class LoadedClient:
    """Submits jobs and annotates streams of the same clip."""

    def __init__(self, address: str, target: str, clip: bytes, jpegs: list[bytes]) -> None:
        self._http = httpx.AsyncClient(base_url=address, timeout=120.0)
        self._target = target
        self._clip = clip
        self._jpegs = jpegs

    async def __aenter__(self) -> LoadedClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, path: str) -> httpx.Response:
        return await self._http.get(path)

    async def submit(self, model: str | None = None) -> dict[str, Any]:
        """Submit the clip; returns the job's document, or a problem."""
        query = {} if model is None else {"model": model}
        headers = {"Content-Type": "video/mp4"}
        answer = await self._http.post(
            "/v1/jobs", params=query, content=self._clip, headers=headers
        )
        return answer.json()

    async def wait(self, job_id: str) -> dict[str, Any]:
        """Wait until a job has ended; returns its document."""
        async with asyncio.timeout(240.0):
            while True:
                job = (await self._http.get(f"/v1/jobs/{job_id}")).json()
                if job["state"] in ("succeeded", "failed", "cancelled"):
                    return job
                await asyncio.sleep(0.2)

    async def retry(self, job_id: str) -> httpx.Response:
        return await self._http.post(f"/v1/jobs/{job_id}:retry")

    async def run_job(self, model: str | None = None) -> Annotation:
        """Submit the clip and return the result."""
        submitted = await self.submit(model)
        job = await self.wait(submitted["id"])
        assert job["state"] == "succeeded", job
        result = (await self._http.get(f"/v1/jobs/{job['id']}/result?format=json")).json()
        frames, provenance = result["frames"], result["provenance"]
        return Annotation(
            model=submitted["model"],
            values=list(zip(frames["valence"], frames["arousal"], strict=True)),
            named_by_result=f"{provenance['name']}@{provenance['version']}",
        )

    async def run_stream(
        self, count: int | None = None, end: asyncio.Event | None = None, model: str = ""
    ) -> Annotation:
        """Stream frames over and over until `end` is set, or `count` of them at once."""
        config = make_frames_config()
        config.config.model = model
        opened, values = "", Values()
        async with grpc.aio.insecure_channel(self._target) as channel:
            stub: Any = services.AnnotationServiceStub(channel)
            requests = self._make_requests(config, count, end)
            async for response in stub.StreamingAnnotate(requests):
                if response.HasField("config_ack"):
                    opened = response.config_ack.model
                elif response.HasField("frame_result") and response.frame_result.is_final:
                    values.append(_read_values(response.frame_result))
        return Annotation(model=opened, values=values, named_by_result=opened)

    async def _make_requests(
        self, config: pb.StreamingAnnotateRequest, count: int | None, end: asyncio.Event | None
    ) -> AsyncGenerator[pb.StreamingAnnotateRequest]:
        yield config
        index = 0
        while index < count if count is not None else end is not None and not end.is_set():
            yield make_frame(index * FRAME_SECONDS, self._jpegs[index % len(self._jpegs)])
            index += 1
            if count is None:
                await asyncio.sleep(FRAME_SECONDS)


def _read_values(result: pb.FrameResult) -> tuple[float | None, float | None]:
    if not result.tracks or not result.tracks[0].HasField("estimate"):
        return (None, None)
    return (result.tracks[0].estimate.valence, result.tracks[0].estimate.arousal)


def find_largest_difference(one: Values, other: Values) -> float:
    """Largest difference between two annotations of the same frames."""
    assert len(one) == len(other)
    return max(
        (abs(a - b) for a, b in _pairs(one, other)),
        default=0.0,
    )


def _pairs(one: Values, other: Values) -> Iterable[tuple[float, float]]:
    for first, second in zip(one, other, strict=True):
        for a, b in zip(first, second, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                yield a, b
