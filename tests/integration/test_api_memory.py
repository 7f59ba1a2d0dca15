"""Memory of the gateway during a large upload."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from service.settings import Settings
from tests.integration.job_environment import eventually
from tests.integration.processes import running_service
from tests.integration.servers import free_port

CLIP_BYTES = 300 * 2**20
MAX_GROWTH_BYTES = 64 * 2**20
"""A few chunks of 1 MiB in flight, memory that the allocator retains, and a wide margin."""


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


async def test_large_upload_is_streamed_without_buffering(settings: Settings) -> None:
    settings = settings.model_copy(
        update={"http_port": free_port(), "max_upload_bytes": 2 * CLIP_BYTES}
    )

    async def form() -> AsyncIterator[bytes]:
        yield b'--xx\r\nContent-Disposition: form-data; name="clip"; filename="a"\r\n\r\n'
        for _ in range(CLIP_BYTES // 2**20):
            yield bytes(2**20)
        yield b"\r\n--xx--\r\n"

    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{settings.http_port}", timeout=120
    ) as client:
        with running_service(settings, "gateway") as process:

            async def is_serving() -> bool | None:
                try:
                    return (await client.post("/v1/jobs", files={"clip": b"warm"})).is_success
                except httpx.ConnectError:
                    return None

            assert await eventually(is_serving, 30.0)
            before = _peak_bytes(process.pid)
            headers = {"Content-Type": "multipart/form-data; boundary=xx"}
            answer = await client.post("/v1/jobs", content=form(), headers=headers)
            after = _peak_bytes(process.pid)

    assert answer.json()["clip"]["bytes"] == CLIP_BYTES
    assert after - before < MAX_GROWTH_BYTES, f"grew by {(after - before) / 2**20:.0f} MiB"
